"""Open images with the boxes of their objects, and check that the boxes lie on the images.

An image without a box is left out and counted: many of ImageNet's training images have none. A box that is not on its
image raises an error, or is left out and counted; see `localization.boxes.check_boxes`.

Shapes: N images, M the most boxes of one image.
"""

import warnings
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vggnet.console import counted, say
from vggnet.data.annotations import open_annotated
from vggnet.data.image_files import open_image
from vggnet.data.splits import ImageData, Split
from vggnet.errors import UserError
from vggnet.images.decoding import contradiction, upright_size
from vggnet.images.silence import in_words
from vggnet.images.workers import Workers, chunks
from vggnet.localization.boxes import check_boxes, edges_of, refuse_faults
from vggnet.options.choices import Orientation

_PIECE = 256  # images to a worker at once
_HINTED = 100  # images with faulty boxes whose orientation is looked at
_NO_BOX = np.empty((0, 4), np.int64)


@dataclass(frozen=True, eq=False)
class Objects:
    """N images, each with one or more boxes.

    `sizes` int64 (N, 2) is width, height. `edges` float64 (sum of boxes, 4) holds the boxes of all images one after
    another (see `localization.boxes`); those of image i are `edges[starts[i] : starts[i + 1]]`.
    """

    split: Split
    sizes: np.ndarray
    edges: np.ndarray
    starts: np.ndarray  # int64 (N + 1,)

    def __len__(self) -> int:
        return len(self.split)

    @property
    def labels(self) -> np.ndarray:
        assert self.split.labels is not None
        return self.split.labels

    @property
    def counts(self) -> np.ndarray:
        """Boxes by image, int64 (N,)."""
        return np.diff(self.starts)

    def padded(self) -> np.ndarray:
        """Return edges (N, M, 4). Images with fewer boxes get boxes without area, which overlap nothing."""
        counts = self.counts
        result = np.zeros((len(self), int(counts.max(initial=1)), 4))
        result[np.arange(result.shape[1]) < counts[:, None]] = self.edges
        return result

    def subset(self, indices: np.ndarray) -> "Objects":
        """Return the images at `indices`, in that order."""
        boxes = [self.edges[self.starts[i] : self.starts[i + 1]] for i in indices.tolist()]
        return Objects(self.split.subset(indices), self.sizes[indices], *_flat(boxes))


