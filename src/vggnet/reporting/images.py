"""Single images and what the net answers: examples, the worst, the least certain, the surest.

For each image: the score map of the answered and of the true class laid over it, and the saliency of its pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vggnet.console import counted
from vggnet.data.splits import Split
from vggnet.errors import BadImage
from vggnet.evaluation.answers import Answers
from vggnet.evaluation.preprocessing import preprocess
from vggnet.explaining.pictures import data_uri, fitted, overlay, saliency_picture
from vggnet.explaining.saliency import saliency
from vggnet.explaining.score_maps import ScoreMap, fitting_step, score_map
from vggnet.images.geometry import rescaled_size
from vggnet.images.whole_images import read_whole
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import TOTAL_STRIDE_PX
from vggnet.reporting.contents import Card, Gallery, Picture, Section, Text, section, shortened
from vggnet.reporting.words import at_most, percent

SHOWN_PX = 132
EXAMPLES, EACH = 3, 4
MAP_CROPS = 1.5  # score maps are drawn of an image whose smaller side is this many crops
BUDGET = {"cpu": 2e11, "cuda": 1e13}  # multiply-adds for maps and saliency: some seconds


@dataclass(frozen=True, eq=False)
class Explained:
    """An image with the score map of all classes and the saliency of one."""

    image: Image.Image
    index: int
    scores: ScoreMap
    saliency: np.ndarray

    def map_of(self, index: int) -> Image.Image:
        """Return the image with the posteriors of a class, window by window, laid over it."""
        shown = self.image.resize((self.scores.width, self.scores.height))
        return overlay(shown, self.scores.on_image(self.scores.posteriors[index]))

    def saliency_shown(self) -> Image.Image:
        """Return the saliency as a picture of the image's size."""
        return saliency_picture(self.saliency).resize(self.image.size)


def explain(model: VGG, image: Image.Image, index: int | None, scale: int) -> Explained:
    """Return the score maps of an image that is seen large, and the saliency of class `index` at Q = `scale`.

    None stands for the class with the highest score at that Q.
    """
    large = preprocess(model, image, map_scale(model))
    step = fitting_step(model.architecture.crop_px, *large.shape[2:])
    small: Tensor = preprocess(model, image, scale)
    chosen = int(model.scores(small).argmax()) if index is None else index
    found = saliency(model, small, torch.tensor([chosen]))[0]
    return Explained(image, chosen, score_map(model, large, step), found)


def map_scale(model: VGG) -> int:
    """Return the smaller side in pixels of the image whose score map is drawn."""
    return round(MAP_CROPS * model.architecture.crop_px)


def cost(model: VGG, width: int, height: int, scale: int) -> float:
    """Return about how many multiply-adds `explain` takes for an image of width x height pixels."""
    architecture = model.architecture
    wide, high = rescaled_size(width, height, map_scale(model))
    small = rescaled_size(width, height, scale)
    step = fitting_step(architecture.crop_px, high, wide)
    windows = [(side - architecture.crop_px) // step + 1 for side in (wide, high)]
    whole = architecture.multiply_adds(high, wide)
    maps = whole if step == TOTAL_STRIDE_PX else windows[0] * windows[1] * architecture.multiply_adds()
    return maps + 3 * architecture.multiply_adds(small[1], small[0])


@dataclass
class Shower:
    """Makes cards of images, with maps and saliency until the budget is spent. `name` is the net's."""

    name: str
    model: VGG
    split: Split
    answers: Answers
    titles: Sequence[str]
    scale: int
    left: float = 0.0
    lost: int = 0

    def __post_init__(self) -> None:
        self.left = BUDGET.get(next(self.model.parameters()).device.type, BUDGET["cpu"])

    def card(self, place: int) -> Card:
        """Return the card of image number `place` of the answers."""
        answers = self.answers
        answered, truth = int(answers.best[place, 0]), int(answers.truth[place])
        right = not answers.wrong[place]
        guesses = [
            f"{shortened(self.titles[index], 60)}: {percent(float(posterior))}"
            for index, posterior in zip(answers.best[place, :3].tolist(), answers.posteriors[place, :3], strict=True)
        ]
        truth_line = f"true: {shortened(self.titles[truth], 60)}"
        if not right:
            truth_line += f" ({percent(float(answers.of_truth[place]))}, place {int(answers.places[place]) + 1})"
        lines = (truth_line, *guesses, answers.files[place])
        title = "right" if right else "wrong"
        try:
            image = read_whole(self.split.read_as(self.model.description.policy.reading), self._place(place))
        except BadImage as error:
            self.lost += 1
            return Card((), title, (*lines, f"not shown: {error.reason}"), title)
        return Card(self._pictures(image, answered, truth), title, lines, title)

    def _place(self, place: int) -> int:
        """Return where an image of the answers stands in the split, which may hold images that were not counted."""
        files = self.split.files
        file = self.answers.files[place]
        return place if place < len(files) and files[place] == file else list(files).index(file)

    def _pictures(self, image: Image.Image, answered: int, truth: int) -> tuple[Picture, ...]:
        name = shortened(self.titles[truth], 60)
        pictures = [Picture(_shown(image), f"image of the class {name}", "image")]
        price = cost(self.model, *image.size, self.scale)
        if price > self.left:
            return tuple(pictures)
        self.left -= price
        explained = explain(self.model, image, answered, self.scale)
        for index in dict.fromkeys((answered, truth)):
            title = shortened(self.titles[index].split(",")[0], 20)
            label = f"score map of {title} ({'answered' if index == answered else 'true'})"
            pictures.append(Picture(_shown(explained.map_of(index)), f"score map of {title} over the image", label))
        pictures.append(Picture(_shown(explained.saliency_shown()), "saliency of the answer", "saliency"))
        return tuple(pictures)


def _shown(image: Image.Image) -> str:
    """Return an image as a data URI, its longer side SHOWN_PX: all pictures of a card have one size."""
    factor = SHOWN_PX / max(image.size)
    enlarged = (
        image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))))
        if factor > 1
        else image
    )
    return data_uri(fitted(enlarged, SHOWN_PX))


