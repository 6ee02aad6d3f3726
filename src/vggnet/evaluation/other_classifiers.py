"""Any PyTorch classifier under the test protocol: what the protocol must know of it, checked before an image is read.

A module takes images (N, 3, H, W) and returns class scores (N, K) before the soft-max, or a class score map
(N, K, H', W'). Crops need one size only. Dense evaluation needs a module that takes any size: with a score map it is
Sect. 3.2's, the scores averaged over the positions; with global pooling the module itself averages its features.

Shapes: N images, K classes.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vggnet.console import counted
from vggnet.description import InputPolicy, ModelDescription, Preprocessing
from vggnet.errors import UserError, reason_of
from vggnet.evaluation.identity import module_hash
from vggnet.evaluation.input_conventions import Given, convention_of
from vggnet.formats.class_names import Names, check_names, coded_names, read_classes
from vggnet.network.vgg import VGG, evaluating
from vggnet.network.vgg import Classifier as OwnClassifier
from vggnet.options.choices import Orientation

DEFAULT_CROP_PX = 224
AS_PAPER = InputPolicy()
ODD_SIZE_PX = (37, 66)  # rows and columns beyond the crop, by which a module shows that it takes any size


@dataclass(frozen=True)
class OtherArchitecture:
    """What views must know of a module. `only_crops`: why it takes no images of any size; None where it does."""

    outputs: int
    crop_px: int
    only_crops: str | None = None


@dataclass(frozen=True)
class ClassifierDescription:
    """What a table, a store and a submission must know of a module. `test_scale`: Q where the user gives none."""

    name: str
    architecture: OtherArchitecture
    preprocessing: Preprocessing
    order: Literal["RGB", "BGR"] = "RGB"
    classes: tuple[str, ...] = ()
    class_titles: tuple[str, ...] = ()
    test_scale: int | None = None
    policy: InputPolicy = AS_PAPER
    train_scale: tuple[int, ...] = ()  # S is a fact about the paper's trainings: it is not known

    def title(self, index: int) -> str:
        """Return the readable name of a class."""
        return (self.class_titles or self.classes)[index]


Description = ModelDescription | ClassifierDescription


class OtherClassifier:
    """A PyTorch classifier of any library, with what the test protocol must know about it, for `evaluate`.

    Args:
        module: takes images float32 (N, 3, H, W) and returns class scores (N, K) before the soft-max, or a class score
            map (N, K, H', W').
        classes: the names of the K outputs in their order, or a file of them as for `vggnet convert`. Images are
            matched by these names. (default: as `preprocessing` states them)
        preprocessing: what pixels the module takes: torchvision, caffe, paper, tf or unit; the mean and deviation of
            pixels of 0 to 1; weights of torchvision or their transforms; timm's data configuration. (default: as timm's
            `pretrained_cfg` of the module states)
        crop: side in pixels of the crops. (default: as `preprocessing` states, else 224)
        test_scale: Q where `evaluate` is given none. (default: as `preprocessing` states)
        name: in the tables. (default: the name of the module's class)
        mirror: whether mirrored views are averaged in.
        orientation: apply or ignore the EXIF orientation of photographs.

    Raises:
        UserError: for a module that returns something else, or another number of outputs than classes.

    Example:
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 8), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> names = ["class0", "class1", "class2"]
        >>> linear = vggnet.OtherClassifier(module, classes=names, preprocessing="unit", crop=32, name="linear")
        >>> table = vggnet.evaluate(["runs/A", linear], "photos", views="center", test_scale=40)
        >>> [row.label for row in table.rows]
        ['A center Q=40', 'linear center Q=40', 'A + linear center Q=40']
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        classes: str | Path | Sequence[str] | None = None,
        preprocessing: Given | None = None,
        crop: int | None = None,
        test_scale: int | None = None,
        name: str | None = None,
        mirror: bool = True,
        orientation: Orientation = "apply",
    ) -> None:
        if not isinstance(module, nn.Module):
            raise UserError(f"a classifier is a torch.nn.Module, not {module!r:.80}")
        self.module, self.name = module, name or type(module).__name__
        stated = convention_of(preprocessing, module, self.name)
        side = crop or stated.crop_px or DEFAULT_CROP_PX
        if side < 1:
            raise UserError(f"`crop` {side}: a side in pixels, at least 1")
        outputs = self._outputs(side)
        names, titles = self._named(classes, stated.classes, outputs)
        self.description = ClassifierDescription(
            self.name,
            OtherArchitecture(outputs, side, self._why_only_crops(side)),
            stated.preprocessing,
            stated.order,
            names,
            titles,
            test_scale or stated.scale_px,
            InputPolicy(mirror=mirror, orientation=orientation),
        )

    @property
    def architecture(self) -> OtherArchitecture:
        return self.description.architecture

    def identity(self) -> str:
        """Return a hash of all that its posteriors depend on, besides image and view."""
        about = self.description
        return module_hash(self.module, [about.name, about.architecture.crop_px, about.preprocessing, about.order])

    def scores(self, images: Tensor) -> Tensor:
        """Return class scores (N, K) in fp32 or wider of the module's input (N, 3, H, W), in the module's own mode.

        A class score map is averaged over its positions. Raises UserError where the forward pass fails, or returns
        something else.
        """
        outputs: Any = self._called(images)
        if not isinstance(outputs, Tensor):
            raise UserError(
                f"{self.name}: its forward pass returns {_kind(outputs)}, not a tensor of class scores{_hint(outputs)}"
            )
        if outputs.ndim not in (2, 4) or len(outputs) != len(images) or not outputs.is_floating_point():
            raise UserError(
                f"{self.name}: its forward pass returns {outputs.dtype} {tuple(outputs.shape)} for images "
                f"{tuple(images.shape)}; class scores are (N, K), or (N, K, rows, columns)"
            )
        wide = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        return wide.mean((2, 3)) if wide.ndim == 4 else wide

    def _called(self, images: Tensor) -> Any:
        try:
            return self.module(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # another library's code raises anything
            raise UserError(
                f"{self.name}: its forward pass fails on images {tuple(images.shape)}: {reason_of(error)}"
            ) from error

    def _probe(self, rows: int, columns: int) -> Tensor:
        """Return the scores of two images of noise."""
        place = next(iter(self.module.parameters()), torch.empty(0))
        noise = torch.randn(2, 3, rows, columns, generator=torch.Generator().manual_seed(0)).to(place)
        with torch.no_grad(), evaluating(self.module):
            return self.scores(noise)

    def _outputs(self, side: int) -> int:
        """Return the number of outputs. Raises UserError where they are no class scores."""
        scores = self._probe(side, side)
        if scores.shape[1] < 2:
            raise UserError(
                f"{self.name}: {counted(scores.shape[1], 'output')}: the protocol needs a score for each class"
            )
        if bool((scores >= 0).all()) and torch.allclose(scores.sum(1), torch.ones(()).to(scores), atol=1e-3):
            raise UserError(
                f"{self.name}: its forward pass returns probabilities (they add up to 1): return the scores before the "
                "soft-max (or their logarithms), of which the protocol takes the soft-max itself"
            )
        return scores.shape[1]

    def _why_only_crops(self, side: int) -> str | None:
        try:
            self._probe(side + ODD_SIZE_PX[0], side + ODD_SIZE_PX[1])
        except UserError as error:
            return str(error)
        return None

    def _named(self, given: str | Path | Sequence[str] | None, stated: Sequence[str], outputs: int) -> Names:
        names = given if isinstance(given, (str, Path)) else list(stated if given is None else given)
        if not names:
            raise UserError(
                f"{self.name}: which class is which of its {outputs} outputs? Give `classes`: their names in that "
                "order, or a file of them"
            )
        return _read_names(names, outputs)


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (tuple, list, dict)) else "")


