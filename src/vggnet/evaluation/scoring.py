"""Score the images of a split in every view that is asked for.

Notable:
- An image is decoded once for all its views and scales.
- The images are cut into shards whose values are complete, so that whoever stores them (`store`) loses one shard at
  most when the process is killed.
- Several processes (`computing.ranks`) score a shard together: each its part, and all of them receive the whole.
- A bad image stops the work or is listed. It is never replaced by another.

Shapes: n images, K classes, D numbers of a view (K for posteriors).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from vggnet.data.splits import Split
from vggnet.errors import BadImage, Diverged
from vggnet.evaluation.batching import Item
from vggnet.evaluation.computing import ON_CPU, Computing
from vggnet.evaluation.forward import ViewScorer, other_ready_to_score, ready_to_score
from vggnet.evaluation.other_classifiers import Classifier
from vggnet.evaluation.ranks import check_same_images, gathered_results
from vggnet.evaluation.views import View
from vggnet.images.rescaled import rescaled_images
from vggnet.network.vgg import VGG

Progress = Callable[[int, int], Any]  # images done, images in all
# What a view of images is: (n, D) on the device, from a scorer, the view and a batch of rescaled images. The scorer is
# a ViewScorer, or a Scorer where the values are those of a VGG's layers.
Values = Callable[[Any, View, Sequence[Item]], Tensor]
_ON_DEVICE = 256  # batches whose values may wait on the device, so that the device is not held up for each


@dataclass
class Scores:
    """Values of some images of a split: `values[view]` is float32 (n, D), rows in the order of `indices`."""

    values: dict[View, np.ndarray]
    indices: np.ndarray  # int64 (n,), places in the split, without the bad images
    bad: list[BadImage] = field(default_factory=list)


def score(
    model: Classifier,
    split: Split,
    views: Sequence[View],
    computing: Computing = ON_CPU,
    *,
    on_progress: Progress | None = None,
    indices: Sequence[int] | np.ndarray | None = None,
    values: Values = ViewScorer.posteriors,
) -> Scores:
    """Return the values (by default the posteriors) of the images of `split` in all `views`.

    `indices` chooses images (None: all). Raises UserError for a view that is too small for the net, and BadImage for an
    image that cannot be used where `computing.bad_images` is "stop".
    """
    shards = list(
        score_in_shards(
            model, split, views, computing, shard=None, on_progress=on_progress, indices=indices, values=values
        )
    )
    if shards:
        return shards[0]
    empty = {view: np.empty((0, view.columns(model.architecture)), np.float32) for view in views}
    return Scores(empty, np.empty(0, np.int64))


def score_in_shards(
    model: Classifier,
    split: Split,
    views: Sequence[View],
    computing: Computing = ON_CPU,
    *,
    shard: int | None,
    on_progress: Progress | None = None,
    indices: Sequence[int] | np.ndarray | None = None,
    values: Values = ViewScorer.posteriors,
) -> Iterator[Scores]:
    """Yield what `score` returns in parts of `shard` images (None: all at once), each as soon as it is complete."""
    for view in views:
        view.check(model.architecture)
    split = split.read_as(model.description.policy.reading)  # as the net's training images were read
    wanted = np.arange(len(split)) if indices is None else np.asarray(indices, np.int64)
    if not len(wanted) or not views:
        return
    ranks = computing.ranks
    size = len(wanted) if shard is None else shard * ranks.size
    shares = [ranks.share(wanted[start : start + size]) for start in range(0, len(wanted), size)]
    check_same_images(ranks, split, wanted)
    scales = sorted({view.scale for view in views})
    own = np.concatenate(shares)
    results = rescaled_images(split, own, scales, workers=computing.workers, device=computing.device)
    read = itertools.count(1)

    def score_share(share: np.ndarray) -> Scores:
        # The block ends before the shard is yielded, so that the caller's code runs with its own modes and gradients.
        ready = ready_to_score if isinstance(model, VGG) else other_ready_to_score
        with ready(model, computing.device, computing.precision) as scorer:  # type: ignore[arg-type]
            part = Shard(scorer, views, share, values)
            for position, result in enumerate(itertools.islice(results, len(share))):
                if isinstance(result, BadImage):
                    part.bad[position] = computing.skipped(result)
                else:
                    part.add(position, dict(zip(scales, result[1], strict=True)))
                if on_progress is not None:
                    on_progress(min(next(read) * ranks.size, len(wanted)), len(wanted))
            scores = part.finish()
        check_finite(scores, split)
        return scores

    for number, share in enumerate(shares):
        parts = gathered_results(ranks, partial(score_share, share))
        yield parts[0] if len(parts) == 1 else _joined(parts, wanted[number * size : (number + 1) * size])


def _joined(parts: Sequence[Scores], wanted: np.ndarray) -> Scores:
    """Return the scores of all ranks, in the order of `wanted` (n,). Bad images are listed rank by rank."""
    indices = np.concatenate([part.indices for part in parts])
    place = {index: place for place, index in enumerate(wanted.tolist())}
    order = np.argsort([place[index] for index in indices.tolist()], kind="stable")
    values = {view: np.concatenate([part.values[view] for part in parts])[order] for view in parts[0].values}
    return Scores(values, indices[order], [bad for part in parts for bad in part.bad])


def check_finite(scores: Scores, split: Split) -> None:
    """Raise Diverged, naming an image, where the net gave a number that is not finite."""
    for values in scores.values.values():
        finite = np.isfinite(values).all(1)
        if not finite.all():
            file = split.path(int(scores.indices[np.argmin(finite)]))
            counted = f"{int((~finite).sum()):,} of {len(finite):,} images, {file} for one"
            raise Diverged(f"what the net computes is not finite for {counted}; {Diverged.RETRAIN}")


class Shard:
    """The images of one shard while they go through the net, and their values.

    Args:
        scorer: the net; within the block of `ready_to_score`.
        views: the views of every image.
        wanted: int64 (n,), the images' places in their split; `add` takes positions in this array.
        compute: what a view of images is; by default their posteriors.
    """

    def __init__(
        self, scorer: ViewScorer, views: Sequence[View], wanted: np.ndarray, compute: Values = ViewScorer.posteriors
    ) -> None:
        self.scorer, self.compute, self.wanted = scorer, compute, wanted
        self.batchers = {view: scorer.batcher(view) for view in views}
        self.bad: dict[int, BadImage] = {}
        columns = {view: view.columns(scorer.architecture) for view in views}
        self.values = {view: np.zeros((len(wanted), columns[view]), np.float32) for view in views}
        self._on_device: list[tuple[View, list[int], Tensor]] = []

    def add(self, position: int, by_scale: dict[int, Tensor]) -> None:
        """Take an image at all its scales, and put the batches that are complete now through the net."""
        for view, batcher in self.batchers.items():
            for batch in batcher.add(Item(position, by_scale[view.scale])):
                self._score(view, batch)

    def finish(self) -> Scores:
        """Put the images that wait through the net. Return the shard's values without the bad images."""
        for view, batcher in self.batchers.items():
            for batch in batcher.flush():
                self._score(view, batch)
        self._collect()
        good = np.array([position for position in range(len(self.wanted)) if position not in self.bad], np.int64)
        values = self.values
        if self.bad:
            values = {view: array[good] for view, array in values.items()}
        return Scores(values, self.wanted[good], list(self.bad.values()))

    def _score(self, view: View, batch: list[Item]) -> None:
        positions = [item.position for item in batch]
        self._on_device.append((view, positions, self.compute(self.scorer, view, batch)))
        if len(self._on_device) >= _ON_DEVICE:
            self._collect()

    def _collect(self) -> None:
        for view, positions, values in self._on_device:
            self.values[view][positions] = values.float().cpu().numpy()
        self._on_device.clear()
