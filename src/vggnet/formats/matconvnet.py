"""Read MatConvNet's nets (imagenet-vgg-verydeep-16.mat): layers in order, class names and the mean.

`layers{i}` is a structure with type, name, weights = {filters (H, W, in, out), biases}, pad and stride; in older files
filters and biases stand in place of weights. FC layers are convolutions.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vggnet.errors import UserError
from vggnet.formats.inputs import InputConvention
from vggnet.formats.layers import ForeignLayer, Found
from vggnet.formats.untrusted import LARGEST_BYTES
from vggnet.mat5 import Damaged, read_mat

_WANTED = ("layers", "meta", "classes", "normalization", "params")
_PASSED_OVER = ("softmax", "softmaxloss", "loss", "dropout")


def read_matconvnet(path: Path) -> Found:
    """Read a MatConvNet file of the form "simplenn". Raises UserError for a damaged file, or another kind of net."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    content = _load(path)
    net = Found(pools=[], relus=[])
    items = content.get("layers")
    if not isinstance(items, list) or not items:
        kind = (
            "a DagNN of MatConvNet: only nets of its simplenn form are read" if "params" in content else "none of its"
        )
        raise UserError(f"{path}: no layers{{i}} in it: {kind} (imagenet-vgg-verydeep-16.mat is one)")
    for item in items:
        _take(net, path, item)
    if not net.layers:
        raise UserError(f"{path}: no layers with weights in it")
    net.check_relus(str(path))
    about = content.get("meta")
    _read_classes(net, _part(about, "classes", content))
    _read_mean(net, path, _part(about, "normalization", content))
    return net


def _load(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        beginning = file.read(16)
    if beginning.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise UserError(f"{path}: a MATLAB 7.3 file, which is HDF5: save it in MATLAB with -v7")
    try:
        return read_mat(path, _WANTED, LARGEST_BYTES)
    except Damaged as error:
        raise UserError(f"{path}: refused: not a whole MATLAB file ({error})") from error


def _take(net: Found, path: Path, layer: Any) -> None:
    """Add one layer of the file to `net`."""
    kind, name = _text(_get(layer, "type")), _text(_get(layer, "name")) or f"layer {len(net.layers) + 1}"
    if kind == "relu":
        net.add_relu()
    elif kind == "pool":
        sides = {*_integers(_get(layer, "pool")), *_integers(_get(layer, "stride"))}
        if sides - {2} or _text(_get(layer, "method")) not in ("", "max"):
            raise UserError(f"{path}: {name} pools otherwise than a VGG, which takes the maximum of 2x2 at stride 2")
        net.add_pool()
    elif kind == "conv":
        filters, biases = _weights(path, name, layer)
        if set(_integers(_get(layer, "stride"))) - {1} or set(_integers(_get(layer, "dilate"))) - {1}:
            raise UserError(f"{path}: {name} has a stride or dilation other than 1, a VGG's are 1")
        paddings = set(_integers(_get(layer, "pad")))
        if len(paddings) > 1:
            raise UserError(f"{path}: {name} is padded by {sorted(paddings)}; a VGG pads all sides alike")
        given = tuple(filters.shape)
        weight = _tensor(path, name, filters.reshape(given + (1,) * (4 - filters.ndim))).permute(3, 2, 0, 1)
        bias = None if biases is None else _tensor(path, name, biases).flatten()
        padding = paddings.pop() if paddings else None
        notes = ["out channels first"]
        net.layers.append(ForeignLayer(name, weight, bias, given_shape=given, padding=padding, notes=notes))
    elif kind not in _PASSED_OVER:
        raise UserError(f"{path}: {name} is a layer of another kind ({kind or 'unknown'}) than conv, relu, pool")


def _weights(path: Path, name: str, layer: Any) -> tuple[np.ndarray, np.ndarray | None]:
    cell = _get(layer, "weights")
    parts = cell if isinstance(cell, list) else []
    if not parts:
        parts = [part for part in (_get(layer, "filters"), _get(layer, "biases")) if part is not None]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if not 1 <= len(arrays) <= 2 or len(arrays) != len(parts) or not 2 <= arrays[0].ndim <= 4:
        raise UserError(f"{path}: {name} has no {{filters, biases}} as arrays")
    return arrays[0], arrays[1] if len(arrays) == 2 else None


def _tensor(path: Path, name: str, array: np.ndarray) -> Tensor:
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise UserError(f"{path}: {name} has weights of type {array.dtype}: not single or double")
    return torch.from_numpy(array)


def _read_classes(net: Found, classes: Any) -> None:
    """Take the classes' names and titles, if there is one for each output and none twice."""
    outputs = net.layers[-1].shape[0]
    names, titles = _texts(_get(classes, "name")), _texts(_get(classes, "description"))
    if len(names) == outputs == len(set(names)):
        net.names = tuple(names)
        net.titles = tuple(titles) if len(titles) == outputs else ()
        net.notes.append(f"{outputs:,} class names from meta.classes")


def _read_mean(net: Found, path: Path, normalization: Any) -> None:
    """Take the mean colour (RGB) of averageImage, which is one pixel or an image."""
    average = _get(normalization, "averageImage")
    if not isinstance(average, np.ndarray) or average.dtype.kind not in "fu" or average.size < 3:
        return
    pixels = average.reshape(-1, 3) if average.ndim == 3 and average.shape[2] == 3 else average.reshape(1, -1)
    if pixels.shape[1] != 3:
        return
    red, green, blue = (float(value) for value in pixels.astype(np.float64).mean(0))
    if not all(map(math.isfinite, (red, green, blue))):
        raise UserError(f"{path}: averageImage has values that are not finite")
    net.convention = InputConvention("RGB", 1.0, (red, green, blue))
    if not np.allclose(pixels, pixels[0]):
        net.notes.append("averageImage differs from pixel to pixel: its mean colour is subtracted in its place")


def _part(about: Any, name: str, content: dict[str, Any]) -> Any:
    """Return a part of `meta`; older files have it beside the layers."""
    found = _get(about, name)
    return content.get(name) if found is None else found


def _get(structure: Any, name: str) -> Any:
    """Return a structure's field; None where it has none."""
    return structure.get(name) if isinstance(structure, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [_text(each) for each in value] if isinstance(value, list) else []


def _integers(value: Any) -> list[int]:
    numeric = isinstance(value, np.ndarray) and np.isfinite(value).all()
    return [int(each) for each in value.flat] if numeric else []
