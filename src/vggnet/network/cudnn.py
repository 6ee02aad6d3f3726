"""A net made ready for inference in bf16 on an NVIDIA GPU.

Notable:
- Convolution, bias and ReLU are one cuDNN kernel (`torch.cudnn_convolution_relu`): run one after another they cost more
  memory traffic than the convolution itself. Nothing is compiled, so images may have any size.
- Weights are cast to bf16 and laid out channels-last once; batch normalisation goes into the convolution before it.
- The image gets five channels of zeros: cuDNN's tensor-core kernels read channels by eight.

Written without a GPU at hand; its wiring is tested on a CPU, its speed was not measured (docs/speed.md).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.network.prepared import PreparedVGG, as_map, flat_patches, flat_weight, with_normalization
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Layer

ONES = [1, 1]
IMAGE_CHANNELS = 8  # of which three are the image's


class CudnnVGG(PreparedVGG):
    """`model`'s function in bf16 on the GPU that its weights lie on."""

    def forward_features(self, images: Tensor) -> Tensor:
        self._check_size(images, 1)
        x = images.to(torch.bfloat16, memory_format=torch.channels_last)
        for layer in self._convolutions:
            x = self._convolve(layer, x)
        return x

    def _make_convolution(self, model: VGG, layer: Layer) -> nn.Module:
        return _Convolution(*with_normalization(model, layer), layer.padding)

    def _make_linear(self, model: VGG, layer: Layer) -> nn.Module:
        return _Linear(*flat_weight(model, layer), layer.kernel)

    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2)


class _Convolution(nn.Module):
    """Convolution, bias and ReLU in one kernel."""

    def __init__(self, weight: Tensor, bias: Tensor, padding: int) -> None:
        super().__init__()
        self.missing = IMAGE_CHANNELS - weight.shape[1] if weight.shape[1] == 3 else 0
        weight = F.pad(weight.detach(), (0, 0, 0, 0, 0, self.missing))
        self.weight = weight.to(torch.bfloat16, memory_format=torch.channels_last)
        self.bias = bias.detach().to(torch.bfloat16)
        self.padding = [padding, padding]

    def forward(self, x: Tensor) -> Tensor:
        if self.missing:
            x = F.pad(x, (0, 0, 0, 0, 0, self.missing)).contiguous(memory_format=torch.channels_last)
        y: Tensor = torch.cudnn_convolution_relu(x, self.weight, self.bias, ONES, self.padding, ONES, 1)
        return y


class _Linear(nn.Module):
    """`FullyConnected` with weights cast once."""

    def __init__(self, weight: Tensor, bias: Tensor | None, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight = weight.detach().to(torch.bfloat16)
        self.bias = None if bias is None else bias.detach().to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        inputs, positions = flat_patches(x, self.kernel)
        return as_map(F.linear(inputs, self.weight, self.bias), positions)
