"""Export a net for other runtimes, with free batch, height and width, and check the file.

FC layers are written as convolutions, so the graph takes any image of at least the crop's size and gives a class score
map. What a graph cannot hold (the preprocessing, the classes, how scores become posteriors, whether it was trained with
mirrored images) is written beside it as JSON, and into the file as metadata:
ONNX's `metadata_props`, OpenVINO's `rt_info` under `vggnet`, torch.export's extra file `vggnet.json`. The file is
then opened by the runtime it is for, and must agree with the net on three sizes and two batches.
"""

import io
import json
import logging
import math
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx.experimental import _config as config

from vggnet.description import BOX_UNITS
from vggnet.errors import UserError, is_installed, missing_package
from vggnet.files import replacing_several
from vggnet.formats.inputs import for_unit_pixels
from vggnet.network.vgg import VGG
from vggnet.network.weights import check_described, check_outputs, load_model, unwrapped

INPUT, OUTPUT = "images", "scores"
TOLERANCE = 1e-3  # of the largest score
METADATA = "vggnet"  # where a file's metadata stand
Description = dict[str, Any]
Runtime = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Exporter:
    """A format: its suffix, the packages without which no export begins, how a net is written and the file opened.

    `write` takes the net, the file and the description; `runtimes` returns the runtimes that open the file, by name.
    """

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[VGG, Path, Description], None]
    runtimes: Callable[[Path], dict[str, Runtime]]


def as_sequence(model: VGG) -> nn.Sequential:
    """Return the net's layers as one sequence: (N, 3, H, W) -> score map, or the pool5 map of a net without a head."""
    return nn.Sequential(OrderedDict(model.named_children()))


def export_model(
    model: VGG | str | Path, out: str | Path, form: str = "onnx", *, exporter: Exporter | None = None
) -> list[str]:
    """Write `model` to `out` as onnx, torch-export or openvino, its description beside it, and check it.

    Return what was written and checked, in words. Raises UserError for packages that are missing, for a net that is not
    what its description says, and for a file that does not agree with the net. Everything is written and checked in a
    folder of its own first: an export that fails leaves what stood at `out` as it was.

    exporter: None for that of the format.
    """
    if form not in SUFFIXES:
        raise UserError(f"`format` {form}: the formats are {', '.join(SUFFIXES)}")
    out = Path(out)
    if out.suffix != SUFFIXES[form]:
        raise UserError(f"`out` {out}: a file of `format` {form} ends in {SUFFIXES[form]}")
    if out.is_dir():
        raise UserError(f"`out` {out} is a folder; give a file")
    exporter = exporter or EXPORTERS[form]
    for package in exporter.packages:
        _package(package, form)
    net = (unwrapped(model) if isinstance(model, nn.Module) else load_model(model)).eval()
    check_described(net)
    check_outputs(net)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_suffix(".json")
    description = _description(net, form)
    with replacing_several(out) as folder, _quiet():
        file = folder / out.name
        exporter.write(net, file, description)
        lines = [f"written to {out}", *_check(net, file, exporter.runtimes(file))]
        (folder / beside.name).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return [*lines, f"preprocessing and classes written to {beside}"]


def _check(net: VGG, out: Path, runtimes: dict[str, Runtime]) -> list[str]:
    """Return a line for each runtime that opened the file. Raises UserError where its scores differ from the net's."""
    lines = []
    for name, run in runtimes.items():
        gap, sizes = _largest_gap(net, run)
        if not gap <= TOLERANCE:
            raise UserError(
                f"{out.name}: {name} gives other scores than the net (by {gap:.2g} of the largest): not written"
            )
        lines.append(f"checked with {name} on {sizes}: within {gap:.1g} of the largest score")
    return lines


def _program(net: VGG) -> Any:
    """Return torch.export's program with free batch, height and width."""
    least = _least_px(net)
    shape = {
        0: torch.export.Dim("batch", min=1, max=4096),
        2: torch.export.Dim("height", min=least, max=16384),
        3: torch.export.Dim("width", min=least, max=16384),
    }
    # an example of different sizes, none the smallest, so that no size becomes a constant
    example = torch.zeros(2, 3, least + 32, least + 64)
    # At crop size a map is 1x1. PyTorch guards each size against being 1 (for memory layouts, without effect here),
    # which would exclude the crop size; `backed_size_oblivious` switches the guard off.
    with config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        return torch.export.export(as_sequence(net), (example,), dynamic_shapes=(shape,))


def _least_px(net: VGG) -> int:
    return 32 if net.architecture.convolutions_only else net.architecture.crop_px


def _write_torch(net: VGG, out: Path, description: Description) -> None:
    content = io.BytesIO()  # on a full disk PyTorch's own writing ends the whole process
    torch.export.save(_program(net), content, extra_files={f"{METADATA}.json": json.dumps(description)})
    out.write_bytes(content.getbuffer())


