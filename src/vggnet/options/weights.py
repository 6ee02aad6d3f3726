"""Options of convert and export. The text below a field is its help; texts that commands share are in `common`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from vggnet.options.choices import ExportFormat, Layout, Orientation, WrittenLayout
from vggnet.options.common import ModelInput, option
from vggnet.options.models import Models

_PREPROCESSING = (
    "Which input the net was trained with. torchvision: RGB from 0 to 1, ImageNet's mean and deviation; caffe: BGR "
    "from 0 to 255 minus ImageNet's mean; paper: the same in RGB; tf: RGB from -1 to 1; unit: RGB from 0 to 1; or a "
    "JSON file with order, scale, mean and deviation (docs/weights.md)."
)


@dataclass(frozen=True)
class ConvertOptions:
    """Convert another library's VGG weights, with preprocessing and classes, into a model folder.

    With --to torchvision or --to timm, write weights in the layout of that library."""

    file: Positional[
        Annotated[
            Path,
            Models(),
            option(
                "The weights: .pth, .safetensors, .h5, .keras, .onnx, .caffemodel, .npy, .npz or .mat. With --layout "
                "vggnet also a run folder, a model folder or a name such as vgg16."
            ),
        ]
    ]
    out: Path
    """A folder for the result. With --to vggnet, other commands take it as MODEL."""
    layout: Layout
    """The library or format whose names and shapes FILE has; vggnet for a run folder, a model folder or a name."""
    preprocessing: Annotated[
        str | None,
        option(_PREPROCESSING, default="as FILE, or a file beside it, states; else it must be given", metavar="NAME"),
    ] = None
    classes: Annotated[Path | None, option(default="as FILE, or a file beside it, states; else none")] = None
    """A file of class names in the order of the net's outputs (one name a line, or a JSON list), or imagenet."""
    net: Annotated[str | None, option(default="recognised by the shapes", metavar="NET")] = None
    """The net, if the shapes of the weights do not tell which it is: A-LRN has the shapes of A."""
    convolutions_only: Annotated[bool, option(default="off")] = False
    """Leave the FC layers out; the result ends at pool5."""
    orientation: Annotated[Orientation | None, option(default="apply; with --layout vggnet that of FILE")] = None
    """For photographs with an EXIF orientation. apply: turn them upright; ignore: use the pixels as they are stored."""
    pixel_range: Annotated[
        tuple[int, int] | None, option(default="0 65535; with --layout vggnet that of FILE", metavar="LOW HIGH")
    ] = None
    """For images of 16 bits a channel: the values that stand for black and for white, such as 0 4095 for 12 bits."""
    to: WrittenLayout = "vggnet"
    """The library in whose layout the weights are written."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a net for other runtimes. Batch size, height and width of its input are variable.

    No side may be smaller than the crop of the net. The file is compared with the net after writing."""

    model: ModelInput
    format: ExportFormat = "onnx"
    """The format of the file."""
    out: Annotated[Path | None, option(default="the model's name with .onnx, .pt2 or .xml, in the current folder")] = (
        None
    )
    """The file. Preprocessing, classes and layers are described in a .json file of the same name."""
