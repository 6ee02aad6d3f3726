"""Turn arrays over an image into pictures: overlays, windows drawn on an image, grids, data URIs.

The colours of `heat` are those of matplotlib's inferno (dark is low, light is high): its brightness rises all the way,
so that people with any colour vision, and black-and-white prints, keep the order.

Shapes: H x W pixels, n windows, N pictures.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

# inferno at 0, 1/8, ..., 1
_ANCHORS = (
    *((0, 0, 4), (32, 12, 74), (87, 16, 110), (138, 34, 106)),
    *((188, 55, 84), (228, 89, 50), (249, 140, 10), (246, 201, 50), (252, 255, 164)),
)
_OPACITY = 0.75  # of the colour of the value 1 on an image; a value of 0 leaves the image as it is
WINDOW_COLOUR = "#ffd23f"


def heat(values: np.ndarray) -> np.ndarray:
    """Return the colours uint8 (..., 3) of values (...,) from 0 to 1; values beyond are clipped."""
    places = np.linspace(0, 1, len(_ANCHORS))
    anchors = np.array(_ANCHORS, np.float64)
    channels = [np.interp(values, places, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def overlay(image: Image.Image, values: np.ndarray) -> Image.Image:
    """Return the image in gray with the colours of values (H, W), 0 to 1, laid over it, the higher the denser."""
    gray = np.asarray(image.convert("L"), np.float64)[..., None]
    strength = _OPACITY * np.clip(values, 0, 1)[..., None]
    return Image.fromarray((gray * (1 - strength) + heat(values) * strength).round().astype(np.uint8))


def saliency_picture(values: np.ndarray) -> Image.Image:
    """Return saliency (H, W) as a picture; the brightest hundredth of the pixels is clipped."""
    top = float(np.percentile(values, 99))
    return Image.fromarray(heat(values / top if top > 0 else np.zeros_like(values)))


def draw_windows(image: Image.Image, corners: Sequence[tuple[int, int]], side: int) -> Image.Image:
    """Return the image with the outlines of square windows of `side` pixels at (left, top); the last one is filled."""
    shown = image.convert("RGB")
    line = max(1, round(min(image.size) / 160))
    if corners:
        left, top = corners[-1]
        veil = Image.new("RGB", (side, side), WINDOW_COLOUR)
        shown.paste(Image.blend(shown.crop((left, top, left + side, top + side)), veil, 0.25), (left, top))
    pen = ImageDraw.Draw(shown)
    for left, top in corners:
        box = (left, top, left + side - 1, top + side - 1)
        pen.rectangle(box, outline="black", width=line + 1)
        pen.rectangle(box, outline=WINDOW_COLOUR, width=line)
    return shown


def grid(pictures: Sequence[Image.Image], columns: int, gap: int = 2) -> Image.Image:
    """Return N pictures of one size in rows of `columns`, on a white ground."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        sheet.paste(picture, (column * (width + gap), row * (height + gap)))
    return sheet


def filter_pictures(weights: np.ndarray) -> list[Image.Image]:
    """Return filters (n, 3, height, width) as pictures; middle gray is 0, and all have the scale of the largest."""
    largest = float(np.abs(weights).max()) or 1.0
    colours = np.clip(127.5 + 127.5 * weights / largest, 0, 255).round().astype(np.uint8)
    return [Image.fromarray(np.ascontiguousarray(colour.transpose(1, 2, 0))) for colour in colours]


def fitted(image: Image.Image, longest_px: int) -> Image.Image:
    """Return the image in RGB with its longer side at most `longest_px` pixels."""
    factor = longest_px / max(image.size)
    if factor >= 1:
        return image.convert("RGB")
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def data_uri(image: Image.Image, *, exact: bool = False) -> str:
    """Return the image as a data URI: a JPEG, or with `exact` a PNG, which loses nothing."""
    stream = io.BytesIO()
    kind = "png" if exact else "jpeg"
    image.save(stream, kind, **({"optimize": True} if exact else {"quality": 82, "optimize": True}))
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