def _flat(boxes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes of all images one after another, and where those of each image begin, int64 (N + 1,)."""
    starts = np.concatenate([[0], np.cumsum([len(each) for each in boxes])]).astype(np.int64)
    return np.concatenate([np.empty((0, 4)), *boxes]), starts


def open_localizable(
    data: str, annotations: Path | None, val_annotations: Path | None, *, whole: bool = False
) -> ImageData:
    """Open `data` with its boxes, or with those of `annotations`, and leave images without a box out.

    `whole` is that of `open_data`. Raises UserError where there are no boxes at all.
    """
    opened = open_annotated(data, annotations, val_annotations, whole=whole)
    notes = list(opened.notes)
    parts: dict[str, Split | None] = {}
    for name, split in (("train", opened.train), ("val", opened.val)):
        parts[name] = split
        if split is None:
            continue
        if split.boxes is None:
            parts[name] = None
            notes.append(f"left out: {counted(len(split), f'{name} image')} without any box")
            continue
        having = np.array([len(boxes) > 0 for boxes in split.boxes], bool)
        if not having.all():
            notes.append(f"left out: {int((~having).sum())} of {len(split)} {name} images, without a box")
        parts[name] = split.subset(np.flatnonzero(having)) if having.any() else None
    if parts["train"] is None and parts["val"] is None:
        raise UserError(
            f"{data}: there are no boxes. Put boxes.csv (image,class,xmin,ymin,xmax,ymax) at the top of its folder, or "
            "name a csv, a COCO json or a folder of XML files with `annotations`"
        )
    return replace(opened, train=parts["train"], val=parts["val"], notes=tuple(notes))


def objects_of(
    split: Split, *, bad_boxes: str, workers: int, name: str = "", unreadable: Collection[str] = ()
) -> Objects:
    """Measure the images, check their boxes, and print how many boxes were clipped or left out.

    The images in `unreadable` are not left out, and have size 0: a continued run must have the images of its start.
    Raises UserError, which lists the boxes that cannot be used, unless `bad_boxes` is "skip".
    """
    sizes = measure_sizes(split, workers)
    assert split.boxes is not None
    checked = check_boxes(split.files, split.boxes, sizes, _contradictions(split, sizes))
    if bad_boxes != "skip":
        refuse_faults(checked.faults, _orientation_hint(split, sizes, {fault.image for fault in checked.faults}))
    elif checked.faults:
        say(f"note: {name}: left out {counted(len(checked.faults), 'box')} that cannot be used: {checked.faults[0]}")
    if checked.clipped:
        say(f"note: {name}: clipped {counted(checked.clipped, 'box')} that reached a pixel beyond the image")
    stays = [sizes[i].all() or (bool(unreadable) and split.path(i) in unreadable) for i in range(len(split))]
    having = np.flatnonzero([len(boxes) > 0 and stays[i] for i, boxes in enumerate(checked.boxes)])
    if not len(having):
        raise UserError(f"{split.root}: not one of {len(split)} {name} images has a box that can be used")
    if len(having) < len(split):
        say(f"note: {name}: left out {counted(len(split) - len(having), 'image')} without a box that can be used")
    usable = replace(split, boxes=checked.boxes).subset(having)
    assert usable.boxes is not None
    return Objects(usable, sizes[having], *_flat([edges_of(boxes) for boxes in usable.boxes]))


def _contradictions(split: Split, sizes: np.ndarray) -> dict[int, str]:
    """Return a reason for each image whose annotation states another size than its size in `sizes` (N, 2)."""
    if split.stated_sizes is None:
        return {}
    known = split.stated_sizes.all(1) & sizes.all(1)
    apart = np.flatnonzero(known & (split.stated_sizes != sizes).any(1)).tolist()
    pairs = [(tuple(split.stated_sizes[place].tolist()), tuple(sizes[place].tolist())) for place in apart]
    return {place: contradiction(*pair, split.reading) for place, pair in zip(apart, pairs, strict=True)}


def _orientation_hint(split: Split, sizes: np.ndarray, images: set[str]) -> str:
    """Return advice to try the other --orientation, if it would turn images whose boxes do not fit; else empty."""
    other: Orientation = "ignore" if split.reading.orientation == "apply" else "apply"
    faulty = [place for place, file in enumerate(split.files) if file in images][:_HINTED]
    otherwise = measure_sizes(split.subset(faulty).read_as(replace(split.reading, orientation=other)))
    turned = int((otherwise != sizes[faulty]).any(1).sum())
    if not turned:
        return ""
    have = f"{counted(turned, 'image')} of these" if turned > 1 else "1 image of these"
    return f"\n{have} would be turned by `orientation` {other}: boxes may have been drawn on them so"


def measure_sizes(split: Split, workers: int = 0) -> np.ndarray:
    """Return the width and height of each image by its header, int64 (N, 2); 0, 0 for a header that cannot be read."""
    pieces = chunks(np.arange(len(split)), _PIECE)
    with Workers(_Sizes(split), min(workers, len(pieces))) as pool:
        return np.concatenate([np.empty((0, 2), np.int64), *pool.map(pieces)])


@dataclass(frozen=True)
class _Sizes:
    """Read the headers of some images; runs in a worker."""

    split: Split

    def describe(self, indices: np.ndarray) -> str:
        return in_words(self.split, indices)

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        sizes = np.zeros((len(indices), 2), np.int64)
        for place, index in enumerate(indices.tolist()):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    with open_image(self.split.file(index)) as image:
                        sizes[place] = upright_size(image, self.split.reading)
            except Exception:  # whatever Pillow raises on damaged headers: `decode` names the file and the reason
                continue
        return sizes
