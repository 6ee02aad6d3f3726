"""Lay out a net's weights in memory as convolutions read them fastest."""

import torch
from torch import Tensor

from vggnet.network.vgg import VGG


def lay_channels_last(model: VGG) -> None:
    """Lay out the convolutions' weights channels-last, in place; the FC layers' stay as they are.

    Values do not change. On CPUs, and on GPUs in bf16, convolutions of channels-last weights and maps are faster.
    """
    with torch.inference_mode(False):  # a tensor made in inference mode could not be trained afterwards
        for layer in model.architecture.convolutions():
            weight = model.get_parameter(f"{layer.name}.weight")
            weight.data = channels_last(weight.data)


def channels_last(weight: Tensor) -> Tensor:
    """Return `weight` (K, C, k, k) with the strides of channels-last, itself where it has them.

    Unlike `contiguous`, which leaves the strides of a 1x1 weight: its gradient's would then be others.
    """
    wanted = torch.empty_like(weight, memory_format=torch.channels_last, device="meta").stride()
    if weight.stride() == wanted:
        return weight
    return torch.empty_like(weight, memory_format=torch.channels_last).copy_(weight)
