"""Give PyTorch's operator of cuDNN's fused convolution another implementation, as a library for a device would."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F


@contextmanager
def convolution_by(implementation: Callable[..., Tensor]) -> Iterator[None]:
    """Let `torch.cudnn_convolution_relu` be computed by `implementation` within the block, on a GPU, too."""
    with torch.library._scoped_library("aten", "IMPL") as library, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on a GPU: another implementation is there already
        for device in ("CPU", "CUDA") if torch.cuda.is_available() else ("CPU",):
            library.impl("cudnn_convolution_relu", implementation, device)
        yield


def any_channels(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """Compute the operator for maps of any type and number of channels."""
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups).relu()
