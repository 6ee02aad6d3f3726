"""Options of convert and export. Field texts are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class ConvertOptions:
    """Bring another library's VGG in, with its preprocessing and classes; or write one in another library's layout."""

    file: Positional[Path]
    """.pth, .safetensors, .h5, .keras, .onnx; or a run or model folder with --layout vggnet."""
    out: Path
    """A folder, to be used wherever a MODEL is asked for."""
    layout: Literal["torchvision", "timm", "keras", "onnx", "caffe", "vggnet"]
    """Whose names and shapes the file has."""
    preprocessing: str | None = None
    """What the net was trained on: torchvision (RGB 0..1, ImageNet mean and deviation), caffe (BGR, mean), paper (RGB,
    mean), tf (-1..1), unit (0..1), or a JSON file with order, scale, mean, deviation."""
    classes: Path | None = None
    """Class names in the order of the outputs: a line each, or a JSON list."""
    net: str | None = None
    """Which net it is where shapes do not decide: A-LRN."""
    convolutions_only: bool = False
    """Leave the FC layers out."""
    to: Literal["vggnet", "torchvision", "timm"] = "vggnet"
    """The layout to write."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a net for other runtimes: fully convolutional, any batch and image size, checked after writing."""

    model: Positional[Path]
    """A run, model folder or weight file."""
    format: Literal["onnx", "torch-export", "openvino"] = "onnx"
    """What to write."""
    out: Path | None = None
    """The file; by default the model's name with .onnx, .pt2 or .xml. Its description lies beside it as .json."""
