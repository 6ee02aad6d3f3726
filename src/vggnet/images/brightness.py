"""Say where the range of 16-bit pixels does not fit the images: what is read is then nearly black, or cut off."""

import warnings
from collections.abc import Iterable

import numpy as np

from vggnet.console import counted
from vggnet.data.image_files import File, open_image
from vggnet.data.splits import Split
from vggnet.description import FULL_RANGE, ImageReading, PixelRange
from vggnet.errors import BadImage
from vggnet.images.decoding import has_16_bits, read_image

_SAMPLE = 64  # images of a split whose headers are read


def describe_range(images: int, brightest: int, pixel_range: PixelRange, advice: str) -> tuple[str, bool]:
    """Return a line about `images` 16-bit images whose brightest pixel is `brightest`, and whether the range fits.

    The range fits if nothing is cut off and at least half of it is used. `advice` follows on the line where it does
    not fit; {enough} in it is the largest value of the fewest bits that hold the brightest pixel.
    """
    low, high = pixel_range
    line = f"the brightest pixel of {counted(images, '16-bit image')} is {brightest} of {FULL_RANGE[1]}"
    enough = (1 << max(8, brightest.bit_length())) - 1
    if brightest > high:
        return f"{line}, beyond `pixel_range` {low} {high}: what is brighter than {high} becomes white", False
    if enough < high:
        return f"{line}: less than half of {low} to {high} is used; {advice.format(enough=enough)}", False
    return line, True


def range_note(split: Split, reading: ImageReading, who: str) -> str | None:
    """Return a note where the range of pixels of a net, named by `who`, does not fit 16-bit images of `split`.

    Looks at up to 64 images, evenly spread. None where they have 8 bits, or the range fits.
    """
    count = brightest = 0
    for index in np.unique(np.linspace(0, len(split) - 1, min(_SAMPLE, len(split))).astype(int)).tolist():
        found = _brightest(split.file(index), reading)
        count, brightest = count + (found is not None), max(brightest, found or 0)
    if not count:
        return None
    advice = f"if {who} was trained on brighter images, scale these by 255 / {{enough}} and save them with 8 bits"
    line, fits = describe_range(count, brightest, reading.pixel_range, advice)
    return None if fits else f"{line[0].upper()}{line[1:]}."


def range_notes(split: Split, nets: Iterable[tuple[str, ImageReading]]) -> tuple[str, ...]:
    """Return `range_note` of each way in which the nets (name, reading) read images."""
    names: dict[ImageReading, list[str]] = {}
    for name, reading in nets:
        if name not in names.setdefault(reading, []):
            names[reading].append(name)
    notes = (range_note(split, reading, " and ".join(those)) for reading, those in names.items())
    return tuple(note for note in notes if note is not None)


def _brightest(path: File, reading: ImageReading) -> int | None:
    """Return the brightest value of a 16-bit image; None for 8 bits, and for what cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(path) as image:
                if not has_16_bits(image):
                    return None
        return read_image(path, reading).brightest
    except BadImage:
        return None  # scoring names it
    except Exception:  # whatever Pillow raises for damaged headers: scoring names the file
        return None