def _write_onnx(net: VGG, out: Path, description: Description) -> None:
    torch.onnx.export(
        _program(net),
        (),
        str(out),
        dynamo=True,
        external_data=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    _complete_onnx(out, description)


def _complete_onnx(file: Path, description: Description) -> None:
    """Name the free sizes batch, height and width, which PyTorch's exporter numbers (s34, s14, s54); add metadata."""
    onnx = _package("onnx", "onnx")
    model = onnx.load(file)
    names = {}
    for place, name in ((0, "batch"), (2, "height"), (3, "width")):
        names[model.graph.input[0].type.tensor_type.shape.dim[place].dim_param] = name
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"\w+", lambda found: names.get(found[0], found[0]), size.dim_param)
    onnx.helper.set_model_props(model, _as_texts(description))
    onnx.save(model, file)


def _as_texts(description: Description) -> dict[str, str]:
    """Return the description as metadata: texts unchanged, the rest as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in description.items()}


def _write_openvino(net: VGG, out: Path, description: Description) -> None:
    openvino = _package("openvino", "openvino")
    converted = openvino.convert_model(_program(net))
    converted.inputs[0].get_tensor().set_names({INPUT})
    converted.outputs[0].get_tensor().set_names({OUTPUT})
    for key, text in _as_texts(description).items():
        converted.set_rt_info(text, [METADATA, key])
    openvino.save_model(converted, str(out), compress_to_fp16=False)


def _torch_runtimes(file: Path) -> dict[str, Runtime]:
    module = torch.export.load(file).module()
    return {"torch.export": lambda images: module(torch.from_numpy(images)).numpy()}


def _onnx_runtimes(file: Path) -> dict[str, Runtime]:
    """Return onnxruntime, and where it is installed OpenVINO."""
    session = _package("onnxruntime", "onnx").InferenceSession(str(file), providers=["CPUExecutionProvider"])
    own: dict[str, Runtime] = {"onnxruntime": lambda images: session.run([OUTPUT], {INPUT: images})[0]}
    return own | _openvino_runtimes(file) if is_installed("openvino") else own


def _openvino_runtimes(file: Path) -> dict[str, Runtime]:
    # fp32, as the net: the plug-in takes bf16 by itself where the processor has it
    core = _package("openvino", "openvino").Core()
    compiled = core.compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {"OpenVINO": lambda images: compiled(images)[0]}


def _package(name: str, extra: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise missing_package("this", name, extra) from error


def _largest_gap(net: VGG, run: Runtime) -> tuple[float, str]:
    """Return the largest difference of scores, as a part of the largest score, over three sizes; and the sizes."""
    least = _least_px(net)
    sizes = [(1, least, least), (2, least + 32, least + 75), (1, least + 101, least)]
    generator = torch.Generator().manual_seed(0)
    gap = 0.0
    for batch, height, width in sizes:
        deviation = torch.tensor(net.description.preprocessing.deviation).view(3, 1, 1)
        images = 60 * torch.randn(batch, 3, height, width, generator=generator) / deviation
        with torch.no_grad():
            expected = (net.forward_features(images) if net.architecture.convolutions_only else net(images)).numpy()
        found = np.asarray(run(images.numpy()))
        if found.shape != expected.shape:
            raise UserError(f"the exported net gives {found.shape} for {height}x{width}, the net {expected.shape}")
        far = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
        gap = math.inf if math.isnan(far) else max(gap, far)  # max() would pass over NaN
    return gap, ", ".join(f"{batch}x{height}x{width}" for batch, height, width in sizes)


def _description(net: VGG, form: str) -> Description:
    """Return what the user of the file has to know: input, output, classes, description."""
    preprocessing = net.description.preprocessing
    mean, deviation = for_unit_pixels(preprocessing)
    return {
        "format": form,
        "input": {
            "name": INPUT,
            "shape": ["batch", 3, "height", "width"],
            "least_px": _least_px(net),
            "channels": "RGB",
            "pixels_0_255": asdict(preprocessing),
            "pixels_0_1": {"mean": mean, "deviation": deviation},
            "formula": "(pixel - mean) / deviation",
        },
        "output": {
            "name": OUTPUT,
            "shape": ["batch", "classes" if _names_classes(net) else "channels", "rows", "columns"],
            "meaning": _meaning(net),
        },
        "trained_with": asdict(net.description.policy),
        "classes": list(net.description.classes),
        "class_titles": list(net.description.class_titles),
        "description": net.description.to_dict(),
    }


def _names_classes(net: VGG) -> bool:
    return not (net.architecture.convolutions_only or net.description.boxes)


def _meaning(net: VGG) -> str:
    """Describe the output and how to use it."""
    if net.architecture.convolutions_only:
        return "the pool5 map, after its ReLU: the net has convolutions only"
    if net.description.boxes:
        classes = "" if net.description.boxes == "scr" else " for each class in turn"
        return f"box coordinates, four{classes}, of the crop at each position (Appendix A): {BOX_UNITS}"
    return "class scores at each position: posteriors are the soft-max of their mean over rows and columns"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' warnings, which are about later versions; the file is checked."""
    names = ("torch.onnx", "onnxscript", "torch.export", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


EXPORTERS = {
    "onnx": Exporter(".onnx", ("onnx", "onnxscript", "onnxruntime"), _write_onnx, _onnx_runtimes),
    "torch-export": Exporter(".pt2", (), _write_torch, _torch_runtimes),
    "openvino": Exporter(".xml", ("openvino",), _write_openvino, _openvino_runtimes),
}
SUFFIXES = {form: exporter.suffix for form, exporter in EXPORTERS.items()}
