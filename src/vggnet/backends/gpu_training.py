"""A net's form for training in bf16 on a GPU: cuDNN's convolutions, and one pass over each map between two of them.

Notable:
- Bias and ReLU are the convolution's epilogue. A stage's last layer is pooled before bias and ReLU, and keeps one byte
  for each pooled value (which of four it was, or that the ReLU gave zero) in the place of the whole map.
- conv1_1 takes the image as it is, and its backward pass is one pass over the gradient (`kernels/first_layer`).
- A convolution saves only its input for the backward pass. ReLU masks come from the output, which the next layer saves
  anyway; masking and the bias' gradient are one pass.
- Parameters are the net's own, in fp32; their bf16 copies live for a step.
- A-LRN's first layer runs as the net has it. Batch normalisation is not fused here: such nets go through torch.compile.

Tested on a CPU, the kernels in Triton's interpreter. Its speed is not yet measured (docs/speed.md), so only `--step
fused` uses it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.backends.eager import EagerVGG
from vggnet.backends.gpu_bf16 import convolution_relu
from vggnet.backends.kernels import elementwise, first_layer
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Layer

_Gradients = tuple[Tensor | None, Tensor | None, Tensor, None, None]


class FusedVGG(EagerVGG):
    """`model`'s function for training: its own layers and parameters, other arithmetic (in `dtype`).

    For nets without batch normalisation.
    """

    compiles = False

    def __init__(self, model: VGG, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__(model)
        self.dtype = dtype

    def convolve(self, layer: Layer, x: Tensor) -> Tensor:
        first = layer.name == "conv1_1"
        if layer.normalized:
            return super().convolve(layer, x)
        convolution: nn.Conv2d = getattr(self, layer.name)
        if not first:
            x = x.to(self.dtype, memory_format=torch.channels_last)
        y: Tensor = _FUNCTIONS[first, layer.last_of_stage].apply(
            x, convolution.weight, convolution.bias, layer.padding, self.dtype
        )
        return y


class _Convolution(torch.autograd.Function):
    """relu(convolution + bias) of x (N, C, H, W) in `dtype`; weight and bias in fp32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: int, dtype: torch.dtype) -> Tensor:
        quick = weight.to(dtype, memory_format=torch.channels_last)
        y = convolution_relu(x, quick, bias.to(dtype), padding)
        ctx.save_for_backward(x, quick, y)
        ctx.padding = padding
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> _Gradients:
        x, weight, y = ctx.saved_tensors
        masked, of_bias = elementwise.relu_backward(gradient, y)
        return *_convolution_backward(ctx, masked, x, weight), of_bias, None, None


class _ImageConvolution(torch.autograd.Function):
    """`_Convolution` of images (N, 3, H, W) in any float type, which get no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: int, dtype: torch.dtype) -> Tensor:
        quick = weight.to(dtype)
        ctx.save_for_backward(x, quick, bias)
        return first_layer.convolution(x, quick, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> _Gradients:
        return None, *first_layer.convolution_backward(gradient, *ctx.saved_tensors), None, None


class _PooledConvolution(torch.autograd.Function):
    """relu(max-pooling of convolution + bias), with the same arguments."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: int, dtype: torch.dtype) -> Tensor:
        quick = weight.to(dtype, memory_format=torch.channels_last)
        activation = F.conv2d(x, quick, padding=padding)
        pooled, choice = elementwise.pool_bias_relu(activation, bias)
        ctx.save_for_backward(x, quick, choice)
        ctx.padding, ctx.size = padding, activation.shape[-2:]
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> _Gradients:
        x, weight, choice = ctx.saved_tensors
        spread, of_bias = elementwise.pool_backward(gradient, choice, *ctx.size)
        return *_convolution_backward(ctx, spread, x, weight), of_bias, None, None


class _PooledImageConvolution(torch.autograd.Function):
    """`_PooledConvolution` of images, as `_ImageConvolution` takes them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: int, dtype: torch.dtype) -> Tensor:
        quick = weight.to(dtype)
        pooled, choice = elementwise.pool_bias_relu(first_layer.convolution(x, quick, None), bias)
        ctx.save_for_backward(x, quick, choice)
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> _Gradients:
        x, weight, choice = ctx.saved_tensors
        spread, of_bias = elementwise.pool_backward(gradient, choice, *x.shape[-2:])
        of_weight, _ = first_layer.convolution_backward(spread, x, weight, None)
        return None, of_weight, of_bias, None, None


# by: is it the first layer, and the last of its stage
_FUNCTIONS: dict[tuple[bool, bool], type[torch.autograd.Function]] = {
    (False, False): _Convolution,
    (False, True): _PooledConvolution,
    (True, False): _ImageConvolution,
    (True, True): _PooledImageConvolution,
}


def _convolution_backward(ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of a convolution's input (bf16) and weight (fp32), each where it is needed."""
    wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
    padding = [ctx.padding, ctx.padding]
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, wanted
    )
    return of_x, None if of_weight is None else of_weight.float()
