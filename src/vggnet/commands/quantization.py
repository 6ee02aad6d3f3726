"""Make a net ready for inference in 8-bit integers (`vggnet quantize`)."""

from vggnet.commands.inputs import check_images, check_models
from vggnet.commands.output import stdout_for_json, write_json
from vggnet.evaluation.quantizing import quantize_on_images
from vggnet.options.quantization import QuantizeOptions


def quantize(options: QuantizeOptions) -> None:
    """Calibrate the model on images, write it, and print what int8 costs in accuracy."""
    usage = "vggnet quantize MODEL DATA"
    check_models([options.model], usage)
    check_images([options.data], usage)
    with stdout_for_json(options.json):
        result = quantize_on_images(options)
    write_json(options.json, result.to_dict())
