"""Options of convert and export. Field texts are the help texts; those of shared options are theirs (`common`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from vggnet.options.common import ModelInput, Orientation, option

_PREPROCESSING = (
    "What the net was trained on: torchvision (RGB 0..1, ImageNet mean and deviation), caffe (BGR, mean), paper (RGB, "
    "mean), tf (-1..1), unit (0..1), or a JSON file with order, scale, mean, deviation."
)


@dataclass(frozen=True)
class ConvertOptions:
    """Bring another library's VGG in, with its preprocessing and classes; or write one in another library's layout."""

    file: Positional[Path]
    """.pth, .safetensors, .h5, .keras, .onnx, .caffemodel, .npy, .npz, .mat; or, with --layout vggnet, a run or model
    folder."""
    out: Path
    """A folder, to be used wherever a MODEL is asked for."""
    layout: Literal["torchvision", "timm", "keras", "onnx", "caffe", "matconvnet", "vggnet"]
    """Whose names and shapes the file has."""
    preprocessing: Annotated[str | None, option(_PREPROCESSING, default="what the file, or one beside it, says")] = None
    classes: Annotated[Path | None, option(default="what the file, or one beside it, says, or none")] = None
    """Class names in the order of the outputs: a line each, or a JSON list."""
    net: Annotated[str | None, option(default="by its shapes", metavar="NET")] = None
    """Which net it is where shapes do not decide: A-LRN."""
    convolutions_only: bool = False
    """Leave the FC layers out."""
    orientation: Annotated[Orientation | None, option(default="apply; with --layout vggnet as the file has it")] = None
    """What to do about the EXIF orientation of the images that the net is given: apply or ignore it."""
    pixel_range: Annotated[
        tuple[int, int] | None, option(default="0 65535; with --layout vggnet as the file has it", metavar="LOW HIGH")
    ] = None
    """Which values of 16-bit pixels become black and white: 0 4095 for 12 bits."""
    to: Literal["vggnet", "torchvision", "timm"] = "vggnet"
    """The layout to write."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a net for other runtimes: fully convolutional, any batch and image size, checked after writing."""

    model: ModelInput
    format: Literal["onnx", "torch-export", "openvino"] = "onnx"
    """What to write."""
    out: Annotated[Path | None, option(default="the model's name with .onnx, .pt2 or .xml")] = None
    """The file. Its description lies beside it as .json."""
