"""Compute a net's first stages a few images at a time, so that their maps, the largest, stay in a CPU's caches."""

import torch
from torch import Tensor

from vggnet.backends.form import Form

PIECE_PX = 2 * 224 * 224  # pixels that go through the first stages together; at least one image
PIECEWISE_STAGES = 2


def through_convolutions(form: Form, x: Tensor) -> Tensor:
    """Return the pool5 map of x (N, 3, H, W), by `form.convolve`. With hooks on a convolution all N go together."""
    convolutions = list(form.architecture.convolutions())
    early = [layer for layer in convolutions if layer.stage <= PIECEWISE_STAGES]
    at_once = max(1, PIECE_PX // (x.shape[2] * x.shape[3]))
    if is_hooked(form):  # a hook sees its layer's whole batch, once
        at_once = len(x)
    pieces = []
    for piece in x.split(at_once):
        for layer in early:
            piece = form.convolve(layer, piece)
        pieces.append(piece)
    x = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
    for layer in convolutions[len(early) :]:
        x = form.convolve(layer, x)
    return x


def is_hooked(form: Form) -> bool:
    """Return whether a convolution of the form has a hook, such as those of `padding_kept_zero`."""
    layers = [form.get_submodule(layer.name) for layer in form.architecture.convolutions()]
    return any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)
