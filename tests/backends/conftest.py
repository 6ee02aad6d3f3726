"""What stands for a GPU's kernels on a CPU."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from played_cudnn import convolution_by
from torch.nn import functional as F


def tensor_cores(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    assert x.dtype == weight.dtype == bias.dtype
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert x.shape[1] % 8 == 0  # what tensor cores want
    return F.conv2d(x.float(), weight.float(), bias.float(), stride, padding, dilation, groups).relu().to(x.dtype)


@pytest.fixture
def cudnn_written_out() -> Iterator[None]:
    """`torch.cudnn_convolution_relu` in operators that a CPU has; it takes what tensor cores do."""
    with convolution_by(tensor_cores):
        yield


@pytest.fixture(autouse=True)
def no_tf32() -> Iterator[None]:
    """fp32 is fp32 on a GPU, too: it is what the other arithmetic is compared with."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
