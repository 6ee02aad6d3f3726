"""Open the nets that are served, each under a name of its own, and match the box net with the classifiers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.matching import open_entrants
from vggnet.evaluation.protocols import Entrant, default_scale, multiple_scales
from vggnet.localization.guessing import LocalizationNets, load_nets
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model, read_description
from vggnet.options.serving import ServeOptions


@dataclass(frozen=True, eq=False)
class ServedNet:
    """A net that names classes, under the `name` by which requests choose it.

    `localization` is the box net with this net as its only classifier; None where no box net is served. `box_scale` is
    the box net's S.
    """

    name: str
    path: Path
    model: VGG
    localization: LocalizationNets | None = None
    box_scale: int = 0

    @property
    def description(self) -> ModelDescription:
        """Return what is stored with the weights."""
        return self.model.description

    @property
    def scales(self) -> tuple[int, ...]:
        """Return the paper's three Q for this net (Table 4), without those that are smaller than its crop."""
        try:
            return multiple_scales(self.description)
        except UserError:
            crop = self.description.architecture.crop_px
            scale = max(crop, default_scale(self.description))
            step = max(1, scale // 8)  # as 32 is to 256
            return tuple(sorted({max(crop, scale - step), scale, scale + step}))


def open_nets(options: ServeOptions) -> dict[str, ServedNet]:
    """Return the nets by name, in the order of the options.

    Raises UserError where there is none that names classes, more than one box net, or nets that do not fit.
    """
    drawing = [model for model in map(Path, options.models) if read_description(model).boxes]
    naming = [*(model for model in map(Path, options.models) if model not in drawing), *options.classifier]
    if options.boxes is not None:
        drawing.append(options.boxes)
    if not naming:
        raise UserError(
            f"{drawing[0]}: this model draws boxes and names no classes: give the classification run that chooses the "
            "classes with `classifier`"
        )
    if len(drawing) > 1:
        raise UserError(f"{', '.join(map(str, drawing))}: give one run that draws boxes, not {len(drawing)}")
    load = cache(load_model)  # a box net is loaded once for all classifiers
    names = _names(open_entrants(naming))
    return {name: _served(name, path, drawing, load) for name, path in zip(names, naming, strict=True)}


def _served(name: str, path: Path, drawing: Sequence[Path], load: Callable[[str | Path], VGG]) -> ServedNet:
    if not drawing:
        return ServedNet(name, path, load(path))
    nets = load_nets(drawing, [path], load=load)
    return ServedNet(name, path, load(path), nets, default_scale(read_description(drawing[0])))


def _names(entrants: Sequence[Entrant]) -> list[str]:
    """Return the entrants' names; those of equal name are numbered."""
    names = [entrant.name for entrant in entrants]
    return [
        name if names.count(name) == 1 else f"{name} {names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]
