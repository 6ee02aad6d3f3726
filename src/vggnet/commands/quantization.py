"""quantize."""

from vggnet.options.quantization import QuantizeOptions
from vggnet.quantizing import quantize_on_images


def quantize(options: QuantizeOptions) -> None:
    """`vggnet quantize`."""
    quantize_on_images(options)
