"""`ModelDescription`, stored with weights: the net, its preprocessing, its classes, its recipe.

It is read and written as JSON by pydantic, so that a damaged or foreign file raises an error with a reason.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from vggnet.errors import UserError
from vggnet.options.choices import Orientation
from vggnet.paper.configurations import Architecture

Rgb = tuple[float, float, float]
BoxKind = Literal["", "scr", "pcr"]
PixelRange = tuple[int, int]
FULL_RANGE: PixelRange = (0, 65535)
# weight files, by what they hold: of a run its best and its last epoch, of a folder that `save_pretrained` wrote
BEST_FILE, LAST_FILE, MODEL_FILE = "best.safetensors", "last.safetensors", "model.safetensors"
BOX_UNITS = (  # of a box net's four numbers, for people; `images.boxes.encode` makes them
    "centre x, centre y, width and height in units of the crop's side, the centre from the crop's middle (right and "
    "down): a box that fills the crop is (0, 0, 1, 1)"
)


@dataclass(frozen=True)
class Preprocessing:
    """From 8-bit RGB pixels (0 to 255) to the net's input: (pixel - mean) / deviation, by channel.

    The paper subtracts the training set's mean and divides by nothing (Sect. 2.1), hence the deviation of 1.
    """

    mean: Rgb = (123.68, 116.779, 103.939)
    deviation: Rgb = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class ImageReading:
    """How the pixels of an image file become 8-bit RGB. The defaults are those of files that do not state it.

    `orientation`: what is done about the EXIF orientation of photographs: "apply" turns the pixels upright, "ignore"
    takes them as they are stored.
    `pixel_range`: which values of 16-bit pixels become 0 and 255. Values beyond are clipped.
    """

    orientation: Orientation = "ignore"
    pixel_range: PixelRange = FULL_RANGE

    def __post_init__(self) -> None:
        low, high = self.pixel_range
        if not 0 <= low < high <= FULL_RANGE[1]:
            raise UserError(
                f"`pixel_range` {low} {high}: the lowest and the highest value of 16-bit pixels, such as 0 4095 for "
                f"12 bits; both from 0 to {FULL_RANGE[1]}, the lowest first"
            )


AS_STORED = ImageReading()


def rgb(values: Iterable[float]) -> Rgb:
    """Return three numbers as floats, by channel. Raises ValueError for fewer or more."""
    red, green, blue = map(float, values)
    return red, green, blue


@dataclass(frozen=True)
class InputPolicy:
    """How the training read its images. Testing, features, localisation and export read theirs in the same way.

    `mirror`: half of the training crops were mirrored, so the mirrored view of a test image means something to the net.
    `orientation` and `pixel_range`: see `ImageReading`.
    """

    mirror: bool = True
    orientation: Orientation = "ignore"
    pixel_range: PixelRange = FULL_RANGE

    def __post_init__(self) -> None:
        _ = self.reading  # raises UserError for an invalid range

    @property
    def reading(self) -> ImageReading:
        """How image files are decoded."""
        return ImageReading(self.orientation, self.pixel_range)

    def reading_as(self, reading: ImageReading) -> "InputPolicy":
        """Return the same policy with another way to decode image files."""
        return replace(self, orientation=reading.orientation, pixel_range=reading.pixel_range)

    def chosen(self, mirror: bool | None = None) -> "InputPolicy":
        """Return the policy with the user's choices in it; None leaves a field as the net was trained."""
        return self if mirror is None else replace(self, mirror=mirror)


@dataclass(frozen=True)
class ModelDescription:
    """The facts needed to use a model. `classes` are in the order of its outputs (empty where outputs are no classes).

    `boxes` says that the outputs are box coordinates (App. A): "scr" one box for all classes, 4 outputs; "pcr" four
    outputs for each class, in the order of `classes`.

    `train_scale` is S in the paper: () unknown, (256,) fixed, (256, 512) jittered; `recipe` holds other facts about the
    training (JSON values only).

    `activation_limits` are for inference in int8: for each layer but the first the largest input that is represented
    ({}: not measured yet, `vggnet quantize` does).

    `epochs_seen` counts the epochs of all trainings behind the weights, including those of the net they started from.
    The random draws of the next training (order, crops, dropout) continue from this epoch.

    `feature_scale` is the magnitude of the pool5 features for which fc6 was initialised, where a new fc6 was put on a
    trained net. fc6 learns as if the features were divided by it.
    """

    architecture: Architecture
    preprocessing: Preprocessing = Preprocessing()
    classes: tuple[str, ...] = ()
    class_titles: tuple[str, ...] = ()  # readable names where classes are codes ("n01443537": "goldfish")
    train_scale: tuple[int, ...] = ()
    recipe: dict[str, Any] = field(default_factory=dict)
    boxes: BoxKind = ""
    activation_limits: dict[str, float] = field(default_factory=dict)
    policy: InputPolicy = InputPolicy()
    epochs_seen: int = 0
    feature_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.feature_scale < math.inf:
            raise UserError(f"feature_scale {self.feature_scale}: a size, above 0")
        if self.epochs_seen < 0:
            raise UserError(f"epochs_seen {self.epochs_seen}: a number of epochs, 0 or more")
        expected = {"": len(self.classes), "scr": 4, "pcr": 4 * len(self.classes)}[self.boxes]
        if self.classes and expected != self.architecture.outputs:
            raise UserError(f"{len(self.classes)} class names for a net of {self.architecture.outputs} outputs")
        limited = [layer.name for layer in self.architecture.layers()][1:]
        if self.activation_limits and not (
            sorted(self.activation_limits) == sorted(limited)
            and all(0 < limit < math.inf for limit in self.activation_limits.values())
        ):
            raise UserError("activation_limits must hold a number above 0 for each layer but the first")

    def title(self, index: int) -> str:
        """Return the readable name of a class."""
        return (self.class_titles or self.classes)[index]

    def to_json(self) -> str:
        """Return the description as JSON; raise UserError for names that no JSON in UTF-8 can hold."""
        try:
            return _ADAPTER.dump_json(self).decode()
        except PydanticSerializationError as error:
            raise UserError(f"the model's description holds names that are not UTF-8 ({error})") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the description as JSON values; raise UserError for names that no JSON in UTF-8 can hold."""
        self.to_json()  # dump_python does not check the names
        values: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return values

    @classmethod
    def from_json(cls, text: str, source: str) -> "ModelDescription":
        """Parse `text`; `source` names the file in the error of a bad one."""
        return cls._read(lambda: _ADAPTER.validate_json(text), source)

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str) -> "ModelDescription":
        """Return the inverse of `to_dict`; `source` names the file in the error of a bad one."""
        return cls._read(lambda: _ADAPTER.validate_python(values), source)

    @classmethod
    def _read(cls, parse: Callable[[], "ModelDescription"], source: str) -> "ModelDescription":
        try:
            description = parse()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the description"
            raise UserError(f"{source}: not a vggnet model description: {where}: {first['msg']}") from error
        if description.recipe.get("mirror") is False and description.policy.mirror:
            # files written before `policy` existed hold it in the recipe only
            description = replace(description, policy=replace(description.policy, mirror=False))
        return description


def first_problem(error: ValidationError, field: str = "") -> str:
    """Return the first field at fault (within `field`), its value, and what is wrong with it, in one line."""
    first = error.errors()[0]
    where = ".".join([field] * bool(field) + [str(part) for part in first["loc"]]) or "its content"
    value = repr(first.get("input"))
    shown = value if len(value) <= 60 else f"{value[:57]}..."
    return f"{where}: {shown}: {first['msg']}"


_ADAPTER = TypeAdapter(ModelDescription)
