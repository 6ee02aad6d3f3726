"""Perceptual losses: distances between images in a VGG's layers instead of in pixels.

    kind="features"   content: mean squared difference of activations (Johnson et al. 2016, Eq. 2); style: mean squared
                      difference of Gram matrices, each divided by C h w (Eq. 3). The mean over the C^2 entries is that
                      of PyTorch's examples (fast_neural_style); Eq. 4 sums them. A weight of C^2 makes it Eq. 4, one of
                      C^2 / 4 Gatys et al.'s term for a layer (2016, Eq. 4; style image of the same size)
    kind="lpips"      Zhang et al. 2018: activations scaled to unit length at each position, squared differences summed
                      over channels, averaged over positions, summed over five layers. The `lpips` package's
                      LPIPS(net="vgg", lpips=False), whose weights are torchvision's net D; with `learnt` its
                      LPIPS(net="vgg"), where the sum over channels is weighted by what was fitted to judgements of
                      people (version 0.1, read from that package)

Images are RGB of 0..1 (or `value_range`); the loss applies the net's preprocessing. It holds a copy of the layers that
it needs, frozen and always in evaluation mode, so neither changes of the model nor `train()` reach them. Under
autocast, or with half-precision images and layers, the net computes in that format. Differences, Gram matrices, lengths
and sums are computed in fp32: a sum over positions exceeds fp16's largest number (65,504).
"""

import copy
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from vggnet.description import Preprocessing
from vggnet.errors import UserError
from vggnet.network.taps import Pooling, check_names, features, taps
from vggnet.network.vgg import VGG, without_head

LPIPS_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
LPIPS_EPSILON = 1e-10
LPIPS_WEIGHTS = Path("weights", "v0.1", "vgg.pth")  # in the `lpips` package
FARTHEST = 9  # images may leave `value_range` by so many times its width while they are optimised
Weights = Mapping[str, float] | Sequence[str]


