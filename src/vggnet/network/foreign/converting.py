"""`convert`: a file of another library becomes a net of this project, with all that its weights need to be used.

Nothing is guessed: the layout is named, the preprocessing is named (or stands in the file's own config.json), the class
names are given or stay unknown. Which net it is follows from the shapes.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save

from vggnet.contract import ModelDescription
from vggnet.errors import UserError
from vggnet.network.foreign.inputs import InputConvention, for_unit_pixels, open_convention
from vggnet.network.foreign.keras import read_keras
from vggnet.network.foreign.layers import ForeignLayer, LayerReport, assemble, recognise
from vggnet.network.foreign.layouts import layers_of_state, to_state
from vggnet.network.foreign.onnx import read_onnx
from vggnet.network.foreign.reading import read_state_dict
from vggnet.network.vgg import VGG, on_meta
from vggnet.network.weights import load_model, write_atomically

Layout = Literal["torchvision", "timm", "keras", "onnx", "caffe", "vggnet"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
WRITTEN: tuple[str, ...] = ("vggnet", "torchvision", "timm")
TIMM_NAMES = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}


@dataclass(frozen=True)
class Conversion:
    """A net in evaluation mode, where each of its layers came from, and what was understood about its input."""

    model: VGG
    report: tuple[LayerReport, ...]
    notes: tuple[str, ...]


def convert(
    file: str | Path,
    layout: str,
    *,
    preprocessing: str | None = None,
    classes: str | Path | None = None,
    net: str | None = None,
    convolutions_only: bool = False,
) -> Conversion:
    """Read `file`, a VGG in another library's `layout`, complete or convolutions only.

    `preprocessing` names what its pixels were (torchvision, caffe, tf, ..., or a JSON file), `classes` is a file of
    class names in the order of the outputs, `net` decides where shapes do not (A-LRN). Raises UserError before
    anything is built for files that are hostile, damaged or no VGG.
    """
    if layout not in LAYOUTS:
        raise UserError(f"--layout {layout!r}: the layouts are {', '.join(LAYOUTS)}")
    path = Path(file)
    if layout == "vggnet":
        return _own(path, preprocessing, classes, convolutions_only)
    beside = path.parent / "config.json" if layout == "timm" else None
    convention = open_convention(preprocessing, file=str(path), beside=beside)
    layers, pools, net = _read(path, layout, net, convolutions_only)
    architecture = recognise(layers, str(path), net=net, convolutions_only=convolutions_only)
    layers = layers[: len(list(architecture.layers()))]
    if pools is not None:
        _check_pools(pools, architecture.convolutions(), str(path))
    state, report = assemble(layers, architecture, convention, str(path))
    names, titles = read_classes(classes, architecture.outputs) if classes is not None else ((), ())
    contract, _ = convention.to_contract()
    description = ModelDescription(architecture, contract, names, titles, recipe=_origin(path, layout, convention))
    return Conversion(_filled(description, state, path), tuple(report), _notes(description, convention))


def _read(
    path: Path, layout: str, net: str | None, convolutions_only: bool
) -> tuple[list[ForeignLayer], list[int] | None, str | None]:
    """Layers, poolings where the file knows them, and the net where the file decides it."""
    if layout == "keras":
        return read_keras(path), None, net
    if layout == "onnx" or path.suffix.lower() == ".onnx":
        layers, pools, normalised = read_onnx(path)
        return layers, pools, "A-LRN" if normalised else net
    return layers_of_state(read_state_dict(path), layout, str(path), convolutions_only=convolutions_only), None, net


def _check_pools(pools: list[int], convolutions: Any, file: str) -> None:
    expected = [place for place, layer in enumerate(convolutions, start=1) if layer.last_of_stage]
    if pools[: len(expected)] != expected and pools != expected[:-1]:  # the last may be left out of a trunk
        raise UserError(f"{file}: max-poolings after layers {pools}, a VGG has them after {expected}: not a VGG")


def _filled(description: ModelDescription, state: dict[str, torch.Tensor], path: Path) -> VGG:
    model = on_meta(description)
    model.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, assign=True)
    model.initialization = f"converted from {path.name}"
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


def _origin(path: Path, layout: str, convention: InputConvention) -> dict[str, Any]:
    return {"converted_from": {"file": path.name, "layout": layout, "input": convention.describe()}}


def _notes(description: ModelDescription, convention: InputConvention) -> tuple[str, ...]:
    architecture = description.architecture
    head = "convolutions only" if architecture.convolutions_only else f"{architecture.outputs} outputs"
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
        notes.append("the classes have no names: `vggnet evaluate` needs them (--classes FILE)")
    return tuple(notes)


def read_classes(path: str | Path, outputs: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, titles) from a file: a JSON list, or a class a line, possibly as `n01440764 tench` (ImageNet's codes).

    Raises UserError where their number is not `outputs`, or a name occurs twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--classes {path}: cannot be read as text ({error})") from error
    if text.lstrip().startswith("["):
        try:
            lines = [str(name) for name in json.loads(text)]
        except ValueError as error:
            raise UserError(f"--classes {path}: not a JSON list of names ({error})") from error
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
    coded = [re.fullmatch(r"(n\d{8})[\s,]+(.+)", line) for line in lines]
    titles: tuple[str, ...] = ()
    names = tuple(lines)
    if lines and all(coded):
        names = tuple(found[1] for found in coded if found)
        titles = tuple(found[2] for found in coded if found)
    if len(names) != outputs:
        raise UserError(f"--classes {path}: {len(names)} names for {outputs} outputs")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"--classes {path}: {twice!r} stands there twice; titles that repeat need ImageNet's codes")
    return names, titles


def _own(path: Path, preprocessing: str | None, classes: str | Path | None, convolutions_only: bool) -> Conversion:
    """A file of this project, for writing it in another layout, naming its classes or leaving its head out."""
    if preprocessing is not None:
        raise UserError(f"{path}: a vggnet file says its preprocessing itself: leave --preprocessing out")
    model = load_model(path)
    if convolutions_only and not model.architecture.convolutions_only:
        model = without_head(model)
    if classes is not None:
        names, titles = read_classes(classes, model.architecture.outputs)
        model.description = replace(model.description, classes=names, class_titles=titles)
    report = []
    for layer in model.architecture.layers():
        shape = tuple(model.get_parameter(f"{layer.name}.weight").shape)
        report.append(LayerReport(layer.name, layer.name, shape, shape))
    return Conversion(model, tuple(report), ())


def without_head(model: VGG) -> VGG:
    """The same net without its FC layers, sharing no memory with it."""
    description = model.description
    architecture = replace(description.architecture, outputs=0, convolutions_only=True)
    trunk = on_meta(replace(description, architecture=architecture, classes=(), class_titles=()))
    state = model.state_dict()
    trunk.load_state_dict({name: state[name].clone() for name in trunk.state_dict()}, assign=True)
    trunk.initialization = model.initialization
    return trunk.train(model.training)


def write_layout(model: VGG, layout: str, folder: str | Path) -> Path:
    """Write `model` for torchvision or timm into `folder`; the file.

    torchvision: a .safetensors of its state dict and preprocessing.json beside it. timm: its own folder form
    (model.safetensors and config.json), which `timm.create_model("local-dir:FOLDER")` opens.
    """
    folder = Path(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in to_state(model, layout).items()}
    architecture = model.architecture
    name = TIMM_NAMES[architecture.net] + ("_bn" if architecture.batch_norm else "")
    mean, deviation = for_unit_pixels(model.description.preprocessing)
    labels = list(model.description.classes)
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "timm":
        size = [3, architecture.crop_px, architecture.crop_px]
        config: dict[str, Any] = {
            "architecture": name,
            "num_classes": architecture.outputs,
            "num_features": 4096,
            "pretrained_cfg": {"mean": mean, "std": deviation, "input_size": size, "num_classes": architecture.outputs},
        }
        if labels:
            config["label_names"] = labels
        file, beside = folder / "model.safetensors", folder / "config.json"
    else:
        config = {"model": name, "channels": "RGB", "range": [0, 1], "mean": mean, "std": deviation, "classes": labels}
        file, beside = folder / f"{name}.safetensors", folder / "preprocessing.json"
    write_atomically(beside, (json.dumps(config, indent=2) + "\n").encode())
    write_atomically(file, save(state, {"format": "pt"}))
    return file
