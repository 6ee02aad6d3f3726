"""Read, write, export and quantize nets from Python: `convert`, `export`, `quantize`."""

from dataclasses import dataclass
from pathlib import Path

from vggnet.api.arguments import like_command, options_of
from vggnet.evaluation.quantizing import QuantizeResult, quantize_on_images
from vggnet.formats.converting import convert_as_asked
from vggnet.formats.exporting import export_model
from vggnet.network.vgg import VGG
from vggnet.network.weights import check_outputs
from vggnet.options.choices import ExportFormat, Layout, Orientation
from vggnet.options.quantization import QuantizeOptions
from vggnet.options.weights import ConvertOptions, ExportOptions


@like_command(ConvertOptions)
def convert(
    file: str | Path,
    layout: Layout,
    *,
    preprocessing: str | Path | None = None,
    classes: str | Path | None = None,
    net: str | None = None,
    convolutions_only: bool = False,
    orientation: Orientation | None = None,
    pixel_range: tuple[int, int] | None = None,
) -> VGG:
    """Return another library's VGG with its weights, preprocessing and classes; nothing is written.

    `vggnet.save_pretrained(model, folder)` writes it as `vggnet convert` does, with which every command can use it.

    Returns:
        The net in evaluation mode; its `description` says what the pixels and the outputs are.

    Raises:
        UserError: for a file that is hostile, damaged or not a VGG, and where the preprocessing is not known.

    Example:
        >>> model = vggnet.convert("runs/A", "vggnet", convolutions_only=True)
        >>> model.architecture.convolutions_only
        True
    """
    model = convert_as_asked(options_of(ConvertOptions, locals(), out="")).model
    check_outputs(model)
    return model


@dataclass(frozen=True)
class ExportResult:
    """The exported file, the JSON beside it (preprocessing, classes, shapes), and in words what was checked."""

    file: Path
    description: Path
    report: tuple[str, ...]


@like_command(
    ExportOptions,
    model="A net, or a run folder, a model folder, a weight file or a name such as vgg16.",
    out="The file to write; it ends in .onnx, .pt2 (torch-export) or .xml (openvino).",
)
def export(model: VGG | str | Path, out: str | Path, *, format: ExportFormat = "onnx") -> ExportResult:
    """Write a net for other runtimes: fully convolutional, any batch and image size; checked after writing.

    Returns:
        The file and its description.

    Raises:
        UserError: for a package that is missing, and for a file that does not give the scores of the net.

    Example:
        >>> exported = vggnet.export("runs/A", "A.pt2", format="torch-export")
        >>> exported.description.name
        'A.json'
    """
    options = options_of(ExportOptions, {"out": out, "format": format}, model="" if isinstance(model, VGG) else model)
    assert options.out is not None
    report = export_model(model if isinstance(model, VGG) else options.model, options.out, options.format)
    return ExportResult(options.out, options.out.with_suffix(".json"), tuple(report))


@like_command(QuantizeOptions)
def quantize(
    model: str | Path,
    data: str | Path,
    *,
    out: str | Path,
    images: int = 256,
    test_scale: int | None = None,
    mirror: bool | None = None,
    workers: int | None = None,
    seed: int = 0,
) -> QuantizeResult:
    """Prepare a net for inference in 8-bit integers on a CPU, calibrated on images, and print what int8 costs.

    Returns:
        The folder of the model; and of the labelled val images the wrong answers before and after, and a paired test
        of the two (all None without such images).

    Raises:
        UserError: for a model, images or arguments that cannot be used, and for a CPU without 8-bit arithmetic.

    Example:
        >>> result = vggnet.quantize("runs/A", "photos", out="runs/A-int8")
        >>> result.after.images
        12
    """
    return quantize_on_images(options_of(QuantizeOptions, locals()))
