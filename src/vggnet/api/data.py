"""Check the images of a data set and pack them into a few files, from Python: the command `vggnet data`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vggnet.api.arguments import like_command, options_of
from vggnet.images.checking import DataCheck, check_with
from vggnet.images.packing import Packed, pack_with
from vggnet.options.choices import BadImages
from vggnet.options.data import DataCheckOptions, DataPackOptions

_TEXTS = {"on_progress": "Called with the number of images done, and of all images. (default: nothing)"}


@like_command(DataCheckOptions, **_TEXTS, out="A folder for report.json and leave-out.csv. (default: not written)")
def check_data(
    data: str | Path,
    *,
    out: str | Path | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], Any] | None = None,
) -> DataCheck:
    """Decode every image; report unreadable files, copies, contradictory classes, and changes since the last check.

    Returns:
        `findings` (kind, part, image, reason), `left_out` those of images that should not be used; `lines()` in words,
        `to_dict()` as JSON values.

    Raises:
        UserError: for a data set that cannot be opened.

    Example:
        >>> found = vggnet.check_data("photos", out="runs/photos-check")
        >>> found.images["train"] > 0, found.left_out
        (True, ())
    """
    return check_with(options_of(DataCheckOptions, locals()), on_progress)


@like_command(DataPackOptions, **_TEXTS)
def pack_data(
    data: str | Path,
    *,
    out: str | Path,
    resize: int | None = None,
    quality: int = 95,
    shard_mb: int = 500,
    bad_images: BadImages = "stop",
    workers: int | None = None,
    on_progress: Callable[[int, int], Any] | None = None,
) -> Packed:
    """Copy a data set into a new folder of a few tar files and an index. This folder can be given as `data`.

    Returns:
        The folder, and how many images and bytes it has.

    Raises:
        UserError: for images that cannot be read, and a folder that exists.

    Example:
        >>> packed = vggnet.pack_data("photos", out="photos-packed", resize=40)
        >>> packed.shards
        2
    """
    return pack_with(options_of(DataPackOptions, locals()), on_progress)
