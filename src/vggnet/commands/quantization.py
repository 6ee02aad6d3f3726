"""quantize."""

from vggnet.commands.inputs import check_images, check_models
from vggnet.options.quantization import QuantizeOptions
from vggnet.quantizing import quantize_on_images


def quantize(options: QuantizeOptions) -> None:
    """`vggnet quantize`."""
    usage = "vggnet quantize MODEL DATA"
    check_models([options.model], usage)
    check_images([options.data], usage)
    quantize_on_images(options)
