"""Read the authors' .caffemodel files: weights and the layers they belong to (Caffe's NetParameter).

Read by protobuf's wire format, without Caffe. Both forms of layers are read: V1LayerParameter (2014, that of the
authors' VGG_ILSVRC_16_layers.caffemodel) and LayerParameter. Notable: strides, groups, paddings, poolings and ReLUs are
checked as far as the file says them, since they are not in the shapes.
"""

import math
import mmap
from pathlib import Path

import torch
from torch import Tensor

from vggnet.errors import UserError
from vggnet.formats.layers import ForeignLayer, Found
from vggnet.formats.protobuf import Damaged, Fields, fields, grouped, integer, integers, messages, numbers, text
from vggnet.formats.untrusted import LARGEST_BYTES

MOST_LAYERS = 1000
_V1, _LAYER = 2, 100  # fields of NetParameter
_V1_TYPES = {4: "Convolution", 14: "InnerProduct", 17: "Pooling", 18: "ReLU"}
# fields of a layer: name, type, blobs, and the parameters of convolution, inner product and pooling
_V1_FIELDS, _LAYER_FIELDS = (4, 5, 6, 10, 17, 19), (1, 2, 7, 106, 117, 121)
_CHANGES = {"LRN", "Eltwise", "Concat", "PReLU", "Sigmoid", "TanH", "BatchNorm", "Scale", "Deconvolution", "Power"}


def read_caffemodel(path: Path) -> Found:
    """Read a .caffemodel. Raises UserError for a file of another kind, a truncated one, and another kind of net."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise UserError(f"{path}: refused: {size:,} bytes, more than any VGG")
    if not size:
        raise UserError(f"{path}: refused: the file is empty")
    net, count = Found(relus=[]), 0
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        for number, _, value in fields(content):
            if number in (_V1, _LAYER) and isinstance(value, memoryview):
                count += 1
                if count > MOST_LAYERS:
                    raise Damaged(f"more than {MOST_LAYERS} layers")
                _take(net, path, value, first_version=number == _V1)
    except Damaged as error:
        raise UserError(
            f"{path}: refused: not a whole .caffemodel ({error}): fetch it again; a text file of layers (.prototxt) "
            "holds no weights"
        ) from error
    if not net.layers:
        raise UserError(f"{path}: no layers with weights in it: not a .caffemodel, or one of a deploy description")
    net.check_relus(str(path))
    return net


def _take(net: Found, path: Path, message: memoryview, *, first_version: bool) -> None:
    """Add one layer of the file to `net`."""
    found = grouped(message)
    name_at, type_at, blobs_at, convolution_at, dense_at, pooling_at = _V1_FIELDS if first_version else _LAYER_FIELDS
    if first_version and 1 in found:
        raise UserError(f"{path}: a file of Caffe before 2014: write it anew with Caffe's upgrade_net_proto_binary")
    name = text(found, name_at) or "a layer without a name"
    kind = _V1_TYPES.get(integer(found, type_at, 0), "") if first_version else text(found, type_at)
    blobs = messages(found, blobs_at)
    if kind == "ReLU":
        net.add_relu()
    elif kind == "Pooling":
        _check_pooling(path, name, _parameters(found, pooling_at))
        net.add_pool()
    elif kind in ("Convolution", "InnerProduct"):
        if not 1 <= len(blobs) <= 2:
            raise UserError(f"{path}: {name} has {len(blobs)} blobs; expected a weight, or weight and bias")
        weight, bias = _blob(blobs[0]), _blob(blobs[1]).flatten() if len(blobs) == 2 else None
        if kind == "Convolution":
            padding = _check_convolution(path, name, _parameters(found, convolution_at), weight)
            net.layers.append(ForeignLayer(name, weight, bias, padding=padding))
        else:
            given = tuple(weight.shape)
            if integer(_parameters(found, dense_at), 6, 0):
                raise UserError(f"{path}: {name} stores its weight transposed; expected (outputs, inputs)")
            net.layers.append(ForeignLayer(name, _matrix(path, name, weight), bias, given_shape=given))
    elif blobs or kind in _CHANGES:
        raise UserError(
            f"{path}: {name} is a layer of another kind ({kind or 'unknown'}); a VGG has Convolution, ReLU, Pooling "
            "and InnerProduct"
        )


def _parameters(found: Fields, number: int) -> Fields:
    parts = messages(found, number)
    return grouped(parts[-1]) if parts else {}


def _check_convolution(path: Path, name: str, said: Fields, weight: Tensor) -> int | None:
    """Return the padding, None where the file does not say it. Raises UserError for another kind of convolution."""
    sizes = {
        "stride": integers(said, 6) + integers(said, 13) + integers(said, 14),
        "group": integers(said, 5),
        "dilation": integers(said, 18),
    }
    for what, values in sizes.items():
        if set(values) - {1}:
            raise UserError(f"{path}: {name} has a {what} of {values[0]}, a VGG's has 1")
    if weight.dim() != 4:
        raise UserError(f"{path}: {name}'s weight is {tuple(weight.shape)}; expected (out, in, rows, columns)")
    paddings = set(integers(said, 3) + integers(said, 9) + integers(said, 10))
    if len(paddings) > 1:
        raise UserError(f"{path}: {name} is padded by {sorted(paddings)}; a VGG pads all sides alike")
    return paddings.pop() if paddings else (0 if said else None)


def _check_pooling(path: Path, name: str, said: Fields) -> None:
    if integer(said, 1, 0) != 0:
        raise UserError(f"{path}: {name} pools by another function than the maximum, which a VGG takes")
    if said and (integer(said, 2, 2), integer(said, 3, 1)) != (2, 2):
        raise UserError(
            f"{path}: {name} pools {integer(said, 2, 2)} pixels with a stride of {integer(said, 3, 1)}; "
            "a VGG pools 2 with a stride of 2"
        )


def _blob(message: memoryview) -> Tensor:
    """Return a blob's values in its shape. Raises Damaged where their numbers differ."""
    found = grouped(message)
    shapes = messages(found, 7)
    shape = integers(grouped(shapes[-1]), 1) if shapes else [integer(found, side, 0) for side in (1, 2, 3, 4)]
    values = numbers(found, 5, "<f4")
    if not len(values):
        values = numbers(found, 8, "<f8")
    if min(shape, default=0) < 1 or len(shape) > 5 or math.prod(shape) != len(values):
        raise Damaged(f"a blob of the shape {shape} with {len(values):,} values")
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False).reshape(shape))


def _matrix(path: Path, name: str, weight: Tensor) -> Tensor:
    """Return a dense layer's weight (outputs, inputs); old blobs are (1, 1, outputs, inputs)."""
    sides = [side for place, side in enumerate(weight.shape) if not (side == 1 and place < weight.dim() - 2)]
    if len(sides) != 2:
        raise UserError(f"{path}: {name}'s weight is {tuple(weight.shape)}; expected (outputs, inputs)")
    return weight.reshape(sides)
