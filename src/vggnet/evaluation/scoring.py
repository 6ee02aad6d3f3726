"""Every image of a split through the net, in every view asked for: decoded once, presented as often as needed.

Notable: the work is one stream of images, cut into shards whose posteriors are complete, so that whoever keeps them
(`store`) loses at most one shard. A bad image stops the work or is listed; it is never replaced.

Shapes: n images, K classes.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vggnet.data.splits import Split
from vggnet.errors import BadImage, Diverged, UserError
from vggnet.evaluation.batching import Item
from vggnet.evaluation.forward import Presenter, presenting
from vggnet.evaluation.views import View
from vggnet.images.rescaled import rescaled_images
from vggnet.network.vgg import VGG
from vggnet.options.choices import BadImages, Precision

Progress = Callable[[int, int], Any]  # images done, images in all
_ON_DEVICE = 256  # batches whose posteriors may wait on the device, so that it is not held up for each


@dataclass
class Scores:
    """Posteriors of some images of a split: `posteriors[view]` is float32 (n, K), rows in the order of `indices`."""

    posteriors: dict[View, np.ndarray]
    indices: np.ndarray  # int64 (n,), places in the split; without the bad ones
    bad: list[BadImage] = field(default_factory=list)


def score(
    model: VGG,
    split: Split,
    views: Sequence[View],
    *,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    workers: int = 0,
    on_progress: Progress | None = None,
    bad_images: BadImages = "stop",
    indices: Sequence[int] | np.ndarray | None = None,
) -> Scores:
    """Score the images of `split` (those at `indices`, by default all) in all `views`.

    `workers` processes decode and rescale (0: this one). Raises UserError for a view that is too small for the net,
    and BadImage for an image that cannot be used, unless `bad_images` is "skip": then it is listed in the result.
    """
    shards = list(
        score_in_shards(
            model,
            split,
            views,
            shard=2**62,
            device=device,
            precision=precision,
            workers=workers,
            on_progress=on_progress,
            bad_images=bad_images,
            indices=indices,
        )
    )
    if shards:
        return shards[0]
    outputs = model.architecture.outputs
    return Scores({view: np.empty((0, outputs), np.float32) for view in views}, np.empty(0, np.int64))


def score_in_shards(
    model: VGG,
    split: Split,
    views: Sequence[View],
    *,
    shard: int,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    workers: int = 0,
    on_progress: Progress | None = None,
    bad_images: BadImages = "stop",
    indices: Sequence[int] | np.ndarray | None = None,
    presenter: type[Presenter] = Presenter,
) -> Iterator[Scores]:
    """As `score`, but `shard` images at a time, each handed over as soon as it is complete.

    Another `presenter` computes other numbers than posteriors from the same views (transfer's descriptors).
    """
    if bad_images not in ("stop", "skip"):
        raise UserError(f"bad images: {bad_images!r} is no choice; use stop or skip")
    for view in views:
        view.check(model.architecture)
    split = split.read_as(model.description.policy.reading)  # as the net's training images were read
    wanted = np.arange(len(split)) if indices is None else np.asarray(indices, np.int64)
    if not len(wanted) or not views:
        return
    scales = sorted({view.scale for view in views})
    results = rescaled_images(split, wanted, scales, workers=workers, device=torch.device(device))
    for start in range(0, len(wanted), shard):
        # The net's modes end before the shard is handed over: the caller's code is none of theirs.
        with presenting(model, device, precision, presenter) as ready:
            part = _Shard(ready, views, wanted[start : start + shard])
            for position, result in enumerate(itertools.islice(results, len(part.wanted))):
                if isinstance(result, BadImage):
                    part.bad[position] = _allowed(result, bad_images)
                else:
                    part.add(position, dict(zip(scales, result[1], strict=True)))
                if on_progress is not None:
                    on_progress(start + position + 1, len(wanted))
            scores = part.finish()
        check_finite(scores, split)
        yield scores


def check_finite(scores: Scores, split: Split) -> None:
    """Raise Diverged, naming an image, where the net gave a number that is not finite."""
    for posteriors in scores.posteriors.values():
        finite = np.isfinite(posteriors).all(1)
        if not finite.all():
            file = split.path(int(scores.indices[np.argmin(finite)]))
            counted = f"{int((~finite).sum()):,} of {len(finite):,} images, {file} for one"
            raise Diverged(f"what the net computes is not finite for {counted}; {Diverged.RETRAIN}")


def _allowed(error: BadImage, bad_images: BadImages) -> BadImage:
    """The error itself; raised where bad images stop the work."""
    if bad_images == "stop":
        reason = f"{error.reason} (--bad-images skip leaves such images out, and lists and counts them)"
        raise BadImage(error.path, reason)
    return error


class _Shard:
    """Images on their way through the net, and the posteriors that came out."""

    def __init__(self, presenter: Presenter, views: Sequence[View], wanted: np.ndarray) -> None:
        self.presenter, self.wanted = presenter, wanted
        self.batchers = {view: presenter.batcher(view) for view in views}
        self.bad: dict[int, BadImage] = {}
        self.posteriors = {view: np.zeros((len(wanted), presenter.columns(view)), np.float32) for view in views}
        self._on_device: list[tuple[View, list[int], Tensor]] = []

    def add(self, position: int, by_scale: dict[int, Tensor]) -> None:
        """Take an image at all its scales; batches that are complete go through the net."""
        for view, batcher in self.batchers.items():
            for batch in batcher.add(Item(position, by_scale[view.scale])):
                self._present(view, batch)

    def finish(self) -> Scores:
        """What waits goes through the net; the shard's posteriors, bad images left out."""
        for view, batcher in self.batchers.items():
            for batch in batcher.flush():
                self._present(view, batch)
        self._collect()
        good = np.array([position for position in range(len(self.wanted)) if position not in self.bad], np.int64)
        posteriors = self.posteriors
        if self.bad:
            posteriors = {view: array[good] for view, array in posteriors.items()}
        return Scores(posteriors, self.wanted[good], list(self.bad.values()))

    def _present(self, view: View, batch: list[Item]) -> None:
        positions = [item.position for item in batch]
        self._on_device.append((view, positions, self.presenter.posteriors(view, batch)))
        if len(self._on_device) >= _ON_DEVICE:
            self._collect()

    def _collect(self) -> None:
        for view, positions, posteriors in self._on_device:
            self.posteriors[view][positions] = posteriors.float().cpu().numpy()
        self._on_device.clear()
