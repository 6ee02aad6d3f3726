"""Prepare the images of a training: check each one, measure the colours, hold out the part that judges the epochs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from vggnet.console import counted, progress, say
from vggnet.data.dividing import hold_out
from vggnet.data.learnt import Learnt, read_learnt, read_learnt_before, same_content
from vggnet.data.splits import ImageData, Split
from vggnet.description import ImageReading
from vggnet.errors import BadImage, UserError, describe_bad
from vggnet.files import default_cache
from vggnet.images.brightness import describe_range
from vggnet.images.color import ColorStatistics
from vggnet.images.scanning import Scan, scan
from vggnet.options.choices import ImageCheck
from vggnet.training.image_list import Changes, ImageList

Skipped = tuple[tuple[str, BadImage], ...]  # with their part, train or val


@dataclass(frozen=True)
class Pictures:
    """The checked images of a training: `train` is learnt from, `judge` moves the schedule, `val` is only reported.

    `learnt` are the images of `train`, `learnt_before` those of the net that the training starts from.
    """

    data: ImageData
    train: Split
    judge: Split
    val: Split | None
    judged_on: str  # "450 images held out of train" or "val"
    statistics: ColorStatistics
    learnt: Learnt | None  # None: the images' contents were not read
    learnt_before: Learnt | None
    listed: ImageList  # all images, as images.csv.gz stores them for --resume
    skipped: Skipped = ()  # bad images left out
    lost: Skipped = ()  # bad images of a continued run that were good at its start


@dataclass(frozen=True)
class AsStarted:
    """The images of a run at its start (None: not stored), and whether others are accepted."""

    images: ImageList | None
    changed: bool = False  # --data-changed


@dataclass(frozen=True)
class _Checked:
    """A split without its bad images, and what the check found. A run that goes on has the bad ones in the split, too.

    `digests` uint64 (n,) are those of the images of the split, of the bad ones as they were at the run's start.
    """

    split: Split
    bad: tuple[BadImage, ...]
    statistics: ColorStatistics
    digests: np.ndarray

    def at(self, chosen: np.ndarray) -> "_Checked":
        """Return the images where `chosen`, bool (n,), is true."""
        return replace(self, split=self.split.subset(np.flatnonzero(chosen)), digests=self.digests[chosen])


def prepare_pictures(
    opened: ImageData,
    data: str,
    *,
    holdout: float,
    bad_images: str,
    workers: int,
    reading: ImageReading,
    check: ImageCheck | None = None,
    learnt_before: Learnt | None = None,
    started: AsStarted | None = None,
) -> Pictures:
    """Check every image before anything is trained, and hold out the part that judges.

    Args:
        opened: The data set.
        data: Its name or folder as the user gave it, for messages.
        holdout: Part of the training images that judges the epochs; 0 judges on val.
        bad_images: Whether images that cannot be read stop the training or are left out.
        reading: How image files are decoded.
        check: What is checked of each image; None: all of it, or its first bytes where there are many images.
        learnt_before: Images that the net which the training starts from has learnt from: they do not judge.
        started: The images of a run that goes on. They are used in their order, those included that cannot be read now.

    Raises:
        UserError: for images that cannot be used, or that are not those of the run's start.
    """
    for note in opened.notes:
        say(f"note: {note}")
    _refuse_unusable(opened, data, holdout)
    listed = ImageList.of(opened)
    before = None if started is None or started.changed else started.images
    if started is not None:
        opened = _as_started(opened, listed, started, bad_images)
    checking = partial(_checked, reading=reading, bad_images=bad_images, workers=workers, before=before, check=check)
    train, val = _check_parts(opened, data, checking, learnt_before)
    parts = [("train", train)] + ([] if val is None else [("val", val)])
    bad: Skipped = tuple((name, error) for name, checked in parts for error in checked.bad)
    part, judge, judged_on = _divide(data, train, val, holdout, learnt_before)
    learns = set(part.files)
    places = np.array([file in learns for file in train.split.files], bool)
    learnt, held = train.at(places), train.at(~places)
    _note_copies(learnt, held, "held-out")
    for name, checked in parts if before is None else ():
        listed = listed.checked(name, checked.split, checked.digests)
    return Pictures(
        opened,
        part,
        judge,
        None if val is None else val.split,
        judged_on,
        train.statistics,
        None if check == "none" else Learnt.of(learnt.split, learnt.digests),
        learnt_before,
        listed if before is None else before,
        skipped=bad if before is None else (),
        lost=() if before is None else bad,
    )


def _refuse_unusable(opened: ImageData, data: str, holdout: float) -> None:
    """Raise UserError for a data set without training images, and for a part to hold out that cannot be."""
    if not 0 <= holdout < 1:
        raise UserError(f"`holdout` {holdout}: a part of the training images, at least 0 and below 1; 0 judges on val")
    if opened.train is None or not len(opened.train):
        raise UserError(f"{data}: there are no training images; put them into train/CLASS/ folders")


def _check_parts(
    opened: ImageData, data: str, checking: Callable[[Split, str], _Checked], learnt_before: Learnt | None
) -> tuple[_Checked, _Checked | None]:
    """Check train and, where there is one, val. UserError where val holds what the net has learnt from."""
    assert opened.train is not None
    train = checking(opened.train, "train")
    if opened.val is None:
        return train, None
    val = checking(opened.val, "val")
    if opened.divided:
        _refuse_learnt(data, val, learnt_before)
    _note_copies(train, val, "val")
    return train, val


def learnt_before(init_from: Path | None, run: Path | None) -> Learnt | None:
    """Return what the net that a training starts from has learnt from; a run that goes on has it written down."""
    if run is not None and (found := read_learnt_before(run)) is not None:
        return found
    return None if init_from is None else read_learnt(init_from)


def _divide(
    data: str, train: _Checked, val: _Checked | None, holdout: float, learnt_before: Learnt | None
) -> tuple[Split, Split, str]:
    """Return the images to learn from, those that judge, and what these are in words."""
    if holdout == 0:
        if val is None or val.split.labels is None:
            raise UserError(f"{data}: `holdout` 0 judges on val, and there is no labelled val; leave `holdout` at 0.1")
        return train.split, val.split, "val (`holdout` 0)"
    learnt = None if learnt_before is None else learnt_before.holds_images(train.split, train.digests)
    part, judge = hold_out(train.split, holdout, learnt)
    if learnt is None and not len(judge):
        raise UserError(
            f"{data}: no image can be held out, since every class has one training image only: add images, or judge on "
            "val with `holdout` 0"
        )
    if learnt is None:
        return part, judge, f"{counted(len(judge), 'image')} held out of train"
    if not len(judge):
        raise UserError(
            f"{data}: the net of `init_from` has learnt from all {len(learnt)} training images, so none of them can "
            "judge: give `holdout` 0, which judges on val"
        )
    what = f"{counted(len(judge), 'image')} held out of train, which the net of `init_from` has not learnt from"
    return part, judge, what if learnt.any() else f"{counted(len(judge), 'image')} held out of train"


def _refuse_learnt(data: str, val: _Checked, learnt_before: Learnt | None) -> None:
    """Raise UserError where images that were set aside are known to the net that the training starts from."""
    if learnt_before is None:
        return
    known = int(learnt_before.holds_images(val.split, val.digests).sum())
    if known:
        raise UserError(
            f"{data}: the net of `init_from` has learnt from {known} of the {len(val.split)} images set aside for "
            "validation, since the folder was divided otherwise for its training. Put images for validation that it "
            "has not seen into a folder of their own (val/CLASS beside train/CLASS), or start from another net"
        )


def _note_copies(train: _Checked, tested: _Checked, name: str) -> None:
    """Print how many images of a part are copies of training images: their error says nothing about new images."""
    order = np.argsort(train.digests, kind="stable")
    found = np.searchsorted(train.digests, tested.digests, sorter=order)
    copies = []
    for place in np.flatnonzero((tested.digests != 0) & np.isin(tested.digests, train.digests)).tolist():
        copy, original = tested.split.file(place), train.split.file(int(order[found[place]]))
        if same_content(copy, original):
            copies.append((copy, original))
    if copies:
        say(
            f"note: {len(copies)} of {len(tested.split)} {name} images are copies of training images, such as "
            f"{copies[0][0]} of {copies[0][1]}: the {name} error is too low by them"
        )


def _as_started(now: ImageData, listed: ImageList, started: AsStarted, bad_images: str) -> ImageData:
    """Return the data with the images of the run's start, or (--data-changed) as they are now."""
    if started.images is None:
        return now
    assert now.train is not None
    changes = started.images.changes(listed, now)
    if changes.classes:
        raise _others(changes, "The net's outputs are the classes of the start: give these back, or start another run")
    if started.changed:
        for line in changes.lines():
            say(f"note: `data_changed`: {line}")
        return now
    if changes.others:
        raise _others(changes, "Put them back, or accept them with `data_changed`")
    if changes.unreadable and bad_images == "stop":
        raise _others(changes, "Put them back, or go on without them: `bad_images` skip")
    train, val = (started.images.restored(part, split) for part, split in (("train", now.train), ("val", now.val)))
    return replace(now, train=train, val=val)


