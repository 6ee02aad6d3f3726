"""Boxes drawn on their image, with class and score.

The legend stands below the picture, so that letters hide nothing.
"""

from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#e6194b", "#0082c8", "#3cb44b", "#f58231", "#911eb4")  # told apart by most people, best guess first
SHOWN_SIDE_PX = 640  # smaller images are enlarged to it, so that lines and letters have room
_LINE = 19  # pixels of a line of the legend
_FONT = 14


@dataclass(frozen=True)
class Guess:
    """One (class, box) pair: posterior of the class, inclusive pixel corners on the image."""

    name: str
    title: str
    posterior: float
    xmin: int
    ymin: int
    xmax: int
    ymax: int


def draw(image: Image.Image, guesses: list[Guess]) -> Image.Image:
    """The image with its boxes, the best one boldest, and below it a line for each: colour, class, posterior."""
    factor = max(1, SHOWN_SIDE_PX // max(image.size))
    width, height = image.width * factor, image.height * factor
    font = ImageFont.load_default(_FONT)
    canvas = Image.new("RGB", (max(width, 320), height + _LINE * len(guesses) + 8), "white")
    canvas.paste(image.resize((width, height), Image.Resampling.BICUBIC))
    pen = ImageDraw.Draw(canvas)
    for rank in reversed(range(len(guesses))):  # the best one on top
        guess = guesses[rank]
        colour, thick = COLOURS[rank % len(COLOURS)], 5 if rank == 0 else 2
        corners = (
            guess.xmin * factor,
            guess.ymin * factor,
            (guess.xmax + 1) * factor - 1,
            (guess.ymax + 1) * factor - 1,
        )
        pen.rectangle(corners, outline="white", width=thick + 2)  # a light rim, so that dark pictures show the line
        pen.rectangle(corners, outline=colour, width=thick)
    for rank, guess in enumerate(guesses):
        top = height + 4 + rank * _LINE
        pen.rectangle((6, top + 3, 20, top + 15), fill=COLOURS[rank % len(COLOURS)])
        title = _shortened(f"{guess.title.split(',')[0]}  {100 * guess.posterior:.1f} %", canvas.width - 34, font)
        pen.text((28, top), title, fill="black", font=font)
    return canvas


def _shortened(text: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    while font.getlength(text) > width and len(text) > 4:
        text = text[:-4] + "..."
    return text
