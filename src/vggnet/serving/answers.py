"""The answers of the JSON API. Their texts are in its description (OpenAPI)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vggnet.evaluation.submission import ClassGuess
from vggnet.localization.predictions import LabelledBox
from vggnet.serving.nets import ServedNet
from vggnet.serving.questions import Question

Rectangle = Annotated[
    tuple[float, float, float, float], Field(description="left, top, right and bottom edge in pixels of the image")
]


class ClassAnswer(BaseModel):
    """A class and its posterior."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(serialization_alias="class", description="the class's name in the data, such as n01440764")
    title: str = Field(description="its readable name")
    posterior: float = Field(description="0 to 1")
    percent: str = Field(description="the posterior in percent, as `vggnet predict` prints it")

    @classmethod
    def of(cls, guess: ClassGuess) -> "ClassAnswer":
        """Return the answer for a class."""
        return cls(name=guess.name, title=guess.title, posterior=guess.posterior, percent=guess.percent)


class ImageFacts(BaseModel):
    """The image as the net reads it, turned by its EXIF orientation if the net was trained so."""

    width: int
    height: int


class ScaleWindows(BaseModel):
    """The crops of a view, or the windows of its dense map, at one Q; without mirror images."""

    view: str
    test_scale: int
    windows: list[Rectangle]


class PredictAnswer(BaseModel):
    """The most probable classes of an image, and what the net was shown."""

    model: str
    view: str
    test_scale: list[int] = Field(description="each Q: the smallest side of the rescaled image in pixels")
    mirror: bool = Field(description="whether mirror images are averaged in")
    image: ImageFacts
    classes: list[ClassAnswer] = Field(description="the best first")
    shown: list[ScaleWindows]
    forward_passes: int = Field(description="how many images or crops went through the net, mirror images included")
    notes: list[str] = Field(description="where this is not as in the paper")


class ScoreMapAnswer(BaseModel):
    """The posterior of one class for each window of the rescaled image."""

    model_config = ConfigDict(populate_by_name=True)

    model: str
    name: str = Field(serialization_alias="class")
    title: str
    test_scale: int
    step: int = Field(description="pixels of the rescaled image between two windows")
    window: int = Field(description="side of a window in pixels of the rescaled image")
    posteriors: list[list[float]] = Field(description="rows of the map, from the top")


class BoxAnswer(BaseModel):
    """A class and its box."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(serialization_alias="class")
    title: str
    posterior: float
    percent: str
    xmin: int = Field(description="inclusive corners in pixels of the image")
    ymin: int
    xmax: int
    ymax: int

    @classmethod
    def of(cls, box: LabelledBox) -> "BoxAnswer":
        """Return the answer for a box."""
        corners = {"xmin": box.xmin, "ymin": box.ymin, "xmax": box.xmax, "ymax": box.ymax}
        percent = ClassGuess(box.name, box.title, box.posterior).percent
        return cls(name=box.name, title=box.title, posterior=box.posterior, percent=percent, **corners)


class BoxesAnswer(BaseModel):
    """The most probable classes, each with its box, as `vggnet localize predict` finds them (App. A)."""

    model: str
    test_scale: list[int]
    image: ImageFacts
    boxes: list[BoxAnswer]


class NetClass(BaseModel):
    """A class of a net."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(serialization_alias="class")
    title: str


class NetAnswer(BaseModel):
    """A net that is served."""

    name: str = Field(description="the value of `model` in requests")
    net: str = Field(description="its column of Table 1")
    crop: int = Field(description="side of a training crop in pixels, the smallest Q")
    test_scale: int = Field(description="the Q of requests without `test_scale`: the net's S")
    test_scales: list[int] = Field(description="the three Q of Table 4 for this net")
    mirror: bool = Field(description="whether mirror images are averaged in without `mirror`")
    boxes: bool = Field(description="whether /api/boxes answers for it")
    classes: list[NetClass]

    @classmethod
    def of(cls, net: ServedNet, question: Question) -> "NetAnswer":
        """Return the facts about a net; `question` is one without parameters."""
        described = net.description
        classes = [NetClass(name=name, title=described.title(i)) for i, name in enumerate(described.classes)]
        return cls(
            name=net.name,
            net=described.architecture.net,
            crop=described.architecture.crop_px,
            test_scale=question.scales[0],
            test_scales=list(net.scales),
            mirror=question.mirror,
            boxes=net.localization is not None,
            classes=classes,
        )


class SampleAnswer(BaseModel):
    """A sample image; its file is at /api/samples/NUMBER, a small picture at /api/samples/NUMBER/picture."""

    number: int
    title: str = Field(description="its true class, or its file's name")


class StatusAnswer(BaseModel):
    """What the server has done since its start."""

    images: int = Field(description="images that were scored")
    batches: int = Field(description="batches that they formed")
    largest_batch: int
    at_once: int = Field(description="requests with an image that are being answered")
    limit: int = Field(description="at how many of these further ones get status 429")


class ErrorAnswer(BaseModel):
    """Why there is no answer, and what to do next."""

    error: str
