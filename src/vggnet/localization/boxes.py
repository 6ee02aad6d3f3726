"""Encode boxes relative to a crop (`encode`), map them between image and windows (`Windows`), measure overlaps.

Files and people give boxes by inclusive pixel *corners*: xmin = xmax is one pixel wide, as in VOC and ILSVRC. The code
computes with *edges*: pixel x covers [x, x + 1), so that edges are (xmin, ymin, xmax + 1, ymax + 1). Areas and overlaps
of edges are those of the inclusive pixels, and edges can be rescaled, which corners cannot.

Shapes: n boxes; edges and corners are (..., 4), x before y. All is float64 and vectorised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vggnet.console import counted
from vggnet.errors import UserError

CLIPPED_PX = 1  # a box may reach this far beyond its image: files count pixels from 0 and from 1
LISTED_FAULTS = 10
CORRECT_IOU = 0.5  # a box is right when its overlap is larger (ILSVRC; App. A)


def edges_of(corners: np.ndarray) -> np.ndarray:
    """Return the edges (..., 4) of inclusive pixel corners (..., 4)."""
    return np.asarray(corners, np.float64) + np.array([0.0, 0.0, 1.0, 1.0])


def corners_of(edges: np.ndarray) -> np.ndarray:
    """Return the nearest inclusive pixel corners of edges (..., 4), int64; at least one pixel wide and high."""
    rounded = np.floor(np.asarray(edges) + 0.5).astype(np.int64)
    rounded[..., 2:] = np.maximum(rounded[..., 2:] - 1, rounded[..., :2])
    return rounded


def area(edges: np.ndarray) -> np.ndarray:
    """Return the area (...,) in square pixels; 0 for a box whose right edge lies left of its left one."""
    return np.clip(edges[..., 2] - edges[..., 0], 0, None) * np.clip(edges[..., 3] - edges[..., 1], 0, None)


def intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the common area (...,) of edges (..., 4) and (..., 4), which are broadcast."""
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    return np.clip(high - low, 0, None).prod(-1)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union (...,), 0 to 1, of edges (..., 4) and (..., 4), which are broadcast."""
    common = intersection(first, second)
    union = area(first) + area(second) - common
    return common / np.maximum(union, 1e-12)


def clip(edges: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return edges (..., 4) cut to their images; `sizes` (..., 2) are width and height."""
    limits = np.concatenate([sizes, sizes], -1)
    return np.clip(edges, 0, limits)


