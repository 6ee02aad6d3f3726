"""Draw `scenes`, a data set that needs no download: a handwritten digit on a photograph, with its box.

scikit-learn's 1,797 digits of 8 x 8 pixels, at random place, size, slant and colour, on windows of its two sample
photographs. No digit is in both splits, and the photographs' training windows (left) and validation windows (right)
do not overlap. A validation digit makes one image only, so that errors are independent and intervals honest.
The same seed writes the same bytes.
"""

import csv
from colorsys import hsv_to_rgb
from math import cos, exp, log, radians, sin
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from vggnet.errors import missing_package
from vggnet.randomness import numbered_generator

VERSION = 2  # counts changes of what is written: part of the cached folder's name
_COPIES = 4  # training images of each training digit
_VAL_FRACTION = 0.25
_TRAIN_WIDTH = 0.65  # of each photograph, from the left
_SHORT_SIDE_PX = (64, 96)
_LONGEST_RATIO = 1.4
_DIGIT_HEIGHT = (0.55, 0.9)  # of the short side
_MAX_ANGLE_DEG = 14.0
_MAX_SHEAR = 0.25
_INK_PX = 6  # a digit's pixel before it takes its final size
_VISIBLE = 0.5  # opacity from which ink counts for the box
_DUSK = (0.35, 0.75)  # the photographs' brightness, so that light ink stands out
_RIM_PX = 1.6  # how far the shadow around the ink reaches (deviation of its blur)
_RIM_DARKNESS = 0.85  # of the shadow where it is deepest


def write_scenes(folder: Path, seed: int = 0) -> None:
    """Write `train/0..9`, `val/0..9` (JPEG, quality 90) and `boxes.csv` (image, class, inclusive pixel corners)."""
    try:
        from sklearn.datasets import load_digits, load_sample_images
    except ImportError as error:
        raise missing_package("the data set scenes", "scikit-learn", "scenes") from error
    digits = load_digits()
    photographs = load_sample_images().images
    in_val = _validation_digits(digits.target, seed)
    rows = []
    for number, (ink, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        part, copies = ("val", 1) if in_val[number] else ("train", _COPIES)
        for copy in range(copies):
            generator = numbered_generator(seed, number, copy)
            scene, box = _scene(ink / 16.0, photographs, part, generator)
            name = f"{part}/{label}/{number:04d}-{copy}.jpg"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            scene.save(folder / name, quality=90)
            rows.append((name, label, *box))
    with (folder / "boxes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("image", "class", "xmin", "ymin", "xmax", "ymax"), *rows])


def _validation_digits(labels: np.ndarray, seed: int) -> np.ndarray:
    """Choose a quarter of each class's digits for validation: bool (digits,)."""
    chosen = np.zeros(len(labels), bool)
    generator = numbered_generator(seed, len(labels))
    for label in range(10):
        places = np.flatnonzero(labels == label)
        chosen[generator.permutation(places)[: round(_VAL_FRACTION * len(places))]] = True
    return chosen


Box = tuple[int, int, int, int]


def _scene(
    ink: np.ndarray, photographs: list[np.ndarray], part: str, generator: np.random.Generator
) -> tuple[Image.Image, Box]:
    """Draw one digit on one window; return the image and the box of its visible ink."""
    background = _window(photographs[generator.integers(len(photographs))], part, generator)
    height, width = background.shape[:2]
    opacity = _opacity(ink, min(width, height), generator)
    rows, columns = opacity.shape
    # Within the middle square: crops of a long image see the digit, most of the time.
    square = min(width, height)
    top = (height - square) // 2 + int(generator.integers(square - rows + 1))
    left = (width - square) // 2 + int(generator.integers(square - columns + 1))
    placed = np.zeros((height, width))
    placed[top : top + rows, left : left + columns] = opacity
    dimmed = background * generator.uniform(*_DUSK)
    shaded = dimmed * (1 - _RIM_DARKNESS * _rim(placed))[..., None]
    pixels = shaded + placed[..., None] * (_light_colour(generator) - shaded)
    ys, xs = np.nonzero(opacity > _VISIBLE)
    box = (left + int(xs.min()), top + int(ys.min()), left + int(xs.max()), top + int(ys.max()))
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8)), box


def _window(photograph: np.ndarray, part: str, generator: np.random.Generator) -> np.ndarray:
    """Cut a piece of the photograph's training or validation side, reduced up to three times: float (H, W, 3)."""
    border = round(photograph.shape[1] * _TRAIN_WIDTH)
    side = photograph[:, :border] if part == "train" else photograph[:, border:]
    short = int(generator.integers(_SHORT_SIDE_PX[0], _SHORT_SIDE_PX[1] + 1))
    ratio = exp(generator.uniform(-log(_LONGEST_RATIO), log(_LONGEST_RATIO)))  # width : height
    width, height = (round(short * ratio), short) if ratio >= 1 else (short, round(short / ratio))
    largest = min(side.shape[1] / width, side.shape[0] / height)
    zoom = generator.uniform(1.0, min(3.0, largest))
    across, down = int(width * zoom), int(height * zoom)
    left = int(generator.integers(side.shape[1] - across + 1))
    top = int(generator.integers(side.shape[0] - down + 1))
    piece = Image.fromarray(side[top : top + down, left : left + across])
    return np.asarray(piece.resize((width, height), Image.Resampling.BILINEAR), np.float64)


def _opacity(ink: np.ndarray, room: int, generator: np.random.Generator) -> np.ndarray:
    """Slant and enlarge a digit smoothly and cut it to its ink: float (rows, columns) in 0..1, within `room` pixels."""
    side = 16 * _INK_PX  # the digit in the middle of twice its size, so that nothing is cut by turning
    canvas = Image.fromarray(np.pad(ink * 255, 4).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    angle = radians(generator.uniform(-_MAX_ANGLE_DEG, _MAX_ANGLE_DEG))
    shear = generator.uniform(-_MAX_SHEAR, _MAX_SHEAR)
    a, b, d, e = cos(angle), sin(angle) + shear, -sin(angle), cos(angle)
    middle = side / 2
    matrix = (a, b, middle - a * middle - b * middle, d, e, middle - d * middle - e * middle)
    slanted = canvas.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    sharp = np.clip((np.asarray(slanted, np.float64) / 255 - 0.37) / 0.25, 0, 1)
    ys, xs = np.nonzero(sharp > _VISIBLE)
    cut = sharp[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    rows = generator.uniform(*_DIGIT_HEIGHT) * room
    rows = min(rows, 0.95 * room * cut.shape[0] / cut.shape[1])
    size = (max(1, round(rows * cut.shape[1] / cut.shape[0])), max(1, round(rows)))
    small = Image.fromarray((cut * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(small, np.float64) / 255


def _rim(opacity: np.ndarray) -> np.ndarray:
    """Return a soft shadow around the ink, float (H, W) in 0..1, so that light ink is visible on a white sky."""
    image = Image.fromarray((opacity * 255).astype(np.uint8))
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(_RIM_PX)), np.float64) / 255
    return np.clip(2.5 * blurred, 0, 1)


def _light_colour(generator: np.random.Generator) -> np.ndarray:
    """Return a light colour (3,) of any hue: with dark ones too, nets would first have to learn the two kinds."""
    hue, saturation, value = generator.uniform((0, 0, 0.9), (1, 0.55, 1))
    return 255 * np.array(hsv_to_rgb(hue, saturation, value))
