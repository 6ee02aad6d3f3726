"""How a set of images is divided: a validation part, and a part of the training images that judges the schedule.

Both divisions are a property of the data: an image's name decides, and no seed. So all nets that are trained on a
folder learn from the same images, whatever their seeds, and can be compared and trained further.
"""

import numpy as np

from vggnet.data.splits import Split
from vggnet.errors import UserError
from vggnet.randomness import Division, name_draw


def set_aside(split: Split, fraction: float) -> tuple[Split, Split]:
    """Return (training, validation) of images that come undivided: about `fraction` of each class.

    A hash of an image's name decides, so it stays on its side when others are added or removed: a folder grows, and a
    net must not be tested on what it has learnt from. For the same reason an image that is an example of several
    classes is so on one side only. A class has at least one image for training, and where it has others of its own, one
    for validation.
    """
    _check_fraction(fraction)
    labels = _labels(split)
    draws = np.array([name_draw(Division.VALIDATION, name) for name in names_in_data(split)])
    aside = draws < fraction
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)] if fraction else []
    for places in classes:
        if len(places) > 1 and not aside[places].any():
            aside[draws == draws[places].min()] = True  # all examples of that image
    for places in classes:
        if aside[places].all():
            aside[draws == draws[places].max()] = False
    return split.subset(np.flatnonzero(~aside)), split.subset(np.flatnonzero(aside))


def hold_out(split: Split, fraction: float, learnt: np.ndarray | None = None) -> tuple[Split, Split]:
    """Return (the rest, the part held out): `fraction` of each class, by their names, both in the order of `split`.

    A class of two or more images gives at least one and keeps at least one; a single image stays. A larger fraction
    holds out the images of a smaller one and others. Where `learnt`, bool (n,), is true, the image is not held out:
    the net that a training starts from has learnt from it; a class then gives fewer where there are no others.
    """
    held = _held_out(split, fraction, np.zeros(len(split), bool) if learnt is None else learnt)
    return split.subset(np.flatnonzero(~held)), split.subset(np.flatnonzero(held))


def _held_out(split: Split, fraction: float, learnt: np.ndarray) -> np.ndarray:
    _check_fraction(fraction)
    labels = _labels(split)
    draws = np.array([name_draw(Division.HELD_OUT, name) for name in names_in_data(split)])
    held = np.zeros(len(split), bool)
    for label in np.unique(labels) if fraction else ():
        places = np.flatnonzero(labels == label)
        wanted = held_out_of_class(len(places), fraction)
        free = places[~learnt[places]]
        held[free[np.argsort(draws[free], kind="stable")[:wanted]]] = True
    return held


def held_out_of_class(images: int, fraction: float) -> int:
    """Return how many of a class's images are held out: `fraction` of them, at least one, and never all."""
    return min(max(1, round(fraction * images)), images - 1)


def names_in_data(split: Split) -> tuple[str, ...]:
    """Return the files' names from the class folders on: `photos` with `train/` alone is divided as `photos/train`."""
    return tuple(file.removeprefix(split.part) for file in split.files) if split.part else split.files


def _labels(split: Split) -> np.ndarray:
    return np.zeros(len(split), np.int64) if split.labels is None else split.labels


def _check_fraction(fraction: float) -> None:
    if not 0 <= fraction < 1:
        raise UserError(f"the fraction held out must be at least 0 and below 1, not {fraction}")
