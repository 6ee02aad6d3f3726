"""Take an image from the body of a request into a temporary file, and decode it within the limits.

Notable: the body is the image and nothing else. There is no file name, no form and no URL that could lead anywhere.
"""

import asyncio
import os
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from PIL import Image
from starlette.requests import ClientDisconnect, Request

from vggnet.data.image_files import open_image
from vggnet.description import ImageReading
from vggnet.errors import BadImage
from vggnet.images.decoding import decode
from vggnet.serving.limits import Limits
from vggnet.serving.refusals import Refused

DRAINED_BYTES = 100_000_000  # of a refused body that are read and dropped, so that the client reads the answer


@asynccontextmanager
async def received(request: Request, folder: Path, limits: Limits) -> AsyncIterator[Path]:
    """Yield a file with the request's body; the file is removed at the end of the block.

    Raises Refused for a body that is empty (400), larger than the limit (413), or does not arrive in time (408).
    """
    handle, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                async with asyncio.timeout(limits.seconds):
                    size = await _copy(request, file.write, limits.bytes)
            except TimeoutError:
                raise Refused(408, f"the image did not arrive within {limits.seconds:g} s: send it again") from None
        if not size:
            raise Refused(400, "the body is empty: send the bytes of an image file as the request's body")
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


async def _copy(request: Request, write: Callable[[bytes], object], limit: int) -> int:
    """Write the body and return its length. Raises Refused (413) beyond `limit` bytes."""
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            await drain(request, DRAINED_BYTES)
            raise Refused(413, f"the file is larger than {limit:,} bytes: reduce the image")
        write(part)
    return size


async def drain(request: Request, limit: int = DRAINED_BYTES) -> None:
    """Read what is left of the body, at most `limit` bytes, and drop it."""
    with suppress(ClientDisconnect, RuntimeError):  # RuntimeError: it is read to its end
        async for part in request.stream():
            limit -= len(part)
            if limit <= 0:
                return


def read_upload(file: Path, reading: ImageReading, limits: Limits) -> Image.Image:
    """Return the image, RGB, as a net with this reading sees it.

    Raises BadImage with "the image" in the place of the file, and Refused (413) for too many pixels.
    """
    try:
        _check_pixels(file, limits.pixels)
        return decode(str(file), reading, max_seconds=limits.seconds)
    except BadImage as error:
        raise BadImage("the image", error.reason) from None


def _check_pixels(file: Path, limit: int) -> None:
    """Raise Refused (413) for an image of more than `limit` pixels by its header.

    A header that cannot be read is no matter here: `decode` says what is wrong with it.
    """
    width = height = 0
    with suppress(Exception), warnings.catch_warnings(action="ignore"), open_image(str(file)) as image:
        width, height = image.size
    if width * height > limit:
        raise Refused(413, f"the image has {width}x{height} pixels, more than {limit:,}: reduce it")
