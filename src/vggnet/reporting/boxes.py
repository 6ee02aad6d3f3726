"""What a box net finds (App. A): overlaps with the true boxes, failures by the size of the object, boxes on images.

The boxes are those of test 1: the box of the true class in the centre crop.

Shapes: n images.
"""

import contextlib
import io
from dataclasses import dataclass

import numpy as np

from vggnet.console import counted
from vggnet.data.splits import ImageData
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.matching import positions_among
from vggnet.evaluation.metrics import Count
from vggnet.evaluation.policy import input_notes
from vggnet.explaining.pictures import data_uri, fitted
from vggnet.images.whole_images import read_whole
from vggnet.localization.boxes import CORRECT_IOU, area
from vggnet.localization.guessing import shown_nets
from vggnet.localization.judging import CenterResult, center_test
from vggnet.localization.objects import Objects, objects_of, open_localizable
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model
from vggnet.paper.configurations import TOTAL_STRIDE_PX
from vggnet.reporting.box_pictures import SHOWN_PX, draw_boxes
from vggnet.reporting.contents import Card, Chart, Gallery, Picture, Section, Text, section, shortened
from vggnet.reporting.measuring import single_q
from vggnet.reporting.merged_boxes import Rating, merge_boxes, merged_gallery
from vggnet.reporting.sources import Run
from vggnet.reporting.style import MUTED, SERIES, new_plot, styled, svg
from vggnet.reporting.words import error_in_words, no_difference, percent

MOST_IMAGES = 500  # more take too long for a report; `localize evaluate` counts all
SIZES = (0.0, 0.1, 0.25, 0.5, 1.0001)  # of the object's part of the image
EACH = 6


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


def locate(run: Run, model: VGG, opened: ImageData, val: Objects, scale: int, computing: Computing) -> Boxes:
    """Return test 1 of a box net at Q = `scale` on at most MOST_IMAGES val images, evenly chosen."""
    labels = positions_among(model.description, run.path, opened)[val.labels]
    chosen = np.unique(np.linspace(0, len(val) - 1, min(len(val), MOST_IMAGES)).astype(int))
    return Boxes(val, center_test(model, val, labels, scale, computing, chosen), scale, opened.titles or opened.classes)


def boxes_section(run: Run, data: str, computing: Computing, rating: Rating) -> Section | None:
    """Return what a box net finds. Raises UserError where images or boxes cannot be used."""
    scale = single_q(run.description)
    assert scale is not None
    opened = open_localizable(data, None, None)
    if opened.val is None:
        raise UserError(f"{data}: no val image has a box")
    model = load_model(run.path, computing.device)
    split = opened.val.read_as(model.description.policy.reading)
    with contextlib.redirect_stdout(io.StringIO()):
        val = objects_of(split, bad_boxes="skip", workers=computing.workers, name="val")
    found = locate(run, model, opened, val, scale, computing)
    result = found.result
    if not len(result.indices):
        return None
    # a window more in each direction than the centre crop alone, else there is nothing to merge
    dense_scale = max(scale, model.architecture.crop_px + TOTAL_STRIDE_PX)
    merged = merge_boxes(run.path, model, rating, opened, val, dense_scale, computing)
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
            *(Text(note, quiet=True) for note in input_notes(split, shown_nets([run.path], [model.description]))),
            _gallery(found, "From the worst overlap to the best", order[examples]),
            _gallery(found, "The worst boxes", order[:EACH]),
            merged_gallery(merged, val, found.titles, rating, dense_scale),
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
            title="error of test 1 in %, by size", xlabel="part of the image that the object covers", ylim=(-3, 103)
        )
    named = list(zip(counts, ranges, strict=True))
    clear = [(more, less) for more in named for less in named if more[0].interval[0] > less[0].interval[1]]
    if clear:
        (more, larger), (less, smaller) = max(clear, key=lambda pair: pair[0][0].rate - pair[1][0].rate)
        says = (
            f"Objects that cover {larger} of the image are missed more often ({percent(more.rate)}) than those of "
            f"{smaller} ({percent(less.rate)})."
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
