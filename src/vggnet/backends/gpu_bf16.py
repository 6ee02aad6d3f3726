"""A net prepared for inference in bf16 on an NVIDIA GPU, on cuDNN's fused convolution.

Notable:
- Convolution, bias and ReLU are one cuDNN kernel (`torch.cudnn_convolution_relu`). Three kernels would move more memory
  than the convolution alone. Nothing is compiled, so images may have any size.
- Weights are cast to bf16 and laid out channels-last once; batch normalisation goes into the convolution before it.
- conv1_1 and pooling are kernels of our own where Triton works (`kernels`). Elsewhere the image gets five channels of
  zeros, since cuDNN's tensor-core kernels read channels by eight, and pooling is PyTorch's, which writes 64 bits of
  index beside each value.

Its layers are tested on a CPU with cuDNN's kernel written out. Its speed is not yet measured (docs/speed.md), so only
`--precision bf16-cudnn` uses it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.backends.prepared import PreparedVGG, as_map, flat_patches, flat_weight, with_normalization
from vggnet.errors import reason_of
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Layer

IMAGE_CHANNELS = 8  # of which three are the image's


class CudnnVGG(PreparedVGG):
    """`model`'s function in bf16 on the GPU that its weights lie on; with `kernels`, by our own where they are."""

    def __init__(self, model: VGG, *, kernels: bool) -> None:
        self.kernels = kernels
        super().__init__(model)

    def _make_convolution(self, model: VGG, layer: Layer) -> nn.Module:
        weight, bias = with_normalization(model, layer)
        if layer.name != "conv1_1":
            return _Convolution(weight, bias, layer.padding)
        return _ImageConvolution(weight, bias) if self.kernels else _PaddedConvolution(weight, bias, layer.padding)

    def _make_linear(self, model: VGG, layer: Layer) -> nn.Module:
        return _Linear(*flat_weight(model, layer), layer.kernel)

    def _pool(self, x: Tensor) -> Tensor:
        if not self.kernels:
            return F.max_pool2d(x, 2)
        from vggnet.backends.kernels.elementwise import pool  # only where Triton is

        return pool(x)


class _Convolution(nn.Module):
    """Convolution, bias and ReLU in one kernel."""

    def __init__(self, weight: Tensor, bias: Tensor, padding: int) -> None:
        super().__init__()
        self.weight = weight.detach().to(torch.bfloat16, memory_format=torch.channels_last)
        self.bias = bias.detach().to(torch.bfloat16)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return convolution_relu(x, self.weight, self.bias, self.padding)


class _PaddedConvolution(_Convolution):
    """A convolution of images, padded to `IMAGE_CHANNELS` channels with zeros."""

    def __init__(self, weight: Tensor, bias: Tensor, padding: int) -> None:
        super().__init__(F.pad(weight, (0, 0, 0, 0, 0, IMAGE_CHANNELS - 3)), bias, padding)

    def forward(self, x: Tensor) -> Tensor:
        shape = (len(x), IMAGE_CHANNELS, *x.shape[-2:])
        padded = torch.empty(shape, dtype=self.weight.dtype, device=x.device, memory_format=torch.channels_last)
        padded.zero_()[:, :3] = x
        return super().forward(padded)


class _ImageConvolution(nn.Module):
    """A convolution of images by vggnet's own kernel."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = weight.detach().to(torch.bfloat16, memory_format=torch.channels_last)
        self.bias = bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        from vggnet.backends.kernels.first_layer import convolution  # only where Triton is

        return convolution(x, self.weight, self.bias)


class _Linear(nn.Module):
    """A fully connected layer as a matrix product, its weights cast once."""

    def __init__(self, weight: Tensor, bias: Tensor | None, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight = weight.detach().to(torch.bfloat16)
        self.bias = None if bias is None else bias.detach().to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        inputs, positions = flat_patches(x, self.kernel)
        return as_map(F.linear(inputs, self.weight, self.bias), positions)


def convolution_relu(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """Return relu(convolution + bias) by one cuDNN kernel; all tensors have one type and are channels_last."""
    y: Tensor = torch.cudnn_convolution_relu(x, weight, bias, [1, 1], [padding, padding], [1, 1], 1)
    return y


def fused_convolution_unavailable(device: torch.device) -> str | None:
    """Return why `convolution_relu` cannot be used on `device`; None where it gives what PyTorch's operators give.

    PyTorch passes the uninitialised output as the addend, with factor 0. A kernel that computes 0 * addend would
    propagate NaN from there, so the memory that the output takes is filled with NaN first.
    """
    draw = torch.Generator().manual_seed(0)
    try:
        for channels, side in ((64, 56), (512, 14)):
            x, weight = (
                torch.randn(shape, generator=draw).to(device, torch.bfloat16, memory_format=torch.channels_last)
                for shape in ((4, channels, side, side), (channels, channels, 3, 3))
            )
            bias = torch.randn(channels, generator=draw).to(device, torch.bfloat16)
            exact = F.conv2d(x.float(), weight.float(), bias.float(), padding=1).relu()
            torch.full_like(x, torch.nan)  # freed at once: the next map of this size gets its memory
            found = convolution_relu(x, weight, bias, 1)
            if not torch.allclose(found.float(), exact, rtol=1e-2, atol=1e-2 * float(exact.max())):
                return "cuDNN's convolution with bias and ReLU gives other values than PyTorch here"
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AttributeError) as error:
        return reason_of(error)
    return None
