"""A net prepared for inference on CPUs that multiply bf16 in hardware; over twice as fast as fp32.

Notable:
- Weights are cast to bf16 and packed in oneDNN's order once, not in every call. Batch normalisation, in evaluation a
  scale and a shift, becomes part of the convolution before it.
- Bias and ReLU are applied while the convolution writes its output, without another pass over memory.
- Pooling is two element-wise maxima of integers. PyTorch's pooling writes an index of 8 bytes for every value of 2.
- The first two stages, whose maps are the largest, run a few images at a time (`piecewise`).

`choose_inference` selects it. `cpu_int8` does the same in 8-bit integers.
"""

import torch
from torch import Tensor, nn

from vggnet.backends.piecewise import through_convolutions
from vggnet.backends.prepared import PreparedVGG, as_map, flat_patches, flat_weight, with_normalization
from vggnet.network.vgg import VGG, check_images
from vggnet.paper.configurations import TOTAL_STRIDE_PX, Layer

ONES = [1, 1]


class FastVGG(PreparedVGG):
    """`model`'s function in bf16, for inference on a CPU. Holds packed weights, no parameters."""

    def _make_convolution(self, model: VGG, layer: Layer) -> nn.Module:
        return _Convolution(*with_normalization(model, layer), layer.padding)

    def _make_linear(self, model: VGG, layer: Layer) -> nn.Module:
        return _Linear(*flat_weight(model, layer), layer.kernel)

    def forward_features(self, images: Tensor) -> Tensor:
        check_images(images, TOTAL_STRIDE_PX)
        return through_convolutions(self, images.to(torch.bfloat16, memory_format=torch.channels_last))

    def _pool(self, x: Tensor) -> Tensor:
        return halve(x)


def halve(x: Tensor) -> Tensor:
    """Return `F.max_pool2d(x, 2)` of a channels_last map (N, C, H, W) without negative values, as after a ReLU.

    Non-negative bf16 numbers have the order of their bits read as integers, and integers compare twice as fast.
    """
    rows, columns = x.shape[2] // 2, x.shape[3] // 2
    bits = x.view(torch.int16) if x.dtype == torch.bfloat16 else x
    bits = bits.permute(0, 2, 3, 1)[:, : 2 * rows, : 2 * columns]  # (N, H, W, C), the order in memory
    bits = torch.maximum(bits[:, 0::2], bits[:, 1::2]).unflatten(2, (columns, 2))
    return torch.maximum(bits[:, :, :, 0], bits[:, :, :, 1]).permute(0, 3, 1, 2).view(x.dtype)


class _Convolution(nn.Module):
    """Convolution, bias and ReLU in one pass."""

    def __init__(self, weight: Tensor, bias: Tensor, padding: int) -> None:
        super().__init__()
        self.padding = [padding, padding]
        weight = weight.to(torch.bfloat16, memory_format=torch.channels_last)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, self.padding, ONES, ONES, 1, None)
        self.bias = bias.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, self.padding, ONES, ONES, 1, "relu", [], ""
        )
        return y


class _Linear(nn.Module):
    """A fully connected layer on packed weights; its ReLU is a layer of its own."""

    def __init__(self, weight: Tensor, bias: Tensor | None, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(torch.bfloat16), None)
        self.bias = bias.to(torch.bfloat16) if bias is not None else None

    def forward(self, x: Tensor) -> Tensor:
        inputs, positions = flat_patches(x, self.kernel)
        outputs: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self.weight, self.bias, "none", [], "")
        return as_map(outputs, positions)
