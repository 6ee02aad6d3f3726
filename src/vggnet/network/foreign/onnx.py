"""VGGs out of ONNX graphs: the graph says the layers' order, whatever they are called.

Notable: only the operators that a VGG is made of are accepted, and the poolings must stand where Table 1 has them: a
graph that merely begins like a VGG is not read as one. Batch normalisation that an exporter has folded into its
convolutions stays folded, which is the same net.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vggnet.errors import UserError
from vggnet.network.foreign.layers import ForeignLayer, Norm

WEIGHTS = ("Conv", "Gemm", "MatMul")
SHAPES = (
    *("Constant", "Shape", "Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Cast"),
    *("Identity", "Dropout", "Transpose", "ConstantOfShape", "Expand", "ReduceProd", "Mul", "Div", "Sub"),
)
OTHERS = ("Relu", "MaxPool", "BatchNormalization", "LRN", "Add", "Softmax")
POOLED = ("AveragePool", "GlobalAveragePool", "ReduceMean")  # of a head; the identity at crop size


def read_onnx(path: str | Path) -> tuple[list[ForeignLayer], list[int], bool]:
    """Layers in the graph's order, after how many of them each max-pooling stands, and whether there is an LRN.

    UserError for a file that is none, or has operators that no VGG has.
    """
    path = Path(path)
    try:
        import onnx  # type: ignore[import-not-found, import-untyped, unused-ignore]
        from onnx import numpy_helper
    except ImportError as error:
        raise UserError("ONNX files are read with the onnx package: pip install 'vggnet[onnx]'") from error
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
    reader = _Reader(path, values)
    for node in graph.node:
        reader.take(node)
    return reader.layers, reader.pools, reader.response_normalization


class _Reader:
    """Collects weight layers node by node (ONNX nodes are in topological order)."""

    def __init__(self, path: Path, values: dict[str, np.ndarray]) -> None:
        self.path, self.values = path, values
        self.layers: list[ForeignLayer] = []
        self.pools: list[int] = []
        self.response_normalization = False

    def take(self, node: Any) -> None:
        kind = node.op_type
        if kind == "Conv":
            self._convolution(node)
        elif kind in ("Gemm", "MatMul"):
            self._dense(node)
        elif kind == "Add":
            self._bias(node)
        elif kind == "BatchNormalization":
            self._norm(node)
        elif kind == "MaxPool":
            sizes = (_attribute(node, "kernel_shape", [2, 2]), _attribute(node, "strides", [1, 1]))
            if sizes != ([2, 2], [2, 2]) or any(_attribute(node, "pads", [0])):
                raise UserError(f"{self.path}: {node.name} pools otherwise than a VGG (2x2, stride 2)")
            self.pools.append(len(self.layers))
        elif kind == "LRN":
            self.response_normalization = True
        elif kind not in (*SHAPES, *OTHERS, *POOLED):
            raise UserError(f"{self.path}: the operator {kind} ({node.name}) is in no VGG: not read as one")

    def _convolution(self, node: Any) -> None:
        weight = self._value(node.input[1], node)
        odd = {"group": 1, "strides": [1, 1], "dilations": [1, 1]}
        if weight.dim() != 4 or any(_attribute(node, name, usual) != usual for name, usual in odd.items()):
            raise UserError(f"{self.path}: {node.name} is no convolution of a VGG (stride, groups or dilation)")
        bias = self._value(node.input[2], node) if len(node.input) > 2 and node.input[2] else None
        self.layers.append(ForeignLayer(node.input[1], weight, bias))

    def _dense(self, node: Any) -> None:
        weight = self._value(node.input[1], node)
        if _attribute(node, "alpha", 1.0) != 1.0 or _attribute(node, "beta", 1.0) != 1.0:
            raise UserError(f"{self.path}: {node.name} scales its product: in no VGG")
        given = tuple(weight.shape)
        if not (node.op_type == "Gemm" and _attribute(node, "transB", 0)):
            weight = weight.t()
        bias = self._value(node.input[2], node) if node.op_type == "Gemm" and len(node.input) > 2 else None
        self.layers.append(ForeignLayer(node.input[1], weight, bias, given_shape=given))

    def _bias(self, node: Any) -> None:
        """A MatMul's bias is an Add after it."""
        known = [name for name in node.input if name in self.values]
        if len(known) == 1 and self.layers and self.layers[-1].bias is None:
            self.layers[-1].bias = self._value(known[0], node).flatten()
        elif any(self.values[name].dtype.kind == "f" for name in known):
            raise UserError(f"{self.path}: {node.name} adds something that is no layer's bias: not a VGG")

    def _norm(self, node: Any) -> None:
        if not self.layers:
            raise UserError(f"{self.path}: {node.name} normalises before any convolution: not a VGG")
        weight, bias, mean, variance = (self._value(name, node) for name in node.input[1:5])
        self.layers[-1].norm = Norm(weight, bias, mean, variance, _attribute(node, "epsilon", 1e-5))

    def _value(self, name: str, node: Any) -> Tensor:
        if name not in self.values:
            raise UserError(f"{self.path}: {node.name}'s {name} is computed and not stored: not read")
        array = self.values[name]
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))


def _attribute(node: Any, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            if attribute.ints:
                return list(attribute.ints)
            return attribute.f if attribute.type == 1 else attribute.i
    return default
