"""A net prepared for inference in fp32 on a CPU; how much faster than its layers one by one: docs/speed.md.

Notable:
- Batch normalisation, in evaluation a scale and a shift, becomes part of the convolution before it.
- A ReLU overwrites the convolution's output, and the first stages run a few images at a time (`piecewise`): what limits
  them is memory. Without batch normalisation the result is the same to the bit.
- Convolutions are PyTorch's own. oneDNN's packed fp32 weights with a ReLU in the same pass were slower (0.7 to 0.9
  times, Zen without AVX-512).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.backends.eager import EagerVGG
from vggnet.backends.layout import channels_last
from vggnet.backends.piecewise import through_convolutions
from vggnet.backends.prepared import with_normalization
from vggnet.network.vgg import VGG, check_images
from vggnet.paper.configurations import TOTAL_STRIDE_PX, Layer


class FoldedVGG(EagerVGG):
    """`model`'s function for inference on a CPU in fp32.

    It holds the model's own weights, but for convolutions before a batch normalisation: theirs are copies, which do not
    follow later changes of the model.
    """

    compiles = False

    def __init__(self, model: VGG) -> None:
        super().__init__(model)
        if not self.architecture.batch_norm:
            return
        with torch.inference_mode(False), torch.no_grad():
            for layer in self.architecture.convolutions():
                self._replace(layer.name, _folded(model, layer))
                self._replace(layer.norm, nn.Identity())

    def forward_features(self, images: Tensor) -> Tensor:
        check_images(images, TOTAL_STRIDE_PX)
        return through_convolutions(self, images)

    def convolve(self, layer: Layer, x: Tensor) -> Tensor:
        convolution = self.get_submodule(layer.name)
        x = convolution(x)
        if layer.normalized:
            x = self.get_submodule(layer.lrn)(F.relu(x))
            return F.max_pool2d(x, 2) if layer.pool else x
        if layer.pool:
            return F.max_pool2d(x, 2).relu_()
        return F.relu(x) if convolution._forward_hooks else x.relu_()  # a hook may keep the convolution's output


def _folded(model: VGG, layer: Layer) -> nn.Conv2d:
    """Return a convolution of `model` with the batch normalisation after it."""
    weight, bias = with_normalization(model, layer)
    with torch.device("meta"):
        folded = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, padding=layer.padding)
    folded.weight = nn.Parameter(channels_last(weight), requires_grad=False)
    folded.bias = nn.Parameter(bias, requires_grad=False)
    return folded
