"""A net prepared for inference: each layer is replaced by one that computes several steps in one pass.

The layers of a `PreparedVGG` have the names of the net's, so hooks (masking) work on both. A convolution's output is
already normalised and has passed its ReLU: `taps` gives relu3_3 and later layers, but conv3_3 and norm3_3 only of the
plain net.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from vggnet.backends.form import Form
from vggnet.backends.response_normalization import ResponseNormalization
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Layer


class PreparedVGG(Form):
    """`model`'s function for inference, always in evaluation mode. A copy: later changes of the model do not reach it.

    Subclasses make the layers.
    """

    def __init__(self, model: VGG) -> None:
        with torch.device("meta"):
            super().__init__(model.description)
        with torch.inference_mode(False), torch.no_grad():
            for layer in self.architecture.convolutions():
                setattr(self, layer.name, self._make_convolution(model, layer))
                if self.architecture.batch_norm:
                    setattr(self, layer.norm, nn.Identity())
                if layer.relu:
                    setattr(self, layer.relu, nn.Identity())
                if layer.normalized:
                    setattr(self, layer.lrn, ResponseNormalization())
                if layer.pool:
                    setattr(self, layer.pool, _Pooling(self._pool))
            for layer in self.architecture.fully_connected():
                setattr(self, layer.name, self._make_linear(model, layer))
        self.initialization = model.initialization
        self.eval()

    @abstractmethod
    def _make_convolution(self, model: VGG, layer: Layer) -> nn.Module:
        """Return a layer that computes a convolution of `model` with normalisation, bias and ReLU."""

    @abstractmethod
    def _make_linear(self, model: VGG, layer: Layer) -> nn.Module:
        """Return a layer that computes a fully connected layer of `model`, without its ReLU."""

    @abstractmethod
    def _pool(self, x: Tensor) -> Tensor:
        """Return max-pooling of a map (N, C, H, W) after its ReLU."""

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: there are no parameters to train."""
        return super().train(False)

    def convolve(self, layer: Layer, x: Tensor) -> Tensor:
        x = self.get_submodule(layer.name)(x)  # with its bias and ReLU
        if layer.normalized:
            x = self.get_submodule(layer.lrn)(x)
        return self._pool(x) if layer.pool else x


class _Pooling(nn.Module):
    """A form's own max-pooling as a layer."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)


def flat_patches(x: Tensor, kernel: int) -> tuple[Tensor, tuple[int, ...]]:
    """Return the inputs of each position of a fully connected layer, (N H' W', k k C), and (N, H', W')."""
    patches = x.unfold(2, kernel, 1).unfold(3, kernel, 1).permute(0, 2, 3, 4, 5, 1)  # (N, H', W', k, k, C)
    return patches.reshape(-1, patches[0, 0, 0].numel()), tuple(patches.shape[:3])


def as_map(outputs: Tensor, positions: tuple[int, ...]) -> Tensor:
    """Return outputs (N H' W', K) of the positions (N, H', W') as a map (N, K, H', W')."""
    return outputs.unflatten(0, positions).permute(0, 3, 1, 2)


def flat_weight(model: VGG, layer: Layer) -> tuple[Tensor, Tensor | None]:
    """Return a fully connected layer's weight as (K, k k C), the order of channels_last maps, and its bias."""
    source: nn.Conv2d = getattr(model, layer.name)
    return source.weight.permute(0, 2, 3, 1).flatten(1).contiguous(), source.bias


def with_normalization(model: VGG, layer: Layer) -> tuple[Tensor, Tensor]:
    """Return a convolution's weight and bias with the batch normalisation after it folded in."""
    convolution: nn.Conv2d = getattr(model, layer.name)
    weight = convolution.weight
    bias = convolution.bias if convolution.bias is not None else weight.new_zeros(len(weight))
    if not model.architecture.batch_norm:
        return weight, bias
    norm: nn.BatchNorm2d = getattr(model, layer.norm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return weight * factor[:, None, None, None], (bias - norm.running_mean) * factor + norm.bias
