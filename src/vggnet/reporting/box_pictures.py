"""Draw boxes on an image: true ones solid, predicted ones dashed, those of many windows as thin lines."""

import itertools

import numpy as np
from PIL import Image, ImageDraw

from vggnet.reporting.style import SERIES

SHOWN_PX = 200
TRUE, PREDICTED = SERIES[2], SERIES[1]
THIN_PX = 2


def draw_boxes(
    image: Image.Image,
    true: np.ndarray,
    predicted: np.ndarray,
    faint: np.ndarray | None = None,
    opacity: float | np.ndarray = 1.0,
) -> Image.Image:
    """Return an image, enlarged to about SHOWN_PX, with its boxes: edges (..., 4) on the image.

    True boxes are solid, predicted ones dashed. `faint` ones are thin lines below these, each with its `opacity`.
    """
    factor = max(1.0, SHOWN_PX / max(image.size))
    shown = image.convert("RGB").resize((round(image.width * factor), round(image.height * factor)))
    for box, strength in [] if faint is None else zip(faint, np.broadcast_to(opacity, len(faint)), strict=True):
        veil = Image.new("L", shown.size)
        ImageDraw.Draw(veil).rectangle(
            [float(edge) * factor for edge in box], outline=round(255 * float(strength)), width=THIN_PX
        )
        shown.paste(PREDICTED, mask=veil)
    pen = ImageDraw.Draw(shown)
    thick = max(2, round(max(shown.size) / 100))
    for box in true:
        pen.rectangle([float(edge) * factor for edge in box], outline="white", width=thick + 2)
        pen.rectangle([float(edge) * factor for edge in box], outline=TRUE, width=thick)
    for box in predicted:
        left, top, right, bottom = (float(edge) * factor for edge in box)
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        for start, end in itertools.pairwise(corners):
            _dashed(pen, np.array(start), np.array(end), thick)
    return shown


def _dashed(pen: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, thick: int) -> None:
    length = float(np.hypot(*(end - start)))
    step = 5 * thick
    for place in np.arange(0, length, 2 * step):
        ends = [start + (end - start) * min(at, length) / max(length, 1e-9) for at in (place, place + step)]
        pen.line([tuple(map(float, each)) for each in ends], fill="white", width=thick + 2)
        pen.line([tuple(map(float, each)) for each in ends], fill=PREDICTED, width=thick)
