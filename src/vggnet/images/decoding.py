"""Decode any image file to RGB with 8 bits, turned by its EXIF orientation if asked, or raise `BadImage`.

A file's content decides its format, not its name. Only raster formats are opened (Pillow would run Ghostscript for an
EPS). An `ImageReading` says whether the EXIF orientation is applied, and which range of 16-bit pixels becomes 0..255.
A training chooses it (--orientation, --pixel-range), its net stores it (`description.InputPolicy`), and whatever shows
images to that net reads them so (`data.splits.Split.read_as`).

Pillow's behaviour that matters here: it always turns TIFF files upright; it saturates 16-bit gray and drops the lower
bytes of 16-bit colour, so both are scaled here; its DecompressionBombError is no OSError. `draft` lets libjpeg reduce a
JPEG while it decodes, and does nothing to other formats.
"""

import io
import warnings
from dataclasses import dataclass, replace

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from vggnet.data.image_files import FORMATS, File, TooSlow, open_image, why_unidentified
from vggnet.description import AS_STORED, FULL_RANGE, ImageReading, PixelRange
from vggnet.errors import BadImage
from vggnet.images.geometry import Reduction

MAX_PIXELS = 178_956_970  # Pillow's own limit: half a gigabyte of RGB
MAX_ASPECT = 100  # longer : shorter side; at S = 256 such an image is already 25,600 pixels long
UPRIGHT = 1  # EXIF's orientation of pixels that are stored as they are seen
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = 5  # from here on width and height are exchanged
_LAST_COMES_LEFT, _LAST_COMES_TOP = (2, 3, 6, 7), (3, 4, 7, 8)  # the last column or row that is stored


@dataclass(frozen=True)
class Decoded:
    """An image in mode RGB, with facts about its file.

    `note` is the conversion that was made ("CMYK converted to RGB"); None for a plain RGB image.
    `orientation` is EXIF's, 1 to 8, whether it was applied or not. `brightest` is the largest value of 16-bit pixels;
    None where they have 8 bits. `reduction` says how the decoder reduced the image; None for a whole image.
    """

    image: Image.Image
    note: str | None = None
    orientation: int = UPRIGHT
    brightest: int | None = None
    reduction: Reduction | None = None


def decode(file: File, reading: ImageReading = AS_STORED, max_seconds: float | None = None) -> Image.Image:
    """Return the image in `file`: mode RGB, 8 bits, loaded; an animation's first frame, transparency laid on white.

    Raises BadImage where the file is missing, empty, no image, damaged, too large or too long, or where decoding takes
    more than `max_seconds` of computing time (None: `image_files.MAX_SECONDS`).
    """
    return read_image(file, reading, max_seconds).image


def as_rgb(image: Image.Image, reading: ImageReading = AS_STORED) -> Image.Image:
    """Convert an open image as `decode` converts a file. Raises BadImage."""
    try:
        _check_size("the image", *image.size)
        return _to_rgb("the image", image, reading).image
    except BadImage:
        raise
    except Exception as error:  # Pillow decodes on first access to the pixels, and raises exceptions of any kind
        raise BadImage("the image", f"damaged or truncated ({error})") from None


