"""Return activations of a net by the paper's layer names, exact, from images of any size, with gradients.

    conv3_3   the convolution's output, before everything else      norm3_3   after its batch normalisation
    relu3_3   after the ReLU, at the convolution's full resolution  pool3     after the stage's pooling
    fc6, fc7  before the ReLU          relu6, relu7  after it       fc8       the class score map
    lrn1_1    net A-LRN's response normalisation, after relu1_1

Layers after the deepest one that is asked for are not computed. Returned activations are not changed in place. Hooks on
the net's layers run as in its forward pass.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from torch import Tensor, nn

from vggnet.errors import UserError
from vggnet.network.vgg import VGG, refuse_path
from vggnet.paper.configurations import Architecture

Pooling = Literal["max", "average"]


@dataclass(frozen=True)
class Tap:
    """A named layer's place: its channels, how often the image's sides were halved before it, and its kernel if FC."""

    channels: int
    halvings: int
    fc_kernel: int = 0  # the pool5 positions that one position of an FC layer covers, to a side

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (rows, columns) for an image of `height` x `width` pixels; 0 or less where it is too small."""
        outside = max(0, self.fc_kernel - 1)
        return (height >> self.halvings) - outside, (width >> self.halvings) - outside

    @property
    def least_px(self) -> int:
        """The smallest image side, in pixels, that gives a position."""
        return max(1, self.fc_kernel) << self.halvings


@cache
def taps(architecture: Architecture) -> dict[str, Tap]:
    """Return all layers that `features` accepts for a net, in order."""
    found: dict[str, Tap] = {}
    for layer in architecture.convolutions():
        here = Tap(layer.out_channels, layer.stage - 1)
        found[layer.name] = here
        if architecture.batch_norm:
            found[layer.norm] = here
        if layer.relu:
            found[layer.relu] = here
        if layer.normalized:
            found[layer.lrn] = here
        if layer.pool:
            found[layer.pool] = Tap(layer.out_channels, layer.stage)
    for layer in architecture.fully_connected():
        here = Tap(layer.out_channels, 5, architecture.fc_kernel)
        found |= dict.fromkeys([layer.name, *([layer.relu] if layer.relu else [])], here)
    return found


def check_names(architecture: Architecture, names: Sequence[str]) -> None:
    """Raise UserError for a name that the net does not have, with the nearest one."""
    if isinstance(names, str) or not names:
        raise UserError(f'features takes a list of layer names, such as ["relu3_3", "pool5"], not {names!r}')
    known = list(taps(architecture))
    for name in names:
        if name in known:
            continue
        if architecture.convolutions_only and name in ("fc6", "relu6", "fc7", "relu7", "fc8"):
            raise UserError(f"{name}: this model has convolutions only, its layers end at pool5")
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"they go from {known[0]} to {known[-1]}"
        raise UserError(f"net {architecture.net} has no layer {name!r}: {hint} (all: {', '.join(known)})")


def features(model: VGG, images: Tensor, names: Sequence[str], *, pooling: Pooling = "max") -> dict[str, Tensor]:
    """Return a net's activations at named layers; gradients flow through them.

    Args:
        model: the net. Its mode holds: in training mode dropout drops and batch statistics count.
        images: preprocessed images (N, 3, H, W), as `vggnet.preprocess` returns them.
        names: layers, such as conv3_3 (before the ReLU), relu3_3, pool3, fc7 and relu7.
        pooling: max, or average, which averages where the net takes the maximum (usual in style transfer).

    Returns:
        {name: activations (N, C, h, w)}. h and w are H and W halved, rounded down, once for each pooling before the
        layer; at an fc layer h is floor(H / 32) - fc_kernel + 1, w likewise.

    Raises:
        UserError: for a layer that does not exist, and for an image that is too small for it.

    Example:
        >>> model = vggnet.load("runs/A")
        >>> found = vggnet.features(model, vggnet.preprocess(model, "photograph.jpg", scale=64), ["pool3", "fc7"])
        >>> found["pool3"].shape[2:], found["fc7"].shape[2:]
        (torch.Size([8, 8]), torch.Size([2, 2]))
    """
    refuse_path(model, "features")
    if not isinstance(model, VGG):
        raise UserError(f"features takes a net, such as vggnet.load(...), not {model!r:.80}")
    check_names(model.architecture, names)
    if pooling not in ("max", "average"):
        raise UserError(f"pooling {pooling!r} does not exist: max or average")
    _check_size(model.architecture, images, names)
    wanted = set(names)
    found: dict[str, Tensor] = {}
    for name, activation in model.walk(images, nn.AvgPool2d(2) if pooling == "average" else None):
        if name in wanted:
            found[name] = activation
            if len(found) == len(wanted):
                break
    return {name: found[name] for name in names}


def _check_size(architecture: Architecture, images: Tensor, names: Sequence[str]) -> None:
    if images.dim() != 4 or images.shape[1] != 3:
        raise UserError(f"the net takes images as (N, 3, H, W), not as {tuple(images.shape)}")
    if not images.is_floating_point():
        raise UserError(f"features takes preprocessed images, which are floating-point numbers, not {images.dtype}")
    height, width = images.shape[-2:]
    for name in names:
        least = taps(architecture)[name].least_px
        if min(height, width) < least:
            raise UserError(f"{name} of a {height}x{width} image is empty: the smallest side must be at least {least}")