def images_section(shower: Shower) -> Section | None:
    """Return galleries of examples, the worst, the least certain and the surest images."""
    answers = shower.answers
    count = len(answers)
    if not count:
        return None
    certain = answers.posteriors[:, 0]
    examples = np.unique(np.linspace(0, count - 1, min(count, EXAMPLES + 2)).astype(int))
    examples = examples[1:-1] if len(examples) > 2 else examples
    wrong = np.flatnonzero(answers.wrong)
    worst = wrong[np.argsort(answers.of_truth[wrong], kind="stable")][:EACH]
    uncertain = np.argsort(certain, kind="stable")[:EACH]
    best_first = np.argsort(-answers.of_truth, kind="stable")
    _, firsts = np.unique(answers.truth[best_first], return_index=True)  # one of each class
    surest = best_first[np.sort(firsts)][:EACH]
    galleries = [
        _gallery(shower, "Examples, at equal distances in the list of test images", examples, ""),
        _gallery(shower, "The worst errors", worst, _worst(answers, wrong, worst)),
        _gallery(shower, "The least certain", uncertain, _uncertain(answers, uncertain)),
        _gallery(shower, "The surest", surest, _surest(len(surest))),
    ]
    lost = f"{counted(shower.lost, 'image')} cannot be shown any more: see the cards." if shower.lost else ""
    return section("Single images", [*_how(shower), *galleries, *([Text(lost, quiet=True)] if lost else [])])


def _how(shower: Shower) -> list[Text]:
    """Explain the answers and the pictures, and why the two can disagree."""
    crop, side = shower.model.architecture.crop_px, map_scale(shower.model)
    answers = (
        f"{shower.name} answers for the whole image (dense) at Q={shower.scale}. Below an image stand the true class "
        "and the best classes, each with its posterior (the probability that the net gives the class)."
    )
    maps = (
        f"Score map: the image is rescaled so that its smaller side has {side} pixels. Every window of {crop} pixels "
        "is judged alone; the posterior of the named class lies over the window's middle, from none (gray) to 1 "
        f"(light). The answer is of the image at Q={shower.scale}, and the mean over its windows: answer and score map "
        "can disagree."
    )
    saliency_text = (
        f"Saliency: the gradient of the answered class's score by the pixels at Q={shower.scale} (Simonyan, Vedaldi "
        "and Zisserman, 2014); light pixels move the score most."
    )
    return [Text(answers), Text(maps, quiet=True), Text(saliency_text, quiet=True)]


def _gallery(shower: Shower, caption: str, places: np.ndarray, says: str) -> Gallery | None:
    cards = tuple(shower.card(place) for place in places.tolist())
    return Gallery(caption, cards, says) if cards else None


def _worst(answers: Answers, wrong: np.ndarray, shown: np.ndarray) -> str:
    if not len(shown):
        return ""
    most = at_most(float(answers.of_truth[shown].max()))
    return f"Of {counted(len(wrong), 'error')} those with the lowest posterior of the true class, {most}."


def _surest(classes: int) -> str:
    return f"The highest posterior of the true class, one image of each of {counted(classes, 'class')}."


def _uncertain(answers: Answers, shown: np.ndarray) -> str:
    wrong = int(answers.wrong[shown].sum())
    top = float(answers.posteriors[shown, 0].max())
    return f"The best class has a posterior of at most {percent(top)}; {wrong} of {len(shown)} are wrong."