def read_image(
    file: File,
    reading: ImageReading = AS_STORED,
    max_seconds: float | None = None,
    *,
    least_side: int | None = None,
) -> Decoded:
    """Decode the image in `file` and return facts about its file. Raises BadImage, as `decode` does.

    With `least_side`, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size: the smallest whose smallest side is not below
    `least_side` pixels. A JPEG with a smallest side below twice that, and any other format, is decoded whole.
    """
    path = str(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF, large images: checked below
            with open_image(file, max_seconds) as image:
                size = image.size
                _check_size(path, *size)
                factor = 1 if least_side is None else _reduce(image, least_side)
                decoded = _to_rgb(path, image, reading)
                if factor == 1:
                    return decoded
                turned = decoded.orientation if reading.orientation == "apply" else UPRIGHT
                return replace(decoded, reduction=_reduction(size, factor, turned))
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(path, f"more than {MAX_PIXELS:,} pixels: reduce it or take it out") from None
    except UnidentifiedImageError:
        raise BadImage(path, why_unidentified(file)) from None
    except FileNotFoundError:
        raise BadImage(path, "the file is missing") from None
    except PermissionError as error:
        raise BadImage(path, f"cannot be read: {error.strerror}") from None
    except TooSlow as error:
        raise BadImage(path, f"{error}: damaged, or made to be slow; replace it or take it out") from None
    except MemoryError:
        raise BadImage(path, "does not fit in memory: reduce it or take it out") from None
    except Exception as error:  # decoders raise exceptions of any kind for damaged data
        raise BadImage(path, f"damaged or truncated ({error}): replace it or take it out") from None


def _reduce(image: Image.Image, least_side: int) -> int:
    """Let the decoder reduce an open JPEG as far as `least_side` allows; return the factor, 1 for other formats."""
    width = image.width
    drafted = image.draft(None, (least_side, least_side))
    if drafted is None:
        return 1
    (_, (_, _, reduced_width, _)) = drafted
    return round(width / reduced_width)


def _reduction(size: tuple[int, int], factor: int, orientation: int) -> Reduction:
    """Return the reduction of an image that is stored with `size`, and that was turned by `orientation`."""
    width, height = size[::-1] if orientation >= _SIDEWAYS else size
    left, top = (-(-side // factor) - side / factor for side in (width, height))
    return Reduction(
        width,
        height,
        factor,
        left if orientation in _LAST_COMES_LEFT else 0.0,
        top if orientation in _LAST_COMES_TOP else 0.0,
    )


def _check_size(path: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage(path, f"{width}x{height} is more than {MAX_PIXELS:,} pixels: reduce it or take it out")
    if max(width, height) > MAX_ASPECT * min(width, height):
        reason = f"{width}x{height} is too long to rescale (sides may differ by {MAX_ASPECT} times at most)"
        raise BadImage(path, f"{reason}: crop it or take it out")


def upright_size(image: Image.Image, reading: ImageReading) -> tuple[int, int]:
    """Return width and height of an open image as `decode` returns it, without loading its pixels."""
    width, height = image.size
    turned = reading.orientation == "apply" and image.format != "TIFF" and orientation_of(image) >= _SIDEWAYS
    return (height, width) if turned else (width, height)


def contradiction(stated: tuple[int, int], size: tuple[int, int], reading: ImageReading) -> str:
    """Return the message for boxes whose annotation states another image size (width, height) than the image has."""
    (wide, high), (width, height) = stated, size
    reason = f"its annotation is of an image of {wide}x{high}, and it is read as {width}x{height}"
    if stated == size[::-1]:
        reason += f" (orientation {reading.orientation}: check whether its EXIF orientation turns it)"
    return reason


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, of an image that is open; 1 where it has none, or one that is damaged."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
        return found if found in _TURNS else UPRIGHT
    except Exception:  # Pillow's parser raises exceptions of any kind for damaged EXIF
        return UPRIGHT


def orientation_in(content: bytes | memoryview) -> int:
    """Return the EXIF orientation of an image file's content; 1 where it has none, or is no image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return orientation_of(image)
    except Exception:  # not an image, or damaged: decoding it raises the reason
        return UPRIGHT


def _to_rgb(path: str, image: Image.Image, reading: ImageReading) -> Decoded:
    """Convert the first frame to RGB."""
    image_format, animated = image.format, getattr(image, "is_animated", False)
    deep = _is_16_bit_color(image)
    rgb, note, brightest = _deep_color(path, image, reading.pixel_range) if deep else _shallow(path, image, reading)
    orientation = orientation_of(image)  # after loading, which turns a TIFF upright
    if animated and image_format != "MPO":
        note = "first frame of an animation" + (f", {note}" if note else "")
    if reading.orientation == "apply" and orientation != UPRIGHT:
        rgb = rgb.transpose(_TURNS[orientation])
    return Decoded(rgb, note, orientation, brightest)


def _shallow(path: str, image: Image.Image, reading: ImageReading) -> tuple[Image.Image, str | None, int | None]:
    """Return RGB, the note and the brightest 16-bit pixel of an image that Pillow reads without loss."""
    mode = image.mode
    transparent = "transparency" in image.info or mode in ("LA", "La", "PA", "RGBA", "RGBa")
    if mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > FULL_RANGE[1]:
            raise BadImage(path, "32-bit pixels beyond 0..65535 have no agreed range: save it with 8 bits a channel")
        gray = Image.fromarray(_to_8_bits(pixels, reading.pixel_range))
        return gray.convert("RGB"), _scaled("16-bit gray", reading.pixel_range), int(pixels.max())
    if mode == "F":
        raise BadImage(path, "floating-point pixels have no agreed range: save it with 8 bits a channel")
    if transparent:
        return _on_white(image), "transparency laid on white", None
    if mode == "RGB":
        image.load()
        return image.copy() if type(image) is Image.Image else _detached(image), None, None
    names = {"L": "gray", "1": "black and white", "P": "palette"}
    return image.convert("RGB"), f"{names.get(mode, mode)} converted to RGB", None


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    rgb = Image.new("RGB", image.size, (255, 255, 255))
    rgb.paste(rgba, mask=rgba.getchannel("A"))
    return rgb


def has_16_bits(image: Image.Image) -> bool:
    """Return whether an image that is open, and not loaded yet, has 16 bits a channel (32 in some files of gray)."""
    return image.mode.startswith("I") or _is_16_bit_color(image)


def _is_16_bit_color(image: Image.Image) -> bool:
    """Return whether Pillow would drop the lower bytes of the colours. The image must not be loaded yet."""
    tiles = getattr(image, "tile", None) or []
    return any(";16" in str(tile.args) for tile in tiles) and image.mode in ("RGB", "RGBA")


def _deep_color(path: str, image: Image.Image, pixel_range: PixelRange) -> tuple[Image.Image, str | None, int | None]:
    """Return RGB, the note and the brightest value of an image with 16-bit colours.

    Pillow has no mode for them. It unpacks the upper or the lower bytes, so a PNG file is decoded twice.
    """
    raw = str(image.tile[0].args)  # type: ignore[attr-defined]
    if image.format != "PNG" or raw not in ("RGB;16B", "RGBA;16B") or "transparency" in image.info:
        if pixel_range != FULL_RANGE:
            low, high = pixel_range
            raise BadImage(path, f"a pixel range of {low} {high} needs all 16 bits of a colour: save it as a PNG (RGB)")
        rgb, note, _ = _shallow(path, image, AS_STORED)
        return rgb, "16-bit colour cut to its upper 8 bits" + (f", {note}" if note else ""), None
    with Image.open(io.BytesIO(_content(image)), formats=["PNG"]) as again:
        again.tile = [tile._replace(args=raw.replace("16B", "16L")) for tile in again.tile]
        lower = np.asarray(again).astype(np.int64)
    values = (np.asarray(image).astype(np.int64) << 8) + lower
    colors = _to_8_bits(values[..., :3], pixel_range)
    note = _scaled("16-bit colour", pixel_range)
    brightest = int(values[..., :3].max())
    if image.mode == "RGB":
        return Image.fromarray(colors), note, brightest
    alpha = _to_8_bits(values[..., 3:], FULL_RANGE)
    rgb = _on_white(Image.fromarray(np.concatenate([colors, alpha], -1)))
    return rgb, f"{note}, transparency laid on white", brightest


def _content(image: Image.Image) -> bytes:
    """Return the file content of an image that is not loaded yet."""
    file = image.fp  # type: ignore[attr-defined]
    place = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(place)
    return content


def _scaled(what: str, pixel_range: PixelRange) -> str:
    low, high = pixel_range
    return f"{what} scaled to 8 bits" if pixel_range == FULL_RANGE else f"{what}, {low} to {high} scaled to 8 bits"


def _to_8_bits(pixels: np.ndarray, pixel_range: PixelRange) -> np.ndarray:
    """Scale int64 pixels so that `pixel_range` becomes 0..255, uint8, rounded; clip values beyond it."""
    low, high = pixel_range
    span = high - low
    return ((2 * 255 * (np.clip(pixels, low, high) - low) + span) // (2 * span)).astype(np.uint8)


def _detached(image: Image.Image) -> Image.Image:
    """Return a plain image with the same pixels: a plugin's object holds the file and cannot be pickled."""
    return image._new(image.im)  # shares the pixels; what Pillow's own operations use
