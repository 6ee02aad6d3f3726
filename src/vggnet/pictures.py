"""The user's images made ready for a training: opened, checked, held out, their colours measured, a crop chosen."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vggnet.console import counted, progress, say
from vggnet.contract import FULL_RANGE, ImageReading
from vggnet.errors import BadImage, UserError
from vggnet.images.cache import default_cache
from vggnet.images.color import ColorStatistics
from vggnet.images.datasets import open_data
from vggnet.images.decoding import decode
from vggnet.images.dividing import hold_out
from vggnet.images.learnt import Learnt, read_learnt, read_learnt_before, same_content
from vggnet.images.scanning import Scan, scan
from vggnet.images.splits import ImageData, Split
from vggnet.paper.configurations import PAPER_CROP_PX, TOTAL_STRIDE_PX

LISTED_BAD_IMAGES = 10
SIDES_SAMPLED = 50


@dataclass(frozen=True)
class Pictures:
    """What one training sees: `train` is learnt from, `judge` steers the schedule, `val` is only reported.

    `learnt` are the images of `train`, `learnt_before` those of the net that the training starts from.
    """

    data: ImageData
    train: Split
    judge: Split
    val: Split | None
    judged_on: str  # "450 images held out of train" or "val"
    statistics: ColorStatistics
    skipped: int  # bad images left out
    learnt: Learnt
    learnt_before: Learnt | None


@dataclass(frozen=True)
class _Checked:
    """A split without its bad images, their number, and what the check found in the others."""

    split: Split
    skipped: int
    statistics: ColorStatistics
    digests: np.ndarray  # uint64 (images of `split`,), of their contents


def prepare_pictures(
    data: str,
    *,
    holdout: float,
    bad_images: str,
    workers: int,
    reading: ImageReading,
    opened: ImageData | None = None,
    learnt_before: Learnt | None = None,
) -> Pictures:
    """Open `data`, check every image before anything is trained, and hold out the part that judges.

    `reading` says how image files are decoded. `opened` is the data where the caller has opened it already.
    `learnt_before` are the images that the net which the training starts from has learnt from: they do not judge.
    """
    if not 0 <= holdout < 1:
        raise UserError(f"--holdout {holdout}: a part of the training images, at least 0 and below 1; 0 judges on val")
    if opened is None:
        opened = open_data(data)
    for note in opened.notes:
        say(f"note: {note}")
    if opened.train is None or not len(opened.train):
        raise UserError(f"{data}: there are no training images; put them into train/CLASS/ folders")
    train = _checked(opened.train.read_as(reading), "train", bad_images, workers)
    val = None if opened.val is None else _checked(opened.val.read_as(reading), "val", bad_images, workers)
    if val is not None:
        if opened.divided:
            _refuse_learnt(data, val, learnt_before)
        _note_copies(train, val)
    part, judge, judged_on = _divide(data, train, val, holdout, learnt_before)
    places = np.isin(np.array(train.split.files), np.array(part.files))
    return Pictures(
        opened,
        part,
        judge,
        None if val is None else val.split,
        judged_on,
        train.statistics,
        train.skipped + (0 if val is None else val.skipped),
        Learnt.of(train.split.subset(np.flatnonzero(places)), train.digests[places]),
        learnt_before,
    )


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
            raise UserError(f"{data}: --holdout 0 judges on val, and there is no labelled val; leave --holdout at 0.1")
        return train.split, val.split, "val (--holdout 0)"
    learnt = None if learnt_before is None else learnt_before.holds_images(train.split, train.digests)
    part, judge = hold_out(train.split, holdout, learnt)
    if learnt is None:
        return part, judge, f"{counted(len(judge), 'image')} held out of train"
    if not len(judge):
        raise UserError(
            f"{data}: the net of --init-from has learnt from all {len(learnt)} training images, so none of them can "
            "judge: give --holdout 0, which judges on val"
        )
    what = f"{counted(len(judge), 'image')} held out of train, which the net of --init-from has not learnt from"
    return part, judge, what if learnt.any() else f"{counted(len(judge), 'image')} held out of train"


def _refuse_learnt(data: str, val: _Checked, learnt_before: Learnt | None) -> None:
    """Raise UserError where images that were set aside are known to the net that the training starts from."""
    if learnt_before is None:
        return
    known = int(learnt_before.holds_images(val.split, val.digests).sum())
    if known:
        raise UserError(
            f"{data}: the net of --init-from has learnt from {known} of the {len(val.split)} images set aside for "
            "validation, since the folder was divided otherwise for its training. Put images for validation that it "
            "has not seen into a folder of their own (val/CLASS beside train/CLASS), or start from another net"
        )


def _note_copies(train: _Checked, val: _Checked) -> None:
    """Print how many val images are copies of training images: their error says nothing about new images."""
    order = np.argsort(train.digests, kind="stable")
    found = np.searchsorted(train.digests, val.digests, sorter=order)
    copies = []
    for place in np.flatnonzero((val.digests != 0) & np.isin(val.digests, train.digests)).tolist():
        original = train.split.path(int(order[found[place]]))
        if same_content(val.split.path(place), original):
            copies.append((val.split.path(place), original))
    if copies:
        say(
            f"note: {len(copies)} of {len(val.split)} val images are copies of training images, such as {copies[0][0]} "
            f"of {copies[0][1]}: the val error is too low by them"
        )


def _checked(split: Split, name: str, bad_images: str, workers: int) -> _Checked:
    """Decode every image once; the split without the bad ones where they may be skipped."""
    with progress(f"checking {counted(len(split), f'{name} image')}") as tick:
        found = scan(split, workers=workers, cache=default_cache(), on_progress=tick)
    for conversion, count in found.conversions.items():
        say(f"note: {name}: {counted(count, 'image')}: {conversion}")
    for line in reading_notes(found, split.reading):
        say(f"note: {name}: {line}")
    digests = np.frombuffer(found.digests, "<u8")
    if not found.bad:
        return _Checked(split, 0, found.statistics, digests)
    listing = describe_bad(found.bad)
    if bad_images == "stop":
        raise UserError(
            f"{len(found.bad)} of {len(split)} {name} images cannot be used:\n{listing}\n"
            "Mend or remove them, or leave them out with --bad-images skip"
        )
    say(f"skipping {counted(len(found.bad), f'bad {name} image')}:\n{listing}")
    bad_paths = {error.path for error in found.bad}
    keep = np.array([i for i in range(len(split)) if split.path(i) not in bad_paths], np.int64)
    if not len(keep):
        raise UserError(f"{split.root}: not one of the {len(split)} {name} images can be read")
    return _Checked(split.subset(keep), len(found.bad), found.statistics, digests[keep])


def reading_notes(found: Scan, reading: ImageReading) -> list[str]:
    """Return what the user should know of EXIF orientations and of the range of 16-bit pixels, a line each."""
    lines = []
    if found.oriented:
        how = {
            "apply": "turned upright (--orientation ignore takes the pixels as they are stored)",
            "ignore": "taken as the pixels are stored (--orientation apply turns them upright)",
        }[reading.orientation]
        have = "has" if found.oriented == 1 else "have"
        lines.append(f"{found.oriented} of {counted(found.checked, 'image')} {have} an EXIF orientation: {how}")
    if found.deep:
        low, high = reading.pixel_range
        line = f"the brightest pixel of {counted(found.deep, '16-bit image')} is {found.brightest} of {FULL_RANGE[1]}"
        enough = (1 << max(8, found.brightest.bit_length())) - 1
        if found.brightest > high:
            line += f", beyond --pixel-range {low} {high}: what is brighter than {high} becomes white"
        elif enough < high:
            line += f": less than half of {low} to {high} is used; --pixel-range 0 {enough} makes {enough} white"
        lines.append(line)
    return lines


def describe_bad(bad: tuple[BadImage, ...] | list[BadImage]) -> str:
    """The first few, a line each."""
    lines = [f"  {error}" for error in bad[:LISTED_BAD_IMAGES]]
    if len(bad) > LISTED_BAD_IMAGES:
        lines.append(f"  ... and {len(bad) - LISTED_BAD_IMAGES} more")
    return "\n".join(lines)


def choose_crop(split: Split) -> int:
    """The paper's 224, or the multiple of 32 that fits images which are smaller than that (median smallest side)."""
    sides = []
    for index in np.linspace(0, len(split) - 1, min(len(split), SIDES_SAMPLED)).astype(int):
        try:
            sides.append(min(decode(split.path(int(index))).size))
        except BadImage:
            continue  # reported by the check that follows
    median = float(np.median(sides)) if sides else PAPER_CROP_PX
    # images somewhat smaller than 224 are enlarged; of half that size they would be mostly blur
    if median >= 0.7 * PAPER_CROP_PX:
        return PAPER_CROP_PX
    return max(TOTAL_STRIDE_PX, int(median) // TOTAL_STRIDE_PX * TOTAL_STRIDE_PX)
