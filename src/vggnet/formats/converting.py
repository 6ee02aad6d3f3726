"""Convert a weight file of another library into a net of vggnet, with its preprocessing and class names.

Nothing is guessed: layout and preprocessing are named by the caller (or read from the file, or a config.json beside
it), class names are given or stay unknown. The net follows from the shapes of the weights.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from vggnet.console import counted
from vggnet.description import FULL_RANGE, ImageReading, InputPolicy, ModelDescription, PixelRange
from vggnet.errors import UserError
from vggnet.files import printable
from vggnet.formats.caffemodel import read_caffemodel
from vggnet.formats.class_names import Names, classes_beside, read_classes
from vggnet.formats.inputs import BESIDE, InputConvention, convention_beside, open_convention
from vggnet.formats.keras import import_h5py, read_keras
from vggnet.formats.kinds import refuse_programs
from vggnet.formats.layers import Found, LayerReport, assemble, recognise
from vggnet.formats.matconvnet import read_matconvnet
from vggnet.formats.numpy_files import read_numpy
from vggnet.formats.onnx import read_onnx
from vggnet.formats.state_dicts import layers_of_state
from vggnet.formats.untrusted import read_state_dict
from vggnet.network.vgg import VGG, on_meta, without_head
from vggnet.network.weights import load_model
from vggnet.options.choices import Layout, Orientation
from vggnet.options.weights import ConvertOptions

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
MISSING, LEFT_OUT = "missing (convolutions only)", "left out (`convolutions_only`)"  # of FC layers
NAMES = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}


@dataclass(frozen=True)
class Conversion:
    """A net in evaluation mode, the origin of each layer, and notes about input, classes and what was left out."""

    model: VGG
    report: tuple[LayerReport, ...]
    notes: tuple[str, ...]


def convert(
    file: str | Path,
    layout: str,
    *,
    preprocessing: str | InputConvention | None = None,
    classes: str | Path | Names | None = None,
    net: str | None = None,
    convolutions_only: bool = False,
    orientation: Orientation | None = None,
    pixel_range: PixelRange | None = None,
) -> Conversion:
    """Read `file`, a VGG in another library's `layout`, complete or convolutions only.

    `preprocessing` names what its pixels were (torchvision, caffe, tf, ..., or a JSON file) or states it. `classes` is
    a file of class names in the order of the outputs, or the names. `net` decides where shapes do not (A-LRN).
    `orientation` and `pixel_range` say how the net's images are to be decoded (see `description.ImageReading`). Raises
    UserError, before anything is built, for files that are hostile, damaged or hold another net.
    """
    if layout not in LAYOUTS:
        raise UserError(f"`layout` {layout!r}: the layouts are {', '.join(LAYOUTS)}")
    path = Path(file)
    if layout == "vggnet":
        return _own(path, preprocessing, classes, net, convolutions_only, (orientation, pixel_range))
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the weight file in it, or `layout` vggnet for a run or model folder")
    reading = ImageReading(orientation or "apply", pixel_range or FULL_RANGE)
    beside = path.parent / BESIDE[layout] if layout in BESIDE else None
    refuse_programs(path)
    inside = layout == "matconvnet" and preprocessing is None  # the file's own mean
    if isinstance(preprocessing, InputConvention):
        convention: InputConvention | None = preprocessing
    else:
        convention = None if inside else open_convention(preprocessing, file=str(path), beside=beside)
    found = _read(path, layout, net, convolutions_only)
    convention = convention or found.convention or open_convention(None, file=str(path))
    architecture = found.architecture or recognise(
        found.layers, str(path), net=found.net or net, convolutions_only=convolutions_only
    )
    found.check_pools(architecture, str(path))
    taken = found.layers[: len(list(architecture.layers()))]
    left_out = [*(layer.source for layer in found.layers[len(taken) :]), *found.left_out]
    state, report = assemble(taken, architecture, convention, str(path), LEFT_OUT if left_out else MISSING)
    names, titles = _class_names(classes, beside, found, architecture.outputs, path)
    contract, _ = convention.to_contract()
    description = ModelDescription(
        architecture,
        contract,
        names,
        titles,
        recipe=_origin(path, layout, convention),
        policy=InputPolicy().reading_as(reading),
    )
    notes = [*_notes(description, convention), *found.notes, *_notes_beside(beside, convention, names, classes)]
    if left_out:
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        notes.append(f"not taken from the file: {', '.join(left_out[:3])}{more}")
    return Conversion(_filled(description, state, path), tuple(report), tuple(notes))


def require(layout: Layout) -> None:
    """Raise UserError where the package that reads files of this layout is not installed."""
    if layout == "keras":
        import_h5py()


def _class_names(
    classes: str | Path | Names | None, beside: Path | None, found: Found, outputs: int, file: Path
) -> Names:
    """Return the classes' names and titles: from `classes`, else from the weight file, else from the file beside it."""
    if isinstance(classes, tuple):
        if len(classes[0]) != outputs:
            hint = " (with a class for the background?)" if outputs == len(classes[0]) + 1 else ""
            raise UserError(
                f"{file}: a net of {counted(outputs, 'output')}{hint} for {counted(len(classes[0]), 'class')}: it is "
                "not the net that its publisher names"
            )
        return classes
    if classes is not None:
        return read_classes(classes, outputs)
    if found.names and outputs:
        return found.names, found.titles
    return classes_beside(beside, outputs), ()


