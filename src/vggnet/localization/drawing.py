"""Draw boxes on their image.

The legend stands below the picture, so that no text covers the image.
"""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from vggnet.localization.predictions import LabelledBox

COLOURS = ("#e6194b", "#0082c8", "#3cb44b", "#f58231", "#911eb4")  # told apart by most people; by rank, the best first
SHOWN_SIDE_PX = 640  # smaller images are enlarged to it, so that lines and letters have room
_LINE_PX = 19  # height of a line of the legend
_FONT_PX = 14


def draw(image: Image.Image, boxes: Sequence[LabelledBox]) -> Image.Image:
    """Return the image with its boxes, the best one boldest, above a legend with each box's colour and class."""
    factor = max(1, SHOWN_SIDE_PX // max(image.size))
    width, height = image.width * factor, image.height * factor
    font = ImageFont.load_default(_FONT_PX)
    canvas = Image.new("RGB", (max(width, 320), height + _LINE_PX * len(boxes) + 8), "white")
    canvas.paste(image.resize((width, height), Image.Resampling.BICUBIC))
    pen = ImageDraw.Draw(canvas)
    for rank in reversed(range(len(boxes))):  # the best one on top
        box = boxes[rank]
        colour, thick = COLOURS[rank % len(COLOURS)], 5 if rank == 0 else 2
        corners = (box.xmin * factor, box.ymin * factor, (box.xmax + 1) * factor - 1, (box.ymax + 1) * factor - 1)
        pen.rectangle(corners, outline="white", width=thick + 2)  # a light rim, so that dark pictures show the line
        pen.rectangle(corners, outline=colour, width=thick)
    for rank, box in enumerate(boxes):
        top = height + 4 + rank * _LINE_PX
        pen.rectangle((6, top + 3, 20, top + 15), fill=COLOURS[rank % len(COLOURS)])
        title = _shortened(f"{box.title.split(',')[0]}  {100 * box.posterior:.1f} %", canvas.width - 34, font)
        pen.text((28, top), title, fill="black", font=font)
    return canvas


def _shortened(text: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return `text`, cut so that it is at most `width` pixels wide."""
    while font.getlength(text) > width and len(text) > 4:
        text = text[:-4] + "..."
    return text
