"""Read VGGs from ONNX graphs: the graph gives the layers' order, whatever their names.

Notable: only the operators that a VGG is made of are accepted, and the poolings must stand where Table 1 has them: a
graph that merely begins like a VGG is not read as one. What carries the image is followed through the graph: arithmetic
on it that is no layer's (a mean subtracted inside) is refused, since `--preprocessing` has to be the whole truth, and a
map turned to channels last before the FC layers is told from one that was not. Batch normalisation that an exporter has
folded into its convolutions stays folded, which is the same net.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vggnet.errors import UserError, missing_package
from vggnet.formats.layers import ForeignLayer, Found, Norm, rounding_is_alike
from vggnet.paper.configurations import LRN_ALPHA, LRN_BETA, LRN_K, LRN_NEIGHBOURS

CHANNELS_LAST, CHANNELS_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # a Transpose to them, from the other
SHAPES = (
    *("Constant", "Shape", "Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Cast"),
    *("Identity", "Dropout", "Transpose", "ConstantOfShape", "Expand", "ReduceProd", "Mul", "Div", "Sub"),
)
OTHERS = ("Relu", "MaxPool", "BatchNormalization", "LRN", "Add", "Softmax")
POOLED = ("AveragePool", "GlobalAveragePool", "ReduceMean")  # of the class score map; the identity at crop size


def read_onnx(path: str | Path) -> Found:
    """Read an ONNX graph; it names net A-LRN by its response normalisation.

    Raises UserError for another kind of file, and for operators that a VGG does not have.
    """
    path = Path(path)
    try:
        import onnx  # type: ignore[import-not-found, import-untyped, unused-ignore]
        from onnx import numpy_helper
    except ImportError as error:
        raise missing_package("reading ONNX files", "onnx", "onnx") from error
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    try:
        graph = onnx.load(str(path)).graph
        values = {item.name: np.array(numpy_helper.to_array(item)) for item in graph.initializer}
    except Exception as error:  # protobuf, truncated data, data files outside the folder
        raise UserError(f"{path}: refused: not a whole ONNX model ({type(error).__name__}: {error})") from error
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            values[node.output[0]] = np.array(numpy_helper.to_array(node.attribute[0].t))
        elif node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    images = [item for item in graph.input if item.name not in values]  # old files list their weights, too
    reader = _Reader(
        path, values, [item.name for item in images], all(rounding_is_alike(_size(item)) for item in images)
    )
    for node in graph.node:
        reader.take(node)
    found = Found(reader.layers, reader.pools, reader.relus, "A-LRN" if reader.response_normalization else None)
    found.check_relus(str(path))
    return found


class _Reader:
    """Collect weight layers node by node (ONNX nodes are in topological order)."""

    def __init__(self, path: Path, values: dict[str, np.ndarray], images: list[str], any_rounding: bool) -> None:
        self.path, self.values, self.any_rounding = path, values, any_rounding
        # what carries the image, and whether its channels come last; sizes computed from it (Shape) do not
        self.channels_last: dict[str, bool] = dict.fromkeys(images, False)
        self.layers: list[ForeignLayer] = []
        self.pools: list[int] = []
        self.relus: list[int] = []
        self.response_normalization = False
        self._averaged = False  # the map since the last layer, over its positions

    def take(self, node: Any) -> None:
        kind = node.op_type
        if kind == "Conv":
            self._convolution(node)
        elif kind in ("Gemm", "MatMul"):
            self._dense(node)
        elif kind == "Add":
            self._bias(node)
        elif kind in ("Sub", "Mul", "Div") and self._of_the_image(node):
            raise UserError(
                f"{self.path}: {node.name} ({kind}) changes the image or a map outside of a VGG's layers. "
                "Preprocessing inside the graph is not read: export the net without it, and name it with "
                "`preprocessing`"
            )
        elif kind == "BatchNormalization":
            self._norm(node)
        elif kind == "Relu":
            self.relus.append(len(self.layers))
        elif kind == "MaxPool":
            self._pool(node)
        elif kind == "LRN":
            self._response_normalization(node)
        elif kind in POOLED:
            self._averaged |= self._of_the_image(node) and set(_attribute(node, "kernel_shape", [0])) != {1}
        elif kind not in (*SHAPES, *OTHERS):
            raise UserError(f"{self.path}: the operator {kind} ({node.name}) is none of a VGG's")
        self._follow(node)

    def _of_the_image(self, node: Any) -> bool:
        return any(name in self.channels_last for name in node.input)

    def _follow(self, node: Any) -> None:
        """Mark the node's outputs, if they come from the image."""
        if node.op_type == "Shape" or not self._of_the_image(node):
            return
        last = any(self.channels_last.get(name, False) for name in node.input)
        if node.op_type == "Transpose":
            turn = _attribute(node, "perm", [])
            if turn not in (CHANNELS_LAST, CHANNELS_FIRST):
                raise UserError(f"{self.path}: {node.name} permutes a map by {turn}, not to channels first or last")
            last = turn == CHANNELS_LAST
        elif node.op_type in ("Conv", "MaxPool") and last:
            raise UserError(f"{self.path}: {node.name} gets a map with channels last; expected channels first")
        elif node.op_type in ("Gemm", "MatMul"):
            last = False
        self.channels_last.update(dict.fromkeys(node.output, last))

    def _pool(self, node: Any) -> None:
        sizes = (_attribute(node, "kernel_shape", [2, 2]), _attribute(node, "strides", [1, 1]))
        odd = any(_attribute(node, "pads", [0])) or set(_attribute(node, "dilations", [1])) != {1}
        if sizes != ([2, 2], [2, 2]) or odd:
            raise UserError(
                f"{self.path}: {node.name} pools {sizes[0]} at strides {sizes[1]}; "
                "a VGG pools 2x2 at stride 2, without padding or dilation"
            )
        automatic = _attribute(node, "auto_pad", "NOTSET")
        rounds_up = _attribute(node, "ceil_mode", 0) or automatic not in ("NOTSET", "VALID")
        if rounds_up and not self.any_rounding:
            how = "ceil_mode" if automatic in ("NOTSET", "VALID") else f"auto_pad {automatic}"
            raise UserError(
                f"{self.path}: {node.name} rounds the sizes of maps up ({how}), a VGG down, so that images whose sides "
                "are no multiples of 32 would be described otherwise: export the net for images of 224x224"
            )
        self.pools.append(len(self.layers))

    def _response_normalization(self, node: Any) -> None:
        usual = {"size": LRN_NEIGHBOURS, "alpha": LRN_ALPHA, "beta": LRN_BETA, "bias": LRN_K}
        defaults = {"size": 0, "alpha": 1e-4, "beta": 0.75, "bias": 1.0}  # ONNX's
        odd = [name for name in usual if abs(_attribute(node, name, defaults[name]) - usual[name]) > 1e-6]
        if odd or len(self.layers) != 1:
            raise UserError(f"{self.path}: {node.name} is not net A-LRN's normalisation ({', '.join(odd) or 'place'})")
        self.response_normalization = True

    def _convolution(self, node: Any) -> None:
        weight = self._input(node, 1)
        odd = {"group": 1, "strides": [1, 1], "dilations": [1, 1]}
        if weight.dim() != 4 or any(_attribute(node, name, usual) != usual for name, usual in odd.items()):
            raise UserError(f"{self.path}: {node.name} must be a 2-D convolution with stride, groups and dilation 1")
        bias = self._input(node, 2) if len(node.input) > 2 and node.input[2] else None
        self._add(ForeignLayer(node.input[1], weight, bias, padding=self._padding(node, weight.shape[2])))

    def _add(self, layer: ForeignLayer) -> None:
        layer.averaged, self._averaged = self._averaged, False
        self.layers.append(layer)

    def _padding(self, node: Any, kernel: int) -> int:
        """Return the padding in pixels. Raises UserError where the sides differ."""
        automatic = _attribute(node, "auto_pad", "NOTSET")
        pads = _attribute(node, "pads", [0, 0, 0, 0]) if automatic in ("NOTSET", "VALID") else [kernel // 2]
        if len(set(pads)) != 1:
            raise UserError(f"{self.path}: {node.name} is padded by {pads}; a VGG pads all sides alike")
        return pads[0]

    def _dense(self, node: Any) -> None:
        weight = self._input(node, 1)
        if _attribute(node, "alpha", 1.0) != 1.0 or _attribute(node, "beta", 1.0) != 1.0:
            raise UserError(f"{self.path}: {node.name} has an alpha or beta; in a VGG both are 1")
        given = tuple(weight.shape)
        if not (node.op_type == "Gemm" and _attribute(node, "transB", 0)):
            weight = weight.t()
        bias = self._input(node, 2) if node.op_type == "Gemm" and len(node.input) > 2 else None
        last = self.channels_last.get(node.input[0], False)
        flattened: Literal["CHW", "HWC"] = "HWC" if last else "CHW"
        self._add(ForeignLayer(node.input[1], weight, bias, flattened=flattened, given_shape=given))

    def _bias(self, node: Any) -> None:
        """Take an Add after a MatMul as its bias."""
        known = [name for name in node.input if name in self.values]
        if len(known) == 1 and self.layers and self.layers[-1].bias is None:
            self.layers[-1].bias = self._value(known[0], node).flatten()
        elif self._of_the_image(node):
            raise UserError(f"{self.path}: {node.name} adds to a map what is not a layer's bias")

    def _norm(self, node: Any) -> None:
        if not self.layers:
            raise UserError(f"{self.path}: {node.name} normalises before the first convolution")
        weight, bias, mean, variance = (self._input(node, place) for place in range(1, 5))
        self.layers[-1].norm = Norm(weight, bias, mean, variance, _attribute(node, "epsilon", 1e-5))

    def _input(self, node: Any, place: int) -> Tensor:
        """Return a node's input as a tensor. Raises UserError where the file does not store it."""
        if place >= len(node.input):
            raise UserError(f"{self.path}: {node.op_type} {node.name} has {len(node.input)} inputs: damaged")
        return self._value(node.input[place], node)

    def _value(self, name: str, node: Any) -> Tensor:
        if name not in self.values:
            raise UserError(f"{self.path}: {node.name}'s {name} is computed in the graph; expected a stored tensor")
        array = self.values[name]
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))


def _size(image: Any) -> list[int | None]:
    """Return an input's shape without the batch; None for a side without a number."""
    return [side.dim_value or None for side in image.type.tensor_type.shape.dim][1:]


def _attribute(node: Any, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            if attribute.ints:
                return list(attribute.ints)
            if attribute.type == attribute.STRING:
                return attribute.s.decode(errors="replace")
            return attribute.f if attribute.type == attribute.FLOAT else attribute.i
    return default
