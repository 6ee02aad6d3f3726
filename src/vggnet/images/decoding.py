"""One `decode()` for every image file: RGB, 8 bits, fully loaded, or a `BadImage` that says why not.

The content decides, not the name. Only raster formats are opened (Pillow would hand an EPS to Ghostscript). Pixels stay
in the order of the file: no EXIF rotation, because ILSVRC's labels and boxes refer to raw pixels. Pillow saturates
16-bit pixels silently, so those are scaled here; its bomb check is neither an `OSError` nor always an error.
"""

import os
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from vggnet.errors import BadImage

MAX_PIXELS = 178_956_970  # Pillow's own limit: half a gigabyte of RGB
MAX_ASPECT = 100  # longer : shorter side; at S = 256 such an image is already 25,600 pixels long
IMAGE_EXTENSIONS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib"),
        *(".webp", ".tif", ".tiff", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000")
_MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff"),
    *(b"P%d" % kind for kind in range(1, 7)),
)


def decode(path: str) -> Image.Image:
    """The image at `path`: mode RGB, 8 bits, loaded; the first frame of an animation, transparency laid on white.

    Raises BadImage where the file is missing, empty, no image, damaged, too large or too long.
    """
    return decode_with_note(path)[0]


def as_rgb(image: Image.Image) -> Image.Image:
    """An image that is open already, as `decode` would have read it from its file."""
    try:
        _check_size("the image", *image.size)
        return _to_rgb("the image", image)[0]
    except BadImage:
        raise
    except Exception as error:  # as above: Pillow reads a file when its pixels are asked for
        raise BadImage("the image", f"damaged or truncated ({error})") from None


def decode_with_note(path: str) -> tuple[Image.Image, str | None]:
    """`decode`, and what it changed on the way to RGB ("CMYK converted to RGB"); None for a plain RGB image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF, large images: what matters is judged below
            with Image.open(path, formats=_FORMATS) as image:
                _check_size(path, *image.size)
                return _to_rgb(path, image)
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(path, f"more than {MAX_PIXELS:,} pixels: reduce it or take it out") from None
    except UnidentifiedImageError:
        raise BadImage(path, _why_unidentified(path)) from None
    except FileNotFoundError:
        raise BadImage(path, "the file is missing") from None
    except (PermissionError, IsADirectoryError) as error:
        raise BadImage(path, f"cannot be read: {error.strerror}") from None
    except MemoryError:
        raise BadImage(path, "does not fit in memory: reduce it or take it out") from None
    except Exception as error:  # the formats' decoders raise whatever their damaged data trips over
        raise BadImage(path, f"damaged or truncated ({error}): replace it or take it out") from None


def header_problem(path: str) -> str | None:
    """A reason why the file cannot be an image, from its first bytes only; None where nothing speaks against it."""
    try:
        with open(path, "rb", buffering=0) as file:
            start = file.read(12)
    except FileNotFoundError:
        return "the file is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not start:
        return "0 bytes: the file is empty"
    return None if start.startswith(_MAGIC) else "not an image of a known format"


def _why_unidentified(path: str) -> str:
    if os.path.getsize(path) == 0:
        return "0 bytes: the file is empty"
    if header_problem(path) is None:
        return "damaged: it begins like an image, but its header cannot be read"
    return "not an image of a known format, whatever its name says"


def _check_size(path: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage(path, f"{width}x{height} is more than {MAX_PIXELS:,} pixels: reduce it or take it out")
    if max(width, height) > MAX_ASPECT * min(width, height):
        reason = f"{width}x{height} is too long to rescale (sides may differ by {MAX_ASPECT} times at most)"
        raise BadImage(path, f"{reason}: crop it or take it out")


def _to_rgb(path: str, image: Image.Image) -> tuple[Image.Image, str | None]:
    """The first frame as RGB, and what was done to it."""
    mode = image.mode
    transparent = "transparency" in image.info or mode in ("LA", "La", "PA", "RGBA", "RGBa")
    note = None
    if mode.startswith("I"):
        rgb, note = _from_16_bits(path, image).convert("RGB"), "16-bit gray scaled to 8 bits"
    elif mode == "F":
        raise BadImage(path, "floating-point pixels have no agreed range: save it with 8 bits a channel")
    elif transparent:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, (255, 255, 255))
        rgb.paste(rgba, mask=rgba.getchannel("A"))
        note = "transparency laid on white"
    elif mode == "RGB":
        image.load()
        rgb = image.copy() if type(image) is Image.Image else _detached(image)
    else:
        rgb = image.convert("RGB")
        names = {"L": "gray", "1": "black and white", "P": "palette"}
        note = f"{names.get(mode, mode)} converted to RGB"
    if getattr(image, "is_animated", False) and getattr(image, "format", "") != "MPO":
        note = "first frame of an animation" + (f", {note}" if note else "")
    return rgb, note


def _detached(image: Image.Image) -> Image.Image:
    """The loaded pixels without the file plugin around them (which holds the file and does not pickle)."""
    return image._new(image.im)  # shares the pixels; what Pillow's own operations use


def _from_16_bits(path: str, image: Image.Image) -> Image.Image:
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise BadImage(path, "32-bit pixels beyond 0..65535 have no agreed range: save it with 8 bits a channel")
    return Image.fromarray(((pixels + 128) // 257).astype(np.uint8))
