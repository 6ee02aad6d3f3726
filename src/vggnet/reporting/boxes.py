"""What a box net finds (App. A): overlaps with the true boxes, failures by the size of the object, boxes on images.

The boxes are those of test 1: the box of the true class in the centre crop.

Shapes: n images.
"""

import contextlib
import io
import itertools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vggnet.console import counted
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.matching import positions_among
from vggnet.evaluation.metrics import Count
from vggnet.explaining.pictures import data_uri, fitted
from vggnet.images.whole_images import read_whole
from vggnet.localization.boxes import CORRECT_IOU, area
from vggnet.localization.judging import CenterResult, center_test
from vggnet.localization.objects import Objects, objects_of, open_localizable
from vggnet.network.weights import load_model
from vggnet.reporting.contents import Card, Chart, Gallery, Picture, Section, Text, section, shortened
from vggnet.reporting.measuring import single_q
from vggnet.reporting.sources import Run
from vggnet.reporting.style import MUTED, SERIES, new_plot, styled, svg
from vggnet.reporting.words import error_in_words, no_difference, percent

MOST_IMAGES = 500  # more take too long for a report; `localize evaluate` counts all
SIZES = (0.0, 0.1, 0.25, 0.5, 1.0001)  # of the object's part of the image
EACH, SHOWN_PX = 6, 200
TRUE, PREDICTED = SERIES[2], SERIES[1]


@dataclass(frozen=True, eq=False)
class Boxes:
    """Test 1 of a box net on val images: the images with their true boxes, and the net's boxes."""

    objects: Objects
    result: CenterResult
    scale: int
    titles: tuple[str, ...]

    @property
    def parts(self) -> np.ndarray:
        """Return the part of its image that each image's first true box covers, (n,), 0 to 1."""
        places = self.result.indices
        sizes = self.objects.sizes[places]
        result: np.ndarray = area(self.objects.edges[self.objects.starts[places]]) / sizes.prod(1)
        return result


def locate(run: Run, data: str, computing: Computing) -> Boxes:
    """Return test 1 of a box net on at most MOST_IMAGES val images, evenly chosen. Raises UserError."""
    description, scale = run.description, single_q(run.description)
    assert description is not None
    assert scale is not None
    opened = open_localizable(data, None, None)
    if opened.val is None:
        raise UserError(f"{data}: no val image has a box")
    with contextlib.redirect_stdout(io.StringIO()):
        val = objects_of(
            opened.val.read_as(description.policy.reading), bad_boxes="skip", workers=computing.workers, name="val"
        )
    labels = positions_among(description, run.path, opened)[val.labels]
    chosen = np.unique(np.linspace(0, len(val) - 1, min(len(val), MOST_IMAGES)).astype(int))
    model = load_model(run.path, computing.device)
    return Boxes(val, center_test(model, val, labels, scale, computing, chosen), scale, opened.titles or opened.classes)


def boxes_section(run: Run, data: str, computing: Computing) -> Section | None:
    """Return what a box net finds. Raises UserError where images or boxes cannot be used."""
    found = locate(run, data, computing)
    result = found.result
    if not len(result.indices):
        return None
    order = np.argsort(result.overlaps, kind="stable")
    examples = np.unique(np.linspace(0, len(order) - 1, min(len(order), EACH)).astype(int))
    return section(
        f"Boxes of {run.name}",
        [
            Text(
                f"Test 1 (App. A): the box of the true class in the centre crop at Q={found.scale}, on "
                f"{counted(len(order), 'image')}. Wrong: {error_in_words(result.error)}; mean overlap "
                f"{result.mean_iou:.2f}. A box is right above an overlap of {CORRECT_IOU}."
            ),
            overlap_chart(found),
            size_chart(found),
            _gallery(found, "From the worst overlap to the best", order[examples]),
            _gallery(found, "The worst boxes", order[:EACH]),
        ],
    )