def _others(changes: Changes, remedy: str) -> UserError:
    lines = "\n".join(f"  {line}" for line in changes.lines())
    return UserError(f"`resume`: the images are not those that the run was started with:\n{lines}\n{remedy}")


def _checked(
    split: Split,
    name: str,
    *,
    reading: ImageReading,
    bad_images: str,
    workers: int,
    before: ImageList | None,
    check: ImageCheck | None,
) -> _Checked:
    """Read every image once, as far as `check` says, and leave the bad ones out where they may be skipped.

    `before` are the images of a run that goes on. UserError where they have other contents now.
    """
    split = split.read_as(reading)
    with progress(f"checking {counted(len(split), f'{name} image')}") as tick:
        found = scan(split, workers=workers, cache=default_cache(), check=check, on_start=say, on_progress=tick)
    for conversion, count in found.conversions.items():
        say(f"note: {name}: {counted(count, 'image')}: {conversion}")
    for line in reading_notes(found, split.reading):
        say(f"note: {name}: {line}")
    bad_paths = {error.path for error in found.bad}
    good = np.ones(len(split), bool)
    if bad_paths:
        good = np.array([split.path(index) not in bad_paths for index in range(len(split))], bool)
    digests = np.frombuffer(found.digests, "<u8")
    if before is not None:
        digests = _contents_as_started(split, name, digests, good, before)
    if not found.bad:
        return _Checked(split, (), found.statistics, digests)
    listing = describe_bad(found.bad)
    if bad_images == "stop":
        raise UserError(
            f"{len(found.bad)} of {len(split)} {name} images cannot be used:\n{listing}\n"
            "Mend or remove them, or leave them out with `bad_images` skip"
        )
    say(f"skipping {counted(len(found.bad), f'bad {name} image')}:\n{listing}")
    if before is not None:
        return _Checked(split, found.bad, found.statistics, digests)
    if not good.any():
        raise UserError(f"{split.root}: not one of the {len(split)} {name} images can be read")
    return _Checked(split.subset(np.flatnonzero(good)), found.bad, found.statistics, digests[good])


