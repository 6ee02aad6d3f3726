"""What the net sees: training crops as they were drawn, the 5x5 grid of a test image, the filters of the first layer.

The signal through the layers is that of new weights of the same net, by each way of drawing them (`vggnet diagnose`).
"""

import contextlib
import io
import itertools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, get_args

import numpy as np
from PIL import Image

from vggnet.console import counted
from vggnet.data.splits import ImageData, Split
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.forward import corners
from vggnet.evaluation.views import View
from vggnet.explaining.pictures import data_uri, draw_windows, filter_pictures, fitted, grid
from vggnet.images.augmentation import Augmentation, TrainingView
from vggnet.images.color import ColorStatistics
from vggnet.images.geometry import crop_of_rescaled, rescale, rescaled_size
from vggnet.images.whole_images import read_whole
from vggnet.network.vgg import VGG
from vggnet.options.choices import InitMethod
from vggnet.options.training import DiagnoseOptions
from vggnet.reporting.contents import Card, Chart, Gallery, Part, Picture, Section, Text, section
from vggnet.reporting.signals import DIAGNOSED_IMAGES, signal, signal_explained, signal_table, verdict_in_words
from vggnet.reporting.sources import Run
from vggnet.reporting.style import svg
from vggnet.reporting.words import percent, span
from vggnet.training.diagnosing import diagnose_on_images

IMAGES, EPOCHS = 3, 6
GRID_PX = 330
SIGNAL_BUDGET = 1e11  # multiply-adds of one diagnosis: more is left to the command
FILTER_PX, FILTER_COLUMNS = 48, 8
RANDOM_COLOURFUL = 0.899  # of filters with independent normal weights: P(F > 1/2), F with 18 and 9 degrees of freedom


def augmentation_of(run: Run) -> Augmentation | None:
    """Return how the run draws its training crops, as config.json has it; None where it does not tell."""
    config = run.config
    try:
        statistics = ColorStatistics.from_dict(config["statistics"])
        scale, crop = tuple(map(int, config["train_scale"])), int(config["crop"])
        return Augmentation(int(config["seed"]), scale, crop, statistics, config.get("mirror") is not False)
    except (KeyError, TypeError, ValueError):
        return None


def training_crops(
    split: Split, augmentation: Augmentation, indices: Sequence[int], epochs: int = EPOCHS
) -> tuple[list[list[Image.Image]], list[TrainingView], list[tuple[int, int]]]:
    """Return for each image its crops in the first epochs, all views, and the sizes of the images they are cut from.

    Images that cannot be read are left out.
    """
    rows: list[list[Image.Image]] = []
    views, sizes = [], []
    for index in indices:
        try:
            image = read_whole(split, index)
        except BadImage:
            continue
        row = []
        for epoch in range(epochs):
            view = augmentation.view(epoch, index, *image.size)
            pixels = crop_of_rescaled(image, view.scale, view.left, view.top, augmentation.crop).astype(np.float32)
            pixels = (pixels[:, ::-1] if view.mirrored else pixels) + view.shift
            row.append(Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8)))
            views.append(view)
            sizes.append(rescaled_size(*image.size, view.scale))
        rows.append(row)
    return rows, views, sizes


def seeing_section(run: Run, model: VGG, data: ImageData, split: Split, scale: int) -> Section | None:
    """Return crops, grid and filters of a run, as far as they can be drawn."""
    return section("What the net sees", [_crops(run, data), _grid(model, split, scale), _filters(model)])


def _crops(run: Run, data: ImageData) -> Gallery | None:
    augmentation = augmentation_of(run)
    if augmentation is None or data.train is None or run.description is None:
        return None
    train = data.train.read_as(run.description.policy.reading)
    chosen = np.unique(np.linspace(0, len(train) - 1, IMAGES + 2).astype(int)[1:-1]).tolist()
    rows, views, sizes = training_crops(train, augmentation, chosen)
    if not rows:
        return None
    sheet = grid([crop for row in rows for crop in row], EPOCHS)
    parts = [augmentation.crop**2 / (width * height) for width, height in sizes]
    mirrored = sum(view.mirrored for view in views)
    shift = max(float(np.abs(view.shift).max()) for view in views)
    says = (
        "A row is an image, a column an epoch: no two crops are the same. These show "
        f"{span(percent(min(parts)), percent(max(parts)))} of their image; {mirrored} of {len(views)} are mirrored, "
        f"and colours shift by up to {shift:.0f} of 255 levels."
    )
    picture = Picture(data_uri(fitted(sheet, 560)), f"{len(rows)} rows of {EPOCHS} training crops")
    return Gallery("Training crops, as they were drawn", (Card((picture,), ""),), says)


