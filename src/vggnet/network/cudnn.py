"""A net made ready for inference in bf16 on an NVIDIA GPU.

Notable:
- Convolution, bias and ReLU are one cuDNN kernel (`torch.cudnn_convolution_relu`): run one after another they cost more
  memory traffic than the convolution itself. Nothing is compiled, so images may have any size.
- Weights are cast to bf16 and laid out channels-last once; batch normalisation goes into the convolution before it.
- The image gets five channels of zeros: cuDNN's tensor-core kernels read channels by eight.

Written without a GPU at hand; its wiring is tested on a CPU, its speed was not measured (docs/speed.md).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.network.prepared import PreparedVGG, as_map, flat_patches, flat_weight, with_normalization
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Layer

IMAGE_CHANNELS = 8  # of which three are the image's


class CudnnVGG(PreparedVGG):
    """`model`'s function in bf16 on the GPU that its weights lie on."""

    pool_map: Callable[[Tensor], Tensor]  # PyTorch's writes 64 bits of index beside each value; `kernels` has another

    def __init__(self, model: VGG) -> None:
        super().__init__(model)
        self.pool_map = partial(F.max_pool2d, kernel_size=2)

    def _make_convolution(self, model: VGG, layer: Layer) -> nn.Module:
        return _Convolution(*with_normalization(model, layer), layer.padding)

    def _make_linear(self, model: VGG, layer: Layer) -> nn.Module:
        return _Linear(*flat_weight(model, layer), layer.kernel)

    def _pool(self, x: Tensor) -> Tensor:
        return self.pool_map(x)


class _Convolution(nn.Module):
    """Convolution, bias and ReLU in one kernel."""

    def __init__(self, weight: Tensor, bias: Tensor, padding: int) -> None:
        super().__init__()
        self.of_image = weight.shape[1] == 3
        if self.of_image:
            weight = F.pad(weight, (0, 0, 0, 0, 0, IMAGE_CHANNELS - 3))
        self.weight = weight.detach().to(torch.bfloat16, memory_format=torch.channels_last)
        self.bias = bias.detach().to(torch.bfloat16)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        if self.of_image:
            x = with_zero_channels(x, torch.bfloat16)
        return convolution_relu(x, self.weight, self.bias, self.padding)


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


def convolution_relu(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """relu(convolution + bias) in one kernel, all in one type and channels_last."""
    y: Tensor = torch.cudnn_convolution_relu(x, weight, bias, [1, 1], [padding, padding], [1, 1], 1)
    return y


def with_zero_channels(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images (N, 3, H, W) -> (N, 8, H, W) in `dtype` and channels_last, the added channels zero; in one copy."""
    shape = (len(images), IMAGE_CHANNELS, *images.shape[-2:])
    padded = torch.empty(shape, dtype=dtype, device=images.device, memory_format=torch.channels_last).zero_()
    padded[:, :3] = images
    return padded
