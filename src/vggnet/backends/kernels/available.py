"""Check whether the kernels can be used on a device: compile, run and compare them with their definition."""

import importlib.util

import torch
from torch import Tensor

from vggnet.backends.kernels import reference
from vggnet.errors import reason_of

_SIDE, _CHANNELS = 14, 96  # a small map, its channels not a multiple of a tile's


def kernels_unavailable(device: torch.device) -> str | None:
    """Return why the kernels cannot be used on `device`; None where they give what `reference` gives."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    try:
        return _difference(device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler and a driver raise
        return reason_of(error)


def _difference(device: torch.device) -> str | None:
    """Return which kernel gives other results than its reference; None where none does."""
    from vggnet.backends.kernels import elementwise, first_layer  # only where Triton is

    draw = torch.Generator().manual_seed(0)
    activation = torch.randn(2, _CHANNELS, _SIDE, _SIDE, generator=draw).to(device, torch.bfloat16)
    bias = torch.randn(_CHANNELS, generator=draw).to(device)
    pooled, choice = reference.pool_bias_relu(activation, bias)
    found = elementwise.pool_bias_relu(activation, bias)
    spread = elementwise.pool_backward(pooled, choice, _SIDE, _SIDE)
    masked = elementwise.relu_backward(activation, activation.flip(0))
    pairs = {
        "pooling": [*zip((pooled, choice), found, strict=True)],
        "the backward pass of pooling": [
            *zip(reference.pool_backward(pooled, choice, _SIDE, _SIDE), spread, strict=True)
        ],
        "the backward pass of the ReLU": [
            *zip(reference.relu_backward(activation, activation.flip(0)), masked, strict=True)
        ],
    }
    for kernel in (3, 5):
        images = torch.randn(2, 3, _SIDE, _SIDE, generator=draw).to(device, torch.bfloat16)
        weight = torch.randn(_CHANNELS, 3, kernel, kernel, generator=draw).to(device, torch.bfloat16)
        output = reference.image_convolution(images, weight, bias)
        exact = reference.image_convolution_backward(activation, images, weight, bias)
        pairs[f"a first layer of {kernel}x{kernel}"] = [(output, first_layer.convolution(images, weight, bias))]
        pairs[f"the backward pass of a first layer of {kernel}x{kernel}"] = [
            *zip(exact, first_layer.convolution_backward(activation, images, weight, bias), strict=True)
        ]
    for name, results in pairs.items():
        if not all(_same(exact, result) for exact, result in results):
            return f"the kernel of {name} gives other values than PyTorch here"
    return None


def _same(exact: Tensor, found: Tensor) -> bool:
    """Return whether both are equal to the order of summation and the last bit of bf16."""
    precision = 1e-2 if exact.dtype == torch.bfloat16 else 1e-3
    return torch.allclose(exact.float(), found.float(), rtol=precision, atol=1e-3)