def _notes_beside(
    beside: Path | None, convention: InputConvention, names: tuple[str, ...], classes: str | Path | Names | None
) -> list[str]:
    """Return notes about the file beside the weights: what was taken from it, and what was overruled."""
    if beside is None:
        return []
    convention_there = convention_beside(beside)
    notes = []
    if convention_there is not None and convention_there != convention:
        notes.append(f"{beside.name} beside it says {convention_there.describe()}: `preprocessing` overrules it")
    if names and classes is None:
        notes.append(f"{counted(len(names), 'class name')} from {beside.name}")
    return notes


def _read(path: Path, layout: str, net: str | None, convolutions_only: bool) -> Found:
    suffix = path.suffix.lower()
    if layout == "keras":
        return read_keras(path, net=net, convolutions_only=convolutions_only)
    if layout == "onnx" or suffix == ".onnx":
        return read_onnx(path)
    if layout == "matconvnet":
        return read_matconvnet(path)
    if layout == "caffe" and suffix == ".caffemodel":
        return read_caffemodel(path)
    if layout == "caffe" and suffix in (".npy", ".npz"):
        return read_numpy(path)
    return layers_of_state(read_state_dict(path), layout, str(path), convolutions_only=convolutions_only)


def _filled(description: ModelDescription, state: dict[str, torch.Tensor], path: Path) -> VGG:
    model = on_meta(description)
    model.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, assign=True)
    model.initialization = f"converted from {path.name}"
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


def _origin(path: Path, layout: str, convention: InputConvention) -> dict[str, Any]:
    return {"converted_from": {"file": printable(path.name), "layout": layout, "input": convention.describe()}}


def _notes(description: ModelDescription, convention: InputConvention) -> tuple[str, ...]:
    architecture = description.architecture
    head = "convolutions only" if architecture.convolutions_only else counted(architecture.outputs, "output")
    norm = " with batch normalisation" if architecture.batch_norm else ""
    mean, deviation = (
        " ".join(f"{value:.3f}" for value in values)
        for values in (description.preprocessing.mean, description.preprocessing.deviation)
    )
    notes = [
        f"net {architecture.net}{norm}, width {architecture.width:g}, {head}",
        f"its input was {convention.describe()}; now RGB of 0..255, mean {mean}, deviation {deviation}",
    ]
    if not architecture.convolutions_only and not description.classes:
        notes.append("the classes have no names: `vggnet evaluate` needs them (`classes` FILE)")
    return tuple(notes)


def convert_as_asked(options: ConvertOptions) -> Conversion:
    """Convert the file that the options of `vggnet convert` name, as they say. Raises UserError as `convert` does."""
    return convert(
        options.file,
        options.layout,
        preprocessing=options.preprocessing,
        classes=options.classes,
        net=options.net,
        convolutions_only=options.convolutions_only,
        orientation=options.orientation,
        pixel_range=options.pixel_range,
    )


def _own(
    path: Path,
    preprocessing: str | InputConvention | None,
    classes: str | Path | Names | None,
    net: str | None,
    convolutions_only: bool,
    reading: tuple[Orientation | None, PixelRange | None],
) -> Conversion:
    """Open a file of vggnet, to write it in another layout, name its classes or leave its head out."""
    if net is not None:
        raise UserError(f"{path}: a vggnet file names its net: leave `net` out")
    if preprocessing is not None:
        raise UserError(f"{path}: a vggnet file holds its preprocessing: leave `preprocessing` out")
    model = load_model(path)
    if convolutions_only and not model.architecture.convolutions_only:
        model = without_head(model)
    if classes is not None:
        given = classes if isinstance(classes, tuple) else read_classes(classes, model.architecture.outputs)
        names, titles = given
        model.description = replace(model.description, classes=names, class_titles=titles)
    policy = model.description.policy
    read_as = ImageReading(reading[0] or policy.orientation, reading[1] or policy.pixel_range)
    model.description = replace(model.description, policy=policy.reading_as(read_as))
    report = []
    for layer in model.architecture.layers():
        shape = tuple(model.get_parameter(f"{layer.name}.weight").shape)
        report.append(LayerReport(layer.name, layer.name, shape, shape))
    if model.architecture.convolutions_only:
        absent = LEFT_OUT if convolutions_only else MISSING
        report += [LayerReport(name, None, None, (), absent=absent) for name in ("fc6", "fc7", "fc8")]
    return Conversion(model, tuple(report), ())