def crop_grid_picture(image: Image.Image, scale: int, crop: int) -> Image.Image:
    """Return an image at Q = `scale`, enlarged to about GRID_PX, with its 5x5 crops; the last one is filled."""
    shown = rescale(image, scale)
    places = corners(View("crops", scale), shown.height, shown.width, crop)
    factor = max(1, GRID_PX // max(shown.size))
    large = shown.resize((shown.width * factor, shown.height * factor))
    return draw_windows(large, [(factor * left, factor * top) for left, top in places], factor * crop)


def grid_gaps(width: int, height: int, crop: int) -> list[int]:
    """Return by how many pixels neighbours of the 5x5 crops of an image differ, across and down, the smallest first."""
    places = corners(View("crops", min(width, height)), height, width, crop)
    sides = (sorted({left for left, _ in places}), sorted({top for _, top in places}))
    return sorted(after - before for side in sides for before, after in itertools.pairwise(side)) or [0]


def _grid(model: VGG, split: Split, scale: int) -> Gallery | None:
    crop = model.architecture.crop_px
    try:
        image = read_whole(split.read_as(model.description.policy.reading), len(split) // 2)
        drawn = crop_grid_picture(image, scale, crop)
    except (BadImage, UserError):
        return None
    apart = grid_gaps(*rescaled_size(*image.size, scale), crop)
    says = (
        f"At Q={scale} the crops of {crop} pixels lie {span(str(apart[0]), str(apart[-1]))} pixels apart, so "
        f"neighbours share at least {percent(max(0.0, 1 - apart[-1] / crop))} of a side."
    )
    picture = Picture(data_uri(fitted(drawn, 360)), "the outlines of 25 crops on a photograph")
    return Gallery("The 5x5 crops of multi-crop evaluation", (Card((picture,), ""),), says)


def colourful(weights: np.ndarray) -> int:
    """Return how many filters (N, 3, 3, 3) answer more to differences of colour than to brightness, by squares."""
    gray = weights.mean(1, keepdims=True)
    return int((((weights - gray) ** 2).sum((1, 2, 3)) > (3 * gray**2).sum((1, 2, 3))).sum())


def _filters(model: VGG) -> Gallery:
    weights = model.conv1_1.weight.detach().float().cpu().numpy()
    says = (
        f"Of {counted(len(weights), 'filter')} of the first layer {colourful(weights)} answer more to differences of "
        f"colour than to brightness; of random filters about {RANDOM_COLOURFUL * len(weights):.0f} would. Middle gray "
        "is 0."
    )
    size = (FILTER_PX, FILTER_PX)
    pictures = [each.resize(size, Image.Resampling.NEAREST) for each in filter_pictures(weights)]
    sheet = grid(pictures, min(len(pictures), FILTER_COLUMNS))
    picture = Picture(data_uri(sheet, exact=True), f"{len(weights)} filters of 3x3 weights in colour")
    return Gallery("First-layer filters (conv1_1)", (Card((picture,), ""),), says)


def signal_section(run: Run, data: str, opened: ImageData) -> Section | None:
    """Return the signal through the layers of new weights for each initialisation; None where that takes too long."""
    found = _diagnosed(run, data, opened)
    if not found:
        return None
    names = [(name, content["layers"]) for name, content in found]
    chart = Chart(svg(signal(names)), "Lines: what reaches each layer, by initialisation; in the tables below.")
    verdicts = [Text(f"{name}: {verdict_in_words(content)}") for name, content in found]
    tables: list[Part] = [signal_table(name, layers) for name, layers in names]
    return section(
        "Signal through the layers, by initialisation", [*signal_explained(found), chart, *verdicts, *tables]
    )


def _diagnosed(run: Run, data: str, opened: ImageData) -> list[tuple[str, dict[str, Any]]]:
    description = run.description
    if description is None or DIAGNOSED_IMAGES * 3 * description.architecture.multiply_adds() > SIGNAL_BUDGET:
        return []
    architecture, found = description.architecture, []
    for init in get_args(InitMethod):
        options = DiagnoseOptions(
            data,
            net=architecture.net,
            init=init,
            crop=architecture.crop_px,
            width=architecture.width,
            batch_norm=architecture.batch_norm,
            images=DIAGNOSED_IMAGES,
        )
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found.append((init, asdict(diagnose_on_images(options, opened).diagnosis)))
        except UserError:
            return []
    return found
