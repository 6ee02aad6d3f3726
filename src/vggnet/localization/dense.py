"""Compute boxes: one from the centre crop (test 1), or one from every position of the dense map (test 2).

- A position of the dense map is a window of crop size; windows lie 32 px apart. A box is predicted relative to its
  window, and converted to the image, through the mirror for mirrored windows.
- Classifiers and box nets compute on the same batches, so that an image is decoded, rescaled and mirrored once.

Shapes: n images, K classes, T = min(5, K) best classes of an image, P positions (of both mirrors).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vggnet.data.splits import Split
from vggnet.errors import BadImage, Diverged, UserError
from vggnet.evaluation.batching import Batcher, Item
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.forward import Scorer, mirror_images, ready_to_score, stack_images
from vggnet.evaluation.masking import Size
from vggnet.images.geometry import center_crop_corner, rescale
from vggnet.images.rescaled import rescaled_images
from vggnet.images.whole_images import whole_images
from vggnet.localization.boxes import Windows, clip, decode, rescaled_sizes
from vggnet.localization.regression import COORDINATES, select
from vggnet.network.vgg import VGG
from vggnet.network.weights import is_finite
from vggnet.paper.configurations import TOTAL_STRIDE_PX

# In sides of the crop. Clipped to the image, a box of any size is the whole image, which may well be counted as right.
FARTHEST = 1e6


@dataclass(frozen=True)
class _CenterCrop:
    """Return the centre crop of a rescaled image; runs in a worker."""

    scale: int
    crop: int

    def __call__(self, image: Image.Image) -> np.ndarray:
        rescaled = rescale(image, self.scale)
        left, top = center_crop_corner(*rescaled.size, self.crop)
        return np.array(rescaled.crop((left, top, left + self.crop, top + self.crop)))


def center_windows(sizes: np.ndarray, scale: int, crop: int) -> Windows:
    """Return the windows of the centre crops at Q = `scale` of images of `sizes` (n, 2)."""
    left, top = ((rescaled_sizes(sizes, scale) - crop) // 2).T
    count = len(sizes)
    return Windows(sizes, np.full(count, scale), left, top, np.zeros(count, bool), crop)


def center_outputs(
    model: VGG, split: Split, labels: np.ndarray, indices: np.ndarray, scale: int, computing: Computing
) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs for the centre crop at `scale` (Q), for the classes `labels`: float32 (n, 4), indices (n,).

    `labels` (N,) and `indices` are of the split; bad images are left out where `computing` says so.
    """
    crop = model.architecture.crop_px
    if scale < crop:
        raise UserError(f"test scale {scale}: a crop of {crop} does not fit: Q must be at least {crop}")
    readable: list[int] = []
    parts: list[Tensor] = []
    waiting: list[np.ndarray] = []
    with ready_to_score(model, computing.device, computing.precision) as ready:
        at_once = max(1, ready.limit_px // crop**2)

        def present() -> None:
            outputs = ready.model(ready.inputs(torch.from_numpy(np.stack(waiting)))).flatten(1).float()
            wanted = torch.from_numpy(labels[readable[len(readable) - len(waiting) :]]).to(computing.device)
            parts.append(select(outputs, wanted, model.description.boxes).cpu())
            waiting.clear()

        for result in whole_images(split, indices, computing.workers, _CenterCrop(scale, crop)):
            if isinstance(result, BadImage):
                computing.skipped(result)
                continue
            readable.append(result[0])
            waiting.append(result[1])
            if len(waiting) >= at_once:
                present()
        if waiting:
            present()
    values = torch.cat(parts).numpy() if parts else np.empty((0, COORDINATES), np.float32)
    boxes = np.asarray((np.abs(values) < FARTHEST).all(1))  # NaN is not
    if not boxes.all():
        file = split.path(readable[int(np.argmin(boxes))])
        which = f"{int((~boxes).sum()):,} of {len(boxes):,} boxes, that of {file} for one"
        raise Diverged(f"the numbers of {which}, are not finite or beyond {FARTHEST:g} crops; {Diverged.RETRAIN}")
    return values, np.array(readable, np.int64)


@dataclass(frozen=True, eq=False)
class MatchedNet:
    """A net that shares its classes with others: a box net, or a classifier whose posteriors rate boxes.

    `order[k]` is the place of class k of the first classifier among the net's own classes. `mirrors` tells whether the
    net is shown mirrored images; a net that was trained without them cannot rate their windows.
    """

    model: VGG
    order: np.ndarray
    mirrors: bool = True


@dataclass
class Candidates:
    """The boxes of one image from one box net at one Q: edges (P, T, 4) on the image, and class scores (P, T)."""

    edges: np.ndarray
    scores: np.ndarray


def dense_candidates(
    box_nets: Sequence[MatchedNet],
    classifiers: Sequence[MatchedNet],
    split: Split,
    sizes: np.ndarray,
    best: np.ndarray,
    indices: np.ndarray,
    scales: Sequence[Sequence[int]],
    computing: Computing,
) -> dict[int, dict[tuple[int, int], Candidates]]:
    """Return {image: {(box net, Q): candidates}} of the images at `indices`, without bad images that are skipped.

    `scales[i]` are the Q of box net i; `sizes` (N, 2) and `best` (N, T), an image's best classes in the order of the
    first classifier, are of the whole split. Without classifiers all scores are 1.
    """
    wanted = tuple(sorted({scale for each in scales for scale in each}))
    found: dict[int, dict[tuple[int, int], Candidates]] = {}
    with ExitStack() as stack:

        def ready(model: VGG) -> Scorer:
            return stack.enter_context(ready_to_score(model, computing.device, computing.precision))

        rating = [(net, ready(net.model)) for net in classifiers]
        boxing = [(net, ready(net.model)) for net in box_nets]
        limit = min(scorer.limit_px for _, scorer in boxing)
        batchers = {scale: Batcher(limit) for scale in wanted}

        def present(scale: int, items: list[Item]) -> None:
            at_scale = [place for place, each in enumerate(scales) if scale in each]
            chosen = np.array([item.position for item in items])
            results = _present([boxing[place] for place in at_scale], rating, items, sizes[chosen], best[chosen], scale)
            for place, by_image in zip(at_scale, results, strict=True):
                for index, candidates in zip(chosen.tolist(), by_image, strict=True):
                    found.setdefault(index, {})[place, scale] = candidates

        images = rescaled_images(split, indices, wanted, workers=computing.workers, device=computing.device)
        for result in images:
            if isinstance(result, BadImage):
                computing.skipped(result)
                continue
            for scale, pixels in zip(wanted, result[1], strict=True):
                for items in batchers[scale].add(Item(result[0], pixels)):
                    present(scale, items)
        for scale, batcher in batchers.items():
            for items in batcher.flush():
                present(scale, items)
    return found


def _present(
    boxing: Sequence[tuple[MatchedNet, Scorer]],
    rating: Sequence[tuple[MatchedNet, Scorer]],
    items: Sequence[Item],
    sizes: np.ndarray,
    best: np.ndarray,
    scale: int,
) -> list[list[Candidates]]:
    """Return for each box net the candidates of each image of one batch, all at one Q."""
    rescaled = [item.size for item in items]
    pixels = stack_images(items, rescaled)
    results: list[list[list[Candidates]]] = [[] for _ in boxing]
    for mirrored in (False, True):
        raters = [(net, scorer) for net, scorer in rating if net.mirrors or not mirrored]
        unrated = bool(rating) and not raters  # no classifier could rate the mirrored windows
        if mirrored and (unrated or not any(net.mirrors for net, _ in boxing)):
            continue
        scores: list[list[np.ndarray]] = []
        for net, scorer in raters:
            maps = _maps(scorer, pixels, rescaled, mirrored)
            scores.append([_position_scores(each, net.order[best[i]]) for i, each in enumerate(maps)])
        for place, (net, scorer) in enumerate(boxing):
            if net.mirrors or not mirrored:
                maps = _maps(scorer, pixels, rescaled, mirrored)
                results[place].append(
                    [
                        Candidates(
                            _edges(net, each, best[i], sizes[i], scale, mirrored),
                            np.mean([score[i] for score in scores], 0)
                            if scores
                            else np.ones((each.shape[1] * each.shape[2], best.shape[1])),
                        )
                        for i, each in enumerate(maps)
                    ]
                )
    return [[_joined(parts) for parts in zip(*by_mirror, strict=True)] for by_mirror in results]


def _joined(parts: Sequence[Candidates]) -> Candidates:
    return Candidates(np.concatenate([part.edges for part in parts]), np.concatenate([part.scores for part in parts]))


def _maps(scorer: Scorer, pixels: Tensor, sizes: Sequence[Size], mirrored: bool) -> Iterator[Tensor]:
    """Return each image's own map, fp32 on the CPU: (outputs, rows, columns)."""
    images = scorer.inputs(pixels)
    if mirrored:
        images = mirror_images(images, sizes)
    maps = scorer.maps(images, sizes).cpu()
    if not is_finite(maps):
        raise Diverged(f"what net {scorer.model.architecture.net} computes is not finite; {Diverged.RETRAIN}")
    return scorer.own_maps(maps, sizes)


def _position_scores(scores: Tensor, classes: np.ndarray) -> np.ndarray:
    """Return the posteriors (P, T) of `classes` (T,) at each position of a class score map (K, rows, columns)."""
    return scores.flatten(1).softmax(0)[torch.from_numpy(classes)].T.numpy()


def _edges(
    net: MatchedNet, outputs: Tensor, best: np.ndarray, size: np.ndarray, scale: int, mirrored: bool
) -> np.ndarray:
    """Return edges (P, T, 4) on the image of width and height `size`, from a map (4 or 4 K, rows, columns)."""
    side = net.model.architecture.crop_px
    rows, columns = outputs.shape[1:]
    flat = outputs.flatten(1).T  # (P, 4 or 4 K)
    if net.model.description.boxes == "pcr":
        coordinates = flat.unflatten(1, (-1, COORDINATES))[:, torch.from_numpy(net.order[best])].numpy()
    else:
        coordinates = np.repeat(flat.numpy()[:, None], len(best), 1)
    width = rescaled_sizes(size[None], scale)[0, 0]
    left = np.tile(np.arange(columns) * TOTAL_STRIDE_PX, rows)
    left = width - left - side if mirrored else left  # the window on the image that is not mirrored
    top = np.repeat(np.arange(rows) * TOTAL_STRIDE_PX, columns)
    each = len(best)
    count = rows * columns * each
    windows = Windows(
        np.broadcast_to(size, (count, 2)),
        np.full(count, scale),
        np.repeat(left, each),
        np.repeat(top, each),
        np.full(count, mirrored),
        side,
    )
    edges = windows.leave(decode(coordinates.reshape(-1, COORDINATES), side))
    return clip(edges, size).reshape(-1, each, COORDINATES)
