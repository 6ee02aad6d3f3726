"""Turn other libraries' preprocessing into this project's: mean and deviation over RGB.

A library's input is (pixel * scale - mean) / deviation, its channels in some order. Notable, what happens to each part:
- the order of the channels folds into conv1_1, exactly: its filters' input channels are reversed;
- a divisor that all channels share (Keras's 127.5, a bare 1/255) folds into conv1_1: a filter of w / d sees p as w does
  p / d, at zero-padded borders too, since zero divided is zero;
- deviations that differ by channel stay in the description, and so do the weights, bit by bit;
- the mean never folds: at a padded border the net sees zero *after* the mean is subtracted, which no bias can repeat.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from vggnet.description import Preprocessing, Rgb, rgb
from vggnet.errors import UserError


@dataclass(frozen=True)
class InputConvention:
    """(pixel * scale - mean) / deviation for pixels of 0 to 255; `mean` and `deviation` in the file's own order."""

    order: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1.0
    mean: Rgb = (0.0, 0.0, 0.0)
    deviation: Rgb = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.scale, *self.mean, *self.deviation))):
            raise UserError(f"preprocessing: {self.describe()}: every number must be finite")
        if self.scale <= 0 or min(self.deviation) <= 0:
            raise UserError(f"preprocessing: scale {self.scale} and deviation {self.deviation} must be above 0")

    def to_contract(self) -> tuple[Preprocessing, float]:
        """Return the project's preprocessing (RGB, 0 to 255), and the divisor to fold into conv1_1 (1 for none)."""
        mean = [value / self.scale for value in self.mean]
        deviation = [value / self.scale for value in self.deviation]
        if self.order == "BGR":
            mean, deviation = mean[::-1], deviation[::-1]
        shared = deviation[0] if len(set(deviation)) == 1 else 1.0
        divided = [value / shared for value in deviation]
        return Preprocessing(rgb(mean), rgb(divided)), shared

    def fold(self, weight: Tensor) -> Tensor:
        """Return conv1_1's filters (O, 3, k, k) for the project's preprocessing; computed in float64."""
        if self.order == "BGR":
            weight = weight.flip(1)
        shared = self.to_contract()[1]
        return weight if shared == 1.0 else (weight.double() / shared).to(weight.dtype)

    def describe(self) -> str:
        """Describe it for the report of a conversion."""
        mean, deviation = (" ".join(f"{value:g}" for value in values) for values in (self.mean, self.deviation))
        return f"{self.order} of 0..{255 * self.scale:g}, mean {mean}, deviation {deviation}"


CONVENTIONS = {
    # torchvision and most of timm: pixels of 0..1, ImageNet's mean and deviation
    "torchvision": InputConvention("RGB", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # the original nets, and Keras's VGGs (its mode "caffe")
    "caffe": InputConvention("BGR", 1.0, (103.939, 116.779, 123.68)),
    # the paper's arithmetic in RGB: Caffe weights whose channels were reversed already
    "paper": InputConvention("RGB", 1.0, (123.68, 116.779, 103.939)),
    # -1..1: Keras's mode "tf", timm's "inception"
    "tf": InputConvention("RGB", 1 / 127.5, (1.0, 1.0, 1.0)),
    # 0..1, no mean
    "unit": InputConvention("RGB", 1 / 255),
}
_ADAPTER = TypeAdapter(InputConvention)
_PARTS = ("order", "scale", "mean", "deviation")  # of a JSON file: all of them, and nothing else
BESIDE = {
    "timm": "config.json",
    "torchvision": "preprocessing.json",
}  # the file that holds it, in these layouts' folders


def open_convention(name: str | None, *, file: str = "this file", beside: Path | None = None) -> InputConvention:
    """Return the convention called `name`, or described by the JSON file of that name.

    Without a name it is read from `beside`: timm's config.json, or the preprocessing.json that `write_layout` writes.
    Raises UserError where it is unknown: a guess would give worse scores silently.
    """
    if name is None:
        if (found := convention_beside(beside)) is not None:
            return found
        raise UserError(
            f"{file} does not say what pixels its net was trained on: give `preprocessing` "
            f"{', '.join(CONVENTIONS)}, or a JSON file with order, scale, mean and deviation"
        )
    if name in CONVENTIONS:
        return CONVENTIONS[name]
    path = Path(name)
    if not path.is_file():
        raise UserError(
            f"`preprocessing` {name}: neither one of {', '.join(CONVENTIONS)} nor a JSON file (order RGB or BGR, scale "
            "on pixels of 0..255, mean and deviation after it, in that order of channels)"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a preprocessing: not JSON ({error})") from error
    return _for_torchvision(content) or _in_parts(content, path)


def _in_parts(content: Any, path: Path) -> InputConvention:
    """Read order, scale, mean and deviation. There are no defaults; an unknown name (`std`) raises UserError."""
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a preprocessing: expected an object with {', '.join(_PARTS)}")
    lacking = [part for part in _PARTS if part not in content]
    unknown = [part for part in content if part not in _PARTS]
    if lacking or unknown:
        problems = [f"lacks {', '.join(lacking)}"] if lacking else []
        problems += [f"has {', '.join(unknown)}, which are unknown"] if unknown else []
        raise UserError(f"{path}: not a preprocessing: {' and '.join(problems)} (expected {', '.join(_PARTS)})")
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise UserError(f"{path}: not a preprocessing: {where}: {first['msg']}") from error


def convention_beside(file: Path | None) -> InputConvention | None:
    """Return the convention in timm's config.json or vggnet's preprocessing.json; None where the file is neither."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig")) if file is not None else None
        if isinstance(content, dict) and "pretrained_cfg" in content:
            given = content["pretrained_cfg"]
            return InputConvention("RGB", 1 / 255, rgb(given["mean"]), rgb(given["std"]))
        return _for_torchvision(content)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_of_imagenet(config: Path) -> bool:
    """Return whether timm's config.json is of weights that were trained on ILSVRC-2012 last: its tag ends in in1k."""
    try:
        tag = json.loads(config.read_text(encoding="utf-8-sig"))["pretrained_cfg"]["tag"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(tag, str) and tag.endswith("in1k")


def preprocessing_json(preprocessing: Preprocessing) -> dict[str, Any]:
    """Return the arguments of torchvision's `Normalize` as JSON values; `open_convention` reads them back."""
    mean, deviation = for_unit_pixels(preprocessing)
    return {"channels": "RGB", "range": [0, 1], "mean": mean, "std": deviation}


def _for_torchvision(content: Any) -> InputConvention | None:
    """Read what `preprocessing_json` returns; None for anything else."""
    if not isinstance(content, dict) or not {"channels", "range", "mean", "std"} <= content.keys():
        return None
    if content["channels"] != "RGB" or content["range"] != [0, 1]:
        return None
    return InputConvention("RGB", 1 / 255, rgb(content["mean"]), rgb(content["std"]))


def for_unit_pixels(preprocessing: Preprocessing) -> tuple[Rgb, Rgb]:
    """Return (mean, deviation) for RGB pixels of 0..1, as torchvision's and timm's `Normalize` take them."""
    mean, deviation = ([value / 255 for value in values] for values in (preprocessing.mean, preprocessing.deviation))
    return rgb(mean), rgb(deviation)