def _hint(value: Any) -> str:
    """Return where in another library's output the scores probably are."""
    if hasattr(value, "logits"):
        return ": wrap it in a module that returns `.logits`"
    if isinstance(value, dict):
        return f": wrap it in a module that returns one of {', '.join(map(repr, list(value)[:5]))}"
    return ": wrap it in a module that returns the scores alone"


Classifier = VGG | OtherClassifier


def as_models(
    models: Sequence[str | Path | nn.Module | OtherClassifier],
    *,
    classes: str | Path | Sequence[str] | None = None,
    preprocessing: Given | None = None,
    crop: int | None = None,
) -> list[str | Path | Classifier]:
    """Return the models of an evaluation, each bare module of another library as an `OtherClassifier`.

    `classes` are also those of a VGG in memory that does not name its own. Raises UserError as `OtherClassifier`, and
    where there is nothing that the arguments are about.
    """
    found = [_as_model(model, classes, preprocessing, crop) for model in models]
    others = [model for model in models if isinstance(model, nn.Module) and not isinstance(model, (VGG, OwnClassifier))]
    needless = [name for name, given in (("preprocessing", preprocessing), ("crop", crop)) if given is not None]
    if needless and not others:
        raise UserError(f"`{needless[0]}` is for modules of other libraries; vggnet's own models state theirs")
    if classes is not None and not any(isinstance(model, nn.Module) for model in models):
        raise UserError("`classes` is for modules in memory; run folders and weight files state theirs")
    return found


def _as_model(
    model: str | Path | nn.Module | OtherClassifier,
    classes: str | Path | Sequence[str] | None,
    preprocessing: Given | None,
    crop: int | None,
) -> str | Path | Classifier:
    if isinstance(model, (str, Path, OtherClassifier)):
        return model
    own = model.model if isinstance(model, OwnClassifier) else model
    if isinstance(own, VGG):
        return own if classes is None or own.description.classes else _named_net(own, classes)
    return OtherClassifier(own, classes=classes, preprocessing=preprocessing, crop=crop)


def _named_net(model: VGG, classes: str | Path | Sequence[str]) -> VGG:
    """Return the same net, weights included, with class names."""
    names, titles = _read_names(classes, model.architecture.outputs)
    named = copy.copy(model)
    named.description = replace(model.description, classes=names, class_titles=titles)
    return named


def _read_names(given: str | Path | Sequence[str], outputs: int) -> Names:
    if isinstance(given, (str, Path)):
        return read_classes(given, outputs)
    return check_names("`classes`", *coded_names([str(each) for each in given]), outputs)