class LayerDistance(nn.Module):
    """The distance of images to their targets in a net's layers, both RGB (N, 3, H, W).

    `vggnet.PerceptualLoss` says what its arguments are; it takes nets by their names, too.
    """

    def __init__(
        self,
        model: VGG,
        *,
        kind: Literal["features", "lpips"] = "features",
        learnt: bool = False,
        content: Weights | None = None,
        style: Weights = (),
        pooling: Pooling = "max",
        value_range: tuple[float, float] = (0.0, 1.0),
        reduction: Literal["mean", "none"] = "mean",
    ) -> None:
        super().__init__()
        if kind not in ("features", "lpips"):
            raise UserError(f"kind {kind!r} does not exist: features or lpips")
        if reduction not in ("mean", "none"):
            raise UserError(f"reduction {reduction!r} does not exist: mean or none")
        if not value_range[0] < value_range[1]:
            raise UserError(f"value_range {value_range}: the first must be below the second")
        if kind == "lpips" and (content is not None or style):
            raise UserError('kind="lpips" has its own layers: leave content and style out')
        if learnt and kind != "lpips":
            raise UserError('`learnt` weights exist for kind="lpips" only')
        self.kind, self.pooling, self.value_range, self.reduction = kind, pooling, value_range, reduction
        if content is None:
            content = () if style or kind == "lpips" else (_default_content(model),)
        self.content, self.style = _weights(content), _weights(style)
        self.layers = LPIPS_LAYERS if kind == "lpips" else tuple({**self.content, **self.style})
        check_names(model.architecture, self.layers)
        in_head = any(taps(model.architecture)[name].fc_kernel for name in self.layers)
        self.backbone = copy.deepcopy(model) if in_head else without_head(model)
        self.backbone.eval().requires_grad_(False)
        self.heads = nn.ParameterDict(_learnt_heads(model) if learnt else {}).requires_grad_(False)

    def train(self, mode: bool = True) -> "LayerDistance":
        """Set the mode; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor, target: Tensor, style_target: Tensor | None = None) -> Tensor:
        """Return the mean distance, or (N,) with `reduction="none"`, of images to targets, both RGB (N, 3, H, W).

        `style_target` gives the style terms another image (any size, N or 1 of them); by default it is `target`. No
        gradient flows to the targets of the "features" kind.
        """
        if images.shape != target.shape:
            raise UserError(f"images {tuple(images.shape)} and target {tuple(target.shape)} must be of one shape")
        lpips = self.kind == "lpips"
        distance = self._lpips(images, target) if lpips else self._distance(images, target, style_target)
        return distance.mean() if self.reduction == "mean" else distance

    def _activations(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        if images.dim() != 4 or images.shape[1] != 3:  # one gray channel would broadcast to three
            raise UserError(f"the loss takes RGB images as (N, 3, H, W), not as {tuple(images.shape)}")
        if not images.is_floating_point():
            raise UserError(f"the loss takes images of {self.value_range}, not {images.dtype}: divide by 255")
        _check_range(images, *self.value_range)
        inputs = net_input(images, self.backbone.description.preprocessing, *self.value_range)
        return features(self.backbone, inputs, names, pooling=self.pooling)

    def _distance(self, images: Tensor, target: Tensor, style_target: Tensor | None) -> Tensor:
        ours = self._activations(images, self.layers)
        with torch.no_grad():
            shared = style_target is None
            wanted = self.layers if shared else tuple(self.content)
            theirs = self._activations(target, wanted) if wanted else {}
            styles = theirs if style_target is None else self._activations(style_target, tuple(self.style))
        with torch.autocast(images.device.type, enabled=False):
            total = _wide(images.new_zeros(len(images)))
            for name, weight in self.content.items():
                difference = _wide(ours[name]) - _wide(theirs[name])
                total = total + weight * difference.square().flatten(1).mean(1)
            for name, weight in self.style.items():
                total = total + weight * (gram(ours[name]) - gram(styles[name])).square().flatten(1).mean(1)
        return total

    def _lpips(self, images: Tensor, target: Tensor) -> Tensor:
        ours, theirs = (self._activations(each, self.layers) for each in (images, target))
        with torch.autocast(images.device.type, enabled=False):
            total = _wide(images.new_zeros(len(images)))
            for name in self.layers:
                squared = (_unit(ours[name]) - _unit(theirs[name])).square()
                weighted = squared * _wide(self.heads[name]) if self.heads else squared
                total = total + weighted.sum(1).mean((1, 2))
        return total


def _check_range(images: Tensor, low: float, high: float) -> None:
    """Raise UserError for values far beyond `low` and `high`, such as pixels of 0 to 255 where 0 to 1 was said."""
    if torch.compiler.is_compiling() or is_functorch_wrapped_tensor(images) or not images.numel():
        return  # no value to look at
    least, most = (float(value) for value in torch.aminmax(images.detach()))
    room = FARTHEST * (high - low)
    if least < low - room or most > high + room:
        raise UserError(
            f"the loss takes images of {low:g} to {high:g}, and these go from {least:.4g} to {most:.4g}: divide pixels "
            "of 0 to 255 by 255, or give `value_range`"
        )


def _learnt_heads(net: VGG) -> dict[str, nn.Parameter]:
    """Return the fitted weights (1, C, 1, 1) of each LPIPS layer, read from the `lpips` package without importing it.

    Raises UserError where the package is missing, or the net has other channels.
    """
    package = importlib.util.find_spec("lpips")
    if package is None or not package.submodule_search_locations:
        raise UserError("`learnt`: the weights are in the package lpips: pip install 'vggnet[lpips]'")
    state = torch.load(Path(package.submodule_search_locations[0]) / LPIPS_WEIGHTS, "cpu", weights_only=True)
    check_names(net.architecture, LPIPS_LAYERS)
    heads = {}
    for place, name in enumerate(LPIPS_LAYERS):
        weight = state[f"lin{place}.model.1.weight"]
        if weight.shape[1] != taps(net.architecture)[name].channels:
            raise UserError(
                f"`learnt`: the weights are for net D of width 1: {name} has {weight.shape[1]} channels there, and "
                f"{taps(net.architecture)[name].channels} in this net {net.architecture.net}"
            )
        heads[name] = nn.Parameter(weight.float(), requires_grad=False)
    return heads


def gram(activations: Tensor) -> Tensor:
    """Return Gram matrices (N, C, C) of activations (N, C, h, w): channels' products over positions, / (C h w).

    In fp32 at least, under autocast too: the sums overflow in fp16.
    """
    with torch.autocast(activations.device.type, enabled=False):
        flat = _wide(activations).flatten(2)
        return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def _unit(activations: Tensor) -> Tensor:
    """Scale each position's channels to length 1. A dead position stays 0 and has no gradient (not NaN)."""
    wide = _wide(activations)  # in fp16 the epsilon is 0
    return wide / (torch.linalg.vector_norm(wide, dim=1, keepdim=True) + LPIPS_EPSILON)


def _wide(x: Tensor) -> Tensor:
    """Return the same numbers in fp32, or wider where they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _weights(layers: Weights) -> dict[str, float]:
    if isinstance(layers, str):
        raise UserError(f"layers are a list or a dictionary with weights, not {layers!r}")
    return dict(layers) if isinstance(layers, Mapping) else dict.fromkeys(layers, 1.0)


def _default_content(net: VGG) -> str:
    return [str(layer.relu) for layer in net.architecture.convolutions() if layer.stage == 3][-1]


def net_input(images: Tensor, preprocessing: Preprocessing, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return the net's input from RGB images (N, 3, H, W) with values from `low` to `high`, with gradients."""
    mean, deviation = (
        torch.tensor(values, dtype=images.dtype, device=images.device).view(3, 1, 1)
        for values in (preprocessing.mean, preprocessing.deviation)
    )
    return ((images - low) * (255 / (high - low)) - mean) / deviation
