"""Define what the kernels compute, in PyTorch's operators; the kernels are tested against it.

Shapes: N images, C channels, H x W pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

OFF = 4  # in a choice: the ReLU gave zero, so no gradient passes


def pool_bias_relu(activation: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return relu(max over 2x2 of (activation + bias)), and which of the four each maximum was.

    activation (N, C, H, W), bias (C,) fp32 -> (N, C, H // 2, W // 2) in the activation's type, and uint8 of that shape:
    0 to 3 row by row, the first of equals (any, where the maximum is NaN), `OFF` where the sum is not positive. Sums
    are taken in fp32 and rounded once.
    """
    windows = activation.float().unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    best, choice = windows.max(4)
    value = best + bias[:, None, None]
    return F.relu(value).to(activation.dtype), choice.masked_fill(value <= 0, OFF).to(torch.uint8)


def pool_backward(gradient: Tensor, choice: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the gradients of activation (N, C, height, width) and bias (C,) in fp32, from that of the output."""
    rows, columns = gradient.shape[-2:]
    spread = gradient.new_zeros(*gradient.shape[:2], height, width)
    for place in range(4):
        row, column = divmod(place, 2)
        spread[:, :, row : 2 * rows : 2, column : 2 * columns : 2] = torch.where(choice == place, gradient, 0)
    return spread, spread.float().sum((0, 2, 3))


def relu_backward(gradient: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of activation and bias (C,) in fp32, from that of `output` = relu(activation + bias)."""
    masked = torch.where(output <= 0, 0, gradient)
    return masked, masked.float().sum((0, 2, 3))


def image_convolution(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return relu(convolution + bias) of images (N, 3, H, W), without a bias the convolution alone: (N, C, H, W).

    weight (C, 3, k, k), k odd, in the type that operands and result have; borders are zero. Sums are taken in fp32.
    """
    operand = images.to(weight.dtype).float()
    activation = F.conv2d(operand, weight.float(), padding=weight.shape[-1] // 2)
    return (activation if bias is None else F.relu(activation + bias.float()[:, None, None])).to(weight.dtype)


def image_convolution_backward(
    gradient: Tensor, images: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `image_convolution`'s weight (C, 3, k, k) and bias (C,), in fp32, from its output's.

    Without a bias there is no ReLU either; the second is then the sum of the gradient.
    """
    masked, of_bias = gradient, gradient.float().sum((0, 2, 3))
    if bias is not None:
        masked, of_bias = relu_backward(gradient, image_convolution(images, weight, bias))
    operand, padding = images.to(weight.dtype).float(), weight.shape[-1] // 2
    return conv2d_weight(operand, list(weight.shape), masked.float(), padding=padding), of_bias