def rescaled_sizes(sizes: np.ndarray, scale: np.ndarray | int) -> np.ndarray:
    """Return `geometry.rescaled_size` of many images: int (n, 2) of width, height; `scale` is S or Q, (n,) or one."""
    sizes = np.asarray(sizes, np.int64)
    scale = np.broadcast_to(np.asarray(scale, np.int64), sizes.shape[:1])[:, None]
    short = sizes.min(1, keepdims=True)
    return np.maximum(scale, (2 * sizes * scale + short) // (2 * short))


@dataclass(frozen=True, eq=False)
class Windows:
    """n square windows of side `side` px, each on a rescaled image; maps boxes into them and back.

    The image of `sizes` (n, 2: width, height) is rescaled to smallest side `scale` (n,) and cut at (left, top) (n,);
    where `mirrored` (n,) is set, the window's pixels are then flipped, and so are boxes: x -> side - x for edges, which
    is x -> side - 1 - x for pixels.
    """

    sizes: np.ndarray
    scale: np.ndarray
    left: np.ndarray
    top: np.ndarray
    mirrored: np.ndarray
    side: int

    @classmethod
    def of_views(cls, sizes: np.ndarray, views: np.ndarray, side: int) -> "Windows":
        """Return the windows of `loading.Batch.views`, rows of (scale, left, top, mirrored)."""
        scale, left, top = (views[:, column].astype(np.int64) for column in range(3))
        return cls(sizes, scale, left, top, views[:, 3] > 0.5, side)

    @property
    def _factors(self) -> np.ndarray:
        """Rescaled pixels for each pixel of the image, by edge, (n, 4). Each axis is rounded separately."""
        factors = rescaled_sizes(self.sizes, self.scale) / self.sizes
        return np.concatenate([factors, factors], 1)

    @property
    def _corner(self) -> np.ndarray:
        return np.stack([self.left, self.top, self.left, self.top], 1).astype(np.float64)

    def enter(self, edges: np.ndarray) -> np.ndarray:
        """Return the edges in the windows of edges (n, 4) in the images; not clipped."""
        return self._flip(edges * self._factors - self._corner)

    def leave(self, edges: np.ndarray) -> np.ndarray:
        """Invert `enter`."""
        return (self._flip(edges) + self._corner) / self._factors

    def _flip(self, edges: np.ndarray) -> np.ndarray:
        flipped = np.stack([self.side - edges[:, 2], edges[:, 1], self.side - edges[:, 0], edges[:, 3]], 1)
        return np.where(self.mirrored[:, None], flipped, edges)


def encode(edges: np.ndarray, side: int) -> np.ndarray:
    """Return what is regressed for edges (..., 4) in a window: centre x, centre y, width, height.

    The unit is the side of the window, and the centre is relative to the middle of the window: a box that fills it is
    (0, 0, 1, 1). A box that reaches beyond its window is not cut.
    """
    center = (edges[..., :2] + edges[..., 2:]) / 2 - side / 2
    return np.concatenate([center, edges[..., 2:] - edges[..., :2]], -1) / side


def decode(coordinates: np.ndarray, side: int) -> np.ndarray:
    """Invert `encode`; a negative width or height becomes 0."""
    values = np.asarray(coordinates, np.float64) * side
    half = np.clip(values[..., 2:], 0, None) / 2
    center = values[..., :2] + side / 2
    return np.concatenate([center - half, center + half], -1)


@dataclass(frozen=True)
class BoxFault:
    """A box that cannot be used, in inclusive corners, and why."""

    image: str
    corners: tuple[float, ...]
    reason: str

    def __str__(self) -> str:
        return f"{self.image}: box {' '.join(f'{value:g}' for value in self.corners)}: {self.reason}"


@dataclass(frozen=True, eq=False)
class CheckedBoxes:
    """The boxes that can be used. `clipped` counts those that reached beyond the image; `faults` are left out."""

    boxes: tuple[np.ndarray, ...]  # int64 (n_i, 4), inclusive corners
    clipped: int
    faults: tuple[BoxFault, ...]


def check_boxes(
    names: Sequence[str],
    boxes: Sequence[np.ndarray],
    sizes: np.ndarray,
    contradictions: Mapping[int, str] | None = None,
) -> CheckedBoxes:
    """Check that every box lies on its image; `sizes` (N, 2) are width and height in pixels, 0 where unknown.

    A box that reaches one pixel beyond is clipped and counted; one that reaches farther, or has xmin > xmax or
    ymin > ymax, is a fault. So are all boxes of the images in `contradictions`, for the reason given there.
    """
    apart = contradictions or {}
    owner = np.repeat(np.arange(len(boxes)), [len(each) for each in boxes])
    corners = np.concatenate([np.empty((0, 4), np.int64), *boxes])
    size = sizes[owner].astype(np.int64) if len(owner) else np.empty((0, 2), np.int64)
    limit = np.concatenate([size, size], 1) - 1
    known: np.ndarray = np.all(size > 0, 1)
    fitting = np.where(known[:, None], np.clip(corners, 0, limit), corners)
    turned: np.ndarray = np.any(corners[:, :2] > corners[:, 2:], 1)
    # a one-pixel box just outside is moved onto the border pixel: it too is off by one pixel only
    beyond: np.ndarray = np.any(np.abs(corners - fitting) > CLIPPED_PX, 1) & ~turned
    contradicted: np.ndarray = np.isin(owner, list(apart))
    good: np.ndarray = ~(turned | beyond | contradicted)
    faults = [
        BoxFault(
            names[owner[place]],
            tuple(corners[place].tolist()),
            apart[owner[place]]
            if contradicted[place]
            else "xmin > xmax or ymin > ymax"
            if turned[place]
            else f"more than a pixel outside the image of {size[place][0]}x{size[place][1]}",
        )
        for place in np.flatnonzero(~good).tolist()
    ]
    clipped = int(((corners != fitting).any(1) & good).sum())
    usable = np.split(fitting[good], np.cumsum(np.bincount(owner[good], minlength=len(boxes)))[:-1]) if boxes else []
    return CheckedBoxes(tuple(usable), clipped, tuple(faults))


def refuse_faults(faults: tuple[BoxFault, ...], hint: str = "") -> None:
    """Raise UserError that lists the boxes at fault, where there are any; `hint` stands at its end."""
    if not faults:
        return
    lines = [f"  {fault}" for fault in faults[:LISTED_FAULTS]]
    lines += [f"  and {len(faults) - LISTED_FAULTS} more"] if len(faults) > LISTED_FAULTS else []
    raise UserError(
        f"{counted(len(faults), 'box')} cannot be used:\n"
        + "\n".join(lines)
        + "\nCorrect them, or leave them out with `bad_boxes` skip"
        + hint
    )
