"""Boxes before and after merging (App. A, test 2): each window of the dense map gives a box; close ones are merged.

Shown are the boxes of the true class, so that the pictures are about merging alone and not about the class. Windows,
class scores and merging are those of `vggnet localize evaluate`.

Shapes: n images, P windows (of both mirrors), m merged boxes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vggnet.console import counted
from vggnet.data.splits import ImageData
from vggnet.description import ModelDescription
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.comparing import difference
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.matching import positions_among
from vggnet.explaining.pictures import data_uri, fitted
from vggnet.images.geometry import rescaled_size
from vggnet.images.whole_images import read_whole
from vggnet.localization.boxes import CORRECT_IOU, iou
from vggnet.localization.dense import MatchedNet, dense_candidates
from vggnet.localization.guessing import load_nets
from vggnet.localization.merging import merge
from vggnet.localization.objects import Objects
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model, read_description
from vggnet.options.choices import Merging
from vggnet.reporting.box_pictures import SHOWN_PX, draw_boxes
from vggnet.reporting.contents import Card, Gallery, Picture, shortened
from vggnet.reporting.images import BUDGET
from vggnet.reporting.sources import Run, Sources
from vggnet.reporting.words import listed, no_difference, percent, points

MOST_IMAGES, CARDS = 60, 4
FAINTEST = 0.15  # opacity of a box with no score; the highest score has 1
NONE = np.zeros((0, 4))


@dataclass(frozen=True, eq=False)
class MergedBoxes:
    """The boxes of the true class in an image: of every window, and merged, the best rated first.

    `windows` (P, 4) with class scores `scores` (P,); `merged` (m, 4) with `rates` (m,). Edges are on the image.
    """

    index: int
    windows: np.ndarray
    scores: np.ndarray
    merged: np.ndarray
    rates: np.ndarray

    @property
    def best_window(self) -> np.ndarray:
        """Return the box of the window with the highest class score, (4,)."""
        best: np.ndarray = self.windows[int(self.scores.argmax())]
        return best


@dataclass(frozen=True)
class Rating:
    """What rates the boxes of a report: classifiers (none: all windows count alike), and the way of merging."""

    classifiers: tuple[Path, ...] = ()
    merging: Merging = "overfeat"


def rating_of(run: Run, sources: Sources) -> Rating:
    """Return what rated the boxes of a run: as the JSON of a localisation says, else the net that the run came from."""
    assert run.description is not None
    for _, content in sources.localisations:
        named = [Path(each) for each in content.get("classifiers") or [] if _can_rate(Path(each), run.description)]
        if named and str(run.path) in map(str, content.get("models") or []):
            return Rating(tuple(named), content.get("merging", "overfeat"))
    start = run.config.get("init_from")
    return Rating((Path(start),) if isinstance(start, str) and _can_rate(Path(start), run.description) else ())


def _can_rate(path: Path, boxes: ModelDescription) -> bool:
    """Return whether a net is still there, and has the classes and the crop of a box net."""
    try:
        description = read_description(path)
    except (UserError, OSError):
        return False
    alike = set(description.classes) == set(boxes.classes) and not description.boxes
    return alike and description.architecture.crop_px == boxes.architecture.crop_px


def merge_boxes(
    run: Path, model: VGG, rating: Rating, opened: ImageData, val: Objects, scale: int, computing: Computing
) -> list[MergedBoxes]:
    """Return the boxes of evenly chosen val images at Q = `scale`, as many as take some seconds. Raises UserError."""
    if rating.classifiers:
        nets = load_nets(
            [run],
            rating.classifiers,
            load=lambda path: model if path == run else load_model(path, computing.device),
        )
        boxing, raters, first = nets.box_nets, nets.classifiers, nets.descriptions[0]
        named_by = rating.classifiers[0]
    else:
        first, named_by, raters = model.description, run, ()
        boxing = (MatchedNet(model, np.arange(len(first.classes)), first.policy.mirror),)
    labels = positions_among(first, named_by, opened)[val.labels]
    chosen = _chosen(model, 1 + len(raters), val, scale)
    best = labels[:, None]  # the true class alone
    found = dense_candidates(boxing, raters, val.split, val.sizes, best, chosen, [[scale]], computing)
    result = []
    for index in chosen.tolist():
        if index in found:
            candidates = found[index][0, scale]
            edges, scores = candidates.edges[:, 0], candidates.scores[:, 0]
            result.append(MergedBoxes(index, edges, scores, *merge(edges, scores, rating.merging)))
    return result


def _chosen(model: VGG, nets: int, val: Objects, scale: int) -> np.ndarray:
    """Return which images to show: evenly chosen, at most MOST_IMAGES, fewer where the nets are slow."""
    width, height = np.median(val.sizes, 0).astype(int).tolist()
    wide, high = rescaled_size(width, height, scale)
    cost = 2 * nets * model.architecture.multiply_adds(high, wide)
    affordable = int(BUDGET.get(next(model.parameters()).device.type, BUDGET["cpu"]) / cost)
    count = min(len(val), max(CARDS, min(MOST_IMAGES, affordable)))
    return np.unique(np.linspace(0, len(val) - 1, count).astype(int))


def merged_gallery(
    found: list[MergedBoxes], val: Objects, titles: tuple[str, ...], rating: Rating, scale: int
) -> Gallery | None:
    """Return images with the boxes of all windows and with the merged ones, and what merging changes."""
    if not found:
        return None
    places = np.unique(np.linspace(0, len(found) - 1, min(len(found), CARDS)).astype(int))
    cards = tuple(_card(found[place], val, titles) for place in places.tolist())
    return Gallery(
        f"Boxes before and after merging (test 2 at Q={scale}, true class)", cards, _says(found, val, rating)
    )


def _says(found: list[MergedBoxes], val: Objects, rating: Rating) -> str:
    """Describe merging, and compare the merged box with that of the best window."""
    windows, boxes = sum(len(each.windows) for each in found), sum(len(each.merged) for each in found)
    rated = (
        f"rated by {listed([path.name for path in rating.classifiers])}" if rating.classifiers else "all rated alike"
    )
    single = np.array([_overlap(each.best_window, val, each.index) for each in found])
    merged = np.array([_overlap(each.merged[0], val, each.index) for each in found])
    change = difference(~(single > CORRECT_IOU), ~(merged > CORRECT_IOU))
    effect = (
        f"{points(change)} {'fewer' if change.points < 0 else 'more'} errors than the box of the best window"
        if change.clear
        else f"against the box of the best window {no_difference(len(found))}"
    )
    return (
        f"Left: a box from every window of the dense map, {rated}, the fainter the lower. Right: merged "
        f"({rating.merging}), the best one dashed. On {counted(len(found), 'image')} there are "
        f"{windows / len(found):.1f} boxes before and {boxes / len(found):.1f} after merging, on average. Mean overlap "
        f"with the true box: the best merged one {merged.mean():.2f}, that of the best window {single.mean():.2f}; "
        f"{effect}."
    )


def _overlap(box: np.ndarray, val: Objects, index: int) -> float:
    """Return the overlap of a box with the nearest true box of an image."""
    return float(iou(box[None], _true(val, index)).max())


def _true(val: Objects, index: int) -> np.ndarray:
    true: np.ndarray = val.edges[val.starts[index] : val.starts[index + 1]]
    return true


def _card(boxes: MergedBoxes, val: Objects, titles: tuple[str, ...]) -> Card:
    title = shortened(titles[int(val.labels[boxes.index])].split(",")[0], 40)
    overlap = _overlap(boxes.merged[0], val, boxes.index)
    part = boxes.rates[0] / max(float(boxes.rates.sum()), 1e-12)
    lines = (
        f"overlap {overlap:.2f}; the best box has {percent(float(part))} of all class scores",
        val.split.files[boxes.index],
    )
    mark = "right" if overlap > CORRECT_IOU else "wrong"
    try:
        image = read_whole(val.split, boxes.index)
    except BadImage as error:
        return Card((), title, (*lines, f"not shown: {error.reason}"), mark)
    true = _true(val, boxes.index)
    order = np.argsort(boxes.scores, kind="stable")  # the best one on top
    before = draw_boxes(image, true, NONE, boxes.windows[order], _opacity(boxes.scores[order], boxes.scores.max()))
    others, rates = boxes.merged[:0:-1], boxes.rates[:0:-1]
    after = draw_boxes(image, true, boxes.merged[:1], others, _opacity(rates, boxes.rates[0]))
    return Card(
        (
            _picture(before, f"{title} with the boxes of all windows", counted(len(boxes.windows), "window")),
            _picture(after, f"{title} with the merged boxes", f"merged to {counted(len(boxes.merged), 'box')}"),
        ),
        title,
        lines,
        mark,
    )


def _opacity(scores: np.ndarray, highest: float) -> np.ndarray:
    result: np.ndarray = FAINTEST + (1 - FAINTEST) * scores / max(float(highest), 1e-12)
    return result


def _picture(image: Image.Image, alt: str, label: str) -> Picture:
    return Picture(data_uri(fitted(image, SHOWN_PX)), alt, label)
