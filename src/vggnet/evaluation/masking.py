"""Compute images of unequal size in one padded batch as if each were alone.

Notable: a convolution pads an image with zeros. In a padded batch the positions beyond an image are not zero after the
first layer, because of the bias. So they are set to zero again before *every* convolution, by a hook on the net's own
convolutions: a second forward pass would have to be kept the same as the net's. The other layers need no care. Pooling
halves a side rounded down, so that a position that counts covers only its image. Batch normalisation (in evaluation)
and response normalisation use no neighbours.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vggnet.network.vgg import VGG

Size = tuple[int, int]  # rows, columns


@contextmanager
def padding_kept_zero(model: VGG, sizes: Sequence[Size], device: torch.device) -> Iterator[None]:
    """Compute image i of a batch, within the block, as if it ended after `sizes[i]` pixels from its upper left corner.

    The batch's shape must be the largest height by the largest width. Activations are changed in place, so this is for
    inference only.
    """
    by_stage: dict[int, _Zeros] = {}
    handles = []
    try:
        for layer in model.architecture.convolutions():
            if layer.stage not in by_stage:
                halved = 2 ** (layer.stage - 1)
                by_stage[layer.stage] = _Zeros([(h // halved, w // halved) for h, w in sizes], device)
            convolution: nn.Module = getattr(model, layer.name)
            handles.append(convolution.register_forward_pre_hook(by_stage[layer.stage]))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Zeros:
    """A hook that sets the positions beyond each image to zero. It writes only beyond the smallest image."""

    def __init__(self, sizes: Sequence[Size], device: torch.device) -> None:
        rows = torch.tensor([height for height, _ in sizes])
        columns = torch.tensor([width for _, width in sizes])
        self.first_row, self.first_column = int(rows.min()), int(columns.min())
        below = torch.arange(self.first_row, int(rows.max()))[None, :] >= rows[:, None]
        beside = torch.arange(self.first_column, int(columns.max()))[None, :] >= columns[:, None]
        self.below = below[:, None, :, None].to(device, non_blocking=True)  # (N, 1, rows of the strip, 1)
        self.beside = beside[:, None, None, :].to(device, non_blocking=True)  # (N, 1, 1, columns of the strip)

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        x: Tensor = inputs[0]
        if self.below.shape[2]:
            strip = x[:, :, self.first_row : self.first_row + self.below.shape[2]]
            strip.masked_fill_(self.below, 0)  # not a product with 0: infinity times 0 is NaN
        if self.beside.shape[3]:
            strip = x[:, :, :, self.first_column : self.first_column + self.beside.shape[3]]
            strip.masked_fill_(self.beside, 0)
