"""Read what pixels a module of another library takes, from the forms in which libraries state it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from vggnet.description import Preprocessing, rgb
from vggnet.errors import UserError
from vggnet.formats.inputs import CONVENTIONS, InputConvention, open_convention
from vggnet.paper.imagenet import imagenet_classes

Given = str | Path | Preprocessing | InputConvention | Mapping[str, Any] | Any  # or a pair (mean, deviation)


@dataclass(frozen=True)
class StatedInput:
    """What a module takes: (pixel - mean) / deviation of pixels of 0 to 255, by channel of RGB, then in `order`.

    `crop_px`, `scale_px` (the smallest side after rescaling) and `classes` where they are stated, too.
    """

    preprocessing: Preprocessing
    order: Literal["RGB", "BGR"] = "RGB"
    crop_px: int | None = None
    scale_px: int | None = None
    classes: tuple[str, ...] = ()


def convention_of(given: Given | None, module: nn.Module, name: str) -> StatedInput:
    """Return what `given` states; without it what timm wrote into the module. Raises UserError where nothing does."""
    if given is None:
        given = getattr(module, "pretrained_cfg", None)
        if not given or not isinstance(given, Mapping) or not given.get("mean"):
            raise UserError(
                f"{name}: what pixels does it take? Give `preprocessing`: {', '.join(CONVENTIONS)}; the mean and "
                "deviation of pixels of 0 to 1; weights of torchvision; or timm's data configuration"
            )
    if isinstance(given, StatedInput):
        return given
    if isinstance(given, Preprocessing):
        return StatedInput(given)
    if isinstance(given, (str, Path)):
        given = open_convention(str(given), file=name)
    if isinstance(given, InputConvention):
        return _of_convention(given)
    if isinstance(given, Mapping):
        return _of_timm(given, name)
    if hasattr(given, "transforms") and hasattr(given, "meta"):
        found = _of_transforms(given.transforms(), name)
        return _with_classes(found, given.meta.get("categories", ()))
    if all(hasattr(given, part) for part in ("mean", "std")):
        return _of_transforms(given, name)
    try:
        mean, deviation = (rgb(values) for values in given)
    except (TypeError, ValueError):
        raise _unknown(name, given) from None
    return _of_convention(_unit_pixels(mean, deviation))


def _of_convention(convention: InputConvention) -> StatedInput:
    """Return a convention by channel of RGB for pixels of 0 to 255: nothing can be folded into a module's weights."""
    mean = [value / convention.scale for value in convention.mean]
    deviation = [value / convention.scale for value in convention.deviation]
    if convention.order == "BGR":
        mean, deviation = mean[::-1], deviation[::-1]
    return StatedInput(Preprocessing(rgb(mean), rgb(deviation)), convention.order)


def _unit_pixels(mean: Any, deviation: Any) -> InputConvention:
    return InputConvention("RGB", 1 / 255, rgb(mean), rgb(deviation))


def _of_timm(given: Mapping[str, Any], name: str) -> StatedInput:
    """Read timm's `resolve_model_data_config(model)` or `model.pretrained_cfg`: mean, std, input_size, crop_pct."""
    try:
        found = _of_convention(_unit_pixels(given["mean"], given["std"]))
        size = given.get("input_size")
        crop = None if size is None else int(size[-1])
        part = float(given.get("crop_pct") or 1)
    except (KeyError, TypeError, ValueError):
        raise _unknown(name, dict(given)) from None
    stated = StatedInput(found.preprocessing, found.order, crop, None if crop is None else round(crop / part))
    return _with_classes(stated, given.get("label_names") or ())


def _of_transforms(given: Any, name: str) -> StatedInput:
    """Read torchvision's preset for classification: mean, std, crop_size, resize_size."""
    try:
        found = _of_convention(_unit_pixels(given.mean, given.std))
        crop, scale = (_side(getattr(given, part, None)) for part in ("crop_size", "resize_size"))
    except (TypeError, ValueError):
        raise _unknown(name, given) from None
    return StatedInput(found.preprocessing, found.order, crop, scale)


def _side(size: Any) -> int | None:
    if size is None:
        return None
    return int(size[0] if isinstance(size, Sequence) else size)


def _with_classes(found: StatedInput, classes: Sequence[str]) -> StatedInput:
    """Add class names: ImageNet's words with their codes; of other names, those that occur twice with their place."""
    names = [str(each) for each in classes]
    codes, words = imagenet_classes()
    if names == list(words):
        return replace(found, classes=tuple(map(" ".join, zip(codes, words, strict=True))))
    told_apart = (f"{name} [{place}]" if names.count(name) > 1 else name for place, name in enumerate(names))
    return replace(found, classes=tuple(told_apart))


def _unknown(name: str, given: Any) -> UserError:
    return UserError(
        f"{name}: `preprocessing` {given!r:.80}: give {', '.join(CONVENTIONS)}; the mean and deviation of pixels of 0 "
        "to 1, by channel; weights of torchvision; or timm's data configuration"
    )
