"""quantize."""

from vggnet.commands.inputs import check_images, check_models
from vggnet.evaluation.quantizing import quantize_on_images
from vggnet.options.quantization import QuantizeOptions


def quantize(options: QuantizeOptions) -> None:
    """`vggnet quantize`."""
    usage = "vggnet quantize MODEL DATA"
    check_models([options.model], usage)
    check_images([options.data], usage)
    quantize_on_images(options)
