"""The user's images made ready for a training: opened, checked, held out, their colours measured, a crop chosen."""

from dataclasses import dataclass

import numpy as np

from vggnet.console import counted, progress, say
from vggnet.contract import FULL_RANGE, ImageReading
from vggnet.errors import BadImage, UserError
from vggnet.images.cache import default_cache
from vggnet.images.color import ColorStatistics
from vggnet.images.datasets import open_data
from vggnet.images.decoding import decode
from vggnet.images.scanning import Scan, scan
from vggnet.images.splits import ImageData, Split, hold_out
from vggnet.paper.configurations import PAPER_CROP_PX, TOTAL_STRIDE_PX

LISTED_BAD_IMAGES = 10
SIDES_SAMPLED = 50


@dataclass(frozen=True)
class Pictures:
    """What one training sees: `train` is learnt from, `judge` steers the schedule, `val` is only reported."""

    data: ImageData
    train: Split
    judge: Split
    val: Split | None
    judged_on: str  # "450 images held out of train" or "val"
    statistics: ColorStatistics
    skipped: int  # bad images left out


def prepare_pictures(
    data: str,
    *,
    holdout: float,
    seed: int,
    bad_images: str,
    workers: int,
    reading: ImageReading,
    opened: ImageData | None = None,
) -> Pictures:
    """Open `data`, check every image before anything is trained, and hold out the part that judges.

    `reading` says how image files are decoded. `opened` is the data where the caller has opened it already.
    """
    if not 0 <= holdout < 1:
        raise UserError(f"--holdout {holdout}: a part of the training images, at least 0 and below 1; 0 judges on val")
    if opened is None:
        opened = open_data(data, seed=seed)
    for note in opened.notes:
        say(f"note: {note}")
    if opened.train is None or not len(opened.train):
        raise UserError(f"{data}: there are no training images; put them into train/CLASS/ folders")
    train, statistics, skipped = _checked(opened.train.read_as(reading), "train", bad_images, workers)
    val = opened.val
    if val is not None:
        val, _, skipped_val = _checked(val.read_as(reading), "val", bad_images, workers)
        skipped += skipped_val
    if holdout > 0:
        part, judge = hold_out(train, holdout, seed)
        return Pictures(
            opened, part, judge, val, f"{counted(len(judge), 'image')} held out of train", statistics, skipped
        )
    if val is None or val.labels is None:
        raise UserError(f"{data}: --holdout 0 judges on val, and there is no labelled val; leave --holdout at 0.1")
    return Pictures(opened, train, val, val, "val (--holdout 0)", statistics, skipped)


def _checked(split: Split, name: str, bad_images: str, workers: int) -> tuple[Split, ColorStatistics, int]:
    """Decode every image once; the split without the bad ones where they may be skipped."""
    with progress(f"checking {counted(len(split), f'{name} image')}") as tick:
        found = scan(split, workers=workers, cache=default_cache(), on_progress=tick)
    for conversion, count in found.conversions.items():
        say(f"note: {name}: {counted(count, 'image')}: {conversion}")
    for line in reading_notes(found, split.reading):
        say(f"note: {name}: {line}")
    if not found.bad:
        return split, found.statistics, 0
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
    return split.subset(keep), found.statistics, len(found.bad)


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