def _contents_as_started(
    split: Split, part: str, digests: np.ndarray, good: np.ndarray, before: ImageList
) -> np.ndarray:
    """Return the digests at the run's start. UserError where an image of the same size has another content now."""
    recorded = before.digests(part)
    other = good & (digests != recorded) & (digests != 0) & (recorded != 0)
    if other.any():
        changes = Changes(replaced=tuple(split.files[place] for place in np.flatnonzero(other).tolist()))
        raise _others(changes, "Put them back, or accept them with `data_changed`")
    return recorded


def reading_notes(found: Scan, reading: ImageReading) -> list[str]:
    """Return what the user should know of EXIF orientations and of the range of 16-bit pixels, a line each."""
    lines = []
    if found.oriented:
        how = {
            "apply": "turned upright (`orientation` ignore takes the pixels as they are stored)",
            "ignore": "taken as the pixels are stored (`orientation` apply turns them upright)",
        }[reading.orientation]
        have = "has" if found.oriented == 1 else "have"
        lines.append(f"{found.oriented} of {counted(found.checked, 'image')} {have} an EXIF orientation: {how}")
    if found.deep:
        advice = "`pixel_range` 0 {enough} makes {enough} white"
        lines.append(describe_range(found.deep, found.brightest, reading.pixel_range, advice)[0])
    return lines
