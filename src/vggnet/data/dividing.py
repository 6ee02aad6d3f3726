"""Divide images: set aside a validation part, and hold out training images to judge the learning rate's schedule.

Both divisions depend on the images' names and on no seed. So all nets that are trained on a folder learn from the same
images, and can be compared and trained further.
"""

from collections.abc import Iterable

import numpy as np

from vggnet.data.splits import Split
from vggnet.errors import UserError
from vggnet.randomness import Division, name_draw


def set_aside(split: Split, fraction: float) -> tuple[Split, Split]:
    """Divide images into (training, validation), with about `fraction` of each class for validation.

    A hash of its name decides for an image, so that it stays in its part when others are added or removed: a net must
    not be tested on images it has learnt from. An image with several classes is in one part only. Every class has at
    least one image for training, and one for validation where it has two or more images that no other class shares.

    Raises UserError for a fraction below 0, or of 1 or more.
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
    """Divide training images into (the rest, the part held out), both in the order of `split`.

    `fraction` of each class is held out, by the images' names: at least one image of a class of two or more, never all.
    A larger fraction holds out the images of a smaller one, and more. Images for which `learnt`, bool (n,), is True are
    not held out, because the net that the training starts from has learnt from them; their class may give fewer.

    Raises UserError for a fraction below 0, or of 1 or more.
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


def names_in_data(split: Split) -> Iterable[str]:
    """Return the files' paths below the class folders' parent, so that `photos` is divided as `photos/train` is."""
    return (file.removeprefix(split.part) for file in split.files)


def _labels(split: Split) -> np.ndarray:
    return np.zeros(len(split), np.int64) if split.labels is None else split.labels


def _check_fraction(fraction: float) -> None:
    if not 0 <= fraction < 1:
        raise UserError(f"the fraction of images held out must be at least 0 and below 1, not {fraction}")