def overlap_chart(found: Boxes) -> Chart:
    """Return the histogram of the overlaps with the nearest true box."""
    overlaps = found.result.overlaps
    with styled():
        plot = new_plot(4.6, 3.0)
        axes = plot.subplots()
        axes.hist(overlaps, bins=np.linspace(0, 1, 21).tolist(), color=SERIES[0], alpha=0.75)
        axes.axvline(CORRECT_IOU, color=MUTED, linestyle="--", linewidth=1)
        axes.set(title="overlap with the true box", xlabel="intersection over union", ylabel="images", xlim=(0, 1))
    near = float(((overlaps > CORRECT_IOU - 0.1) & (overlaps <= CORRECT_IOU)).mean())
    high = percent(float((overlaps > 0.7).mean()))
    says = f"{percent(near)} of the images miss the limit (dashed) by less than 0.1; {high} have an overlap above 0.7."
    return Chart(svg(plot), "Histogram of overlaps.", says)


def size_chart(found: Boxes) -> Chart | None:
    """Return the error by the size of the object; None where all objects are of one size."""
    bins = np.digitize(found.parts, SIZES) - 1
    groups = [(place, bins == place) for place in range(len(SIZES) - 1) if (bins == place).any()]
    if len(groups) < 2:
        return None
    counts = [Count(int(found.result.wrong[of].sum()), int(of.sum())) for _, of in groups]
    ranges = [f"{100 * SIZES[place]:.0f} to {100 * min(1, SIZES[place + 1]):.0f} %" for place, _ in groups]
    names = [f"{name}\n(n={count.images})" for name, count in zip(ranges, counts, strict=True)]
    errors = [100 * count.rate for count in counts]
    bars = np.abs(np.array([count.interval for count in counts]).T * 100 - errors)
    with styled():
        plot = new_plot(5.2, 3.0)
        axes = plot.subplots()
        axes.errorbar(range(len(names)), errors, bars, fmt="o", color=SERIES[0], capsize=3)
        axes.set_xticks(range(len(names)), names)
        axes.set(
            title="error of test 1 in %, by size", xlabel="part of the image that the object covers", ylim=(0, 103)
        )
    least, most = min(counts, key=lambda count: count.rate), max(counts, key=lambda count: count.rate)
    words = {id(count): name for count, name in zip(counts, ranges, strict=True)}
    if most.interval[0] > least.interval[1]:
        says = (
            f"Objects that cover {words[id(most)]} of the image are missed most ({percent(most.rate)}), those of "
            f"{words[id(least)]} least ({percent(least.rate)})."
        )
    else:
        says = f"Between the sizes there is {no_difference(len(found.result.indices))}."
    return Chart(svg(plot), "Errors with intervals, by the part of the image that the object covers.", says)


def _gallery(found: Boxes, caption: str, places: np.ndarray) -> Gallery:
    says = "Solid: the true boxes. Dashed: the net's box."
    return Gallery(caption, tuple(_card(found, place) for place in places.tolist()), says)


def _card(found: Boxes, place: int) -> Card:
    objects, result = found.objects, found.result
    index = int(result.indices[place])
    title = shortened(found.titles[int(objects.labels[index])].split(",")[0], 40)
    overlap = float(result.overlaps[place])
    mark = "right" if overlap > CORRECT_IOU else "wrong"
    lines = (f"overlap {overlap:.2f}", objects.split.files[index])
    try:
        image = read_whole(objects.split, index)
    except BadImage as error:
        return Card((), title, (*lines, f"not shown: {error.reason}"), mark)
    true = objects.edges[objects.starts[index] : objects.starts[index + 1]]
    drawn = draw_boxes(image, true, result.edges[place][None])
    return Card(
        (Picture(data_uri(fitted(drawn, SHOWN_PX)), f"{title} with its true and its predicted box"),),
        title,
        lines,
        mark,
    )


def draw_boxes(image: Image.Image, true: np.ndarray, predicted: np.ndarray) -> Image.Image:
    """Return an image, enlarged to about SHOWN_PX, with true boxes solid and predicted ones dashed: edges (..., 4)."""
    factor = max(1.0, SHOWN_PX / max(image.size))
    shown = image.convert("RGB").resize((round(image.width * factor), round(image.height * factor)))
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
