"""Draw initial weights: Gaussian (Sect. 3.1), Glorot and He.

Each layer has its own generator, seeded by (seed, layer name): its weights do not depend on the net's other layers.
Draws are made on the CPU in fp32 and then moved, so they are the same on every device.

The paper draws from "the normal distribution with the zero mean and 10^-2 variance", which is sigma 0.1. Read so, the
logits explode at width 1. With sigma 0.01 net A trains and the deep nets get no signal, as the paper describes. So
sigma is a parameter, 0.01 by default. Its later note, that Glorot and Bengio's procedure needs no pre-training, is the
uniform one: U(-a, a) with a = sqrt(6 / (fan_in + fan_out)).
"""

import math
from typing import get_args

import torch
from torch import nn

from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.network.vgg import VGG, on_meta
from vggnet.options.choices import InitMethod
from vggnet.paper.configurations import Architecture, Layer
from vggnet.randomness import layer_seed

METHODS = get_args(InitMethod)


def deviation(layer: Layer, method: str, sigma: float = 0.01) -> float:
    """Return the standard deviation that `method` gives a layer's weights.

    An FC layer is linear: its fan_out is its number of units. A convolution's is units * kernel^2.
    """
    fan_out = layer.out_channels * (layer.kernel**2 if layer.stage else 1)
    match method:
        case "gaussian":
            return sigma
        case "glorot":
            return math.sqrt(2 / (layer.fan_in + fan_out))
        case "he":
            return math.sqrt(2 / layer.fan_in)
    raise UserError(f"initialisation {method!r} does not exist; choose one of {', '.join(METHODS)}")


@torch.no_grad()
def initialize(model: VGG, method: str = "glorot", *, sigma: float = 0.01, seed: int = 0) -> None:
    """Draw all weights anew, in place; biases are zero, batch normalisation is the identity.

    `method`: gaussian (normal, deviation `sigma`), glorot (uniform), he (normal, fan in). Raises UserError for another
    method or a sigma that is not positive.
    """
    if method == "gaussian" and not 0 < sigma < math.inf:
        raise UserError(f"sigma {sigma} is out of range: the deviation of the initial weights must be positive")
    for layer in model.architecture.layers():
        module = model.get_submodule(layer.name)
        assert isinstance(module, nn.Conv2d)
        assert module.bias is not None
        module.weight.copy_(_draw(layer, method, sigma, seed))
        module.bias.zero_()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_parameters()
    model.initialization = f"gaussian {sigma:g}" if method == "gaussian" else method


def build(
    net: str = "D",
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    crop: int = 224,
    batch_norm: bool = False,
    dropout: float = 0.5,
    init: str = "glorot",
    sigma: float = 0.01,
    seed: int = 0,
) -> VGG:
    """Return a new net of Table 1 in training mode, with random weights.

    Args:
        net: A, A-LRN, B, C, D, E or 5x5 (Table 1, Sect. 4.1).
        num_classes: outputs of the last layer.
        width: scales the channels of all layers but the last; 1 is the paper's.
        crop: the side in pixels of the image that gives a map of one position; a multiple of 32.
        batch_norm: batch normalisation after every convolution (not in the paper).
        dropout: the part of the outputs of fc6 and fc7 that training drops.
        init: how weights are drawn: gaussian (the paper's), glorot or he.
        sigma: the deviation of gaussian.
        seed: of the weights; the same seed gives the same weights.

    Raises:
        UserError: for a net, an initialisation or a size that does not exist.

    Example:
        >>> model = vggnet.build("D", num_classes=10, width=0.1, crop=64)
        >>> model(torch.zeros(2, 3, 96, 128)).shape  # the class score map
        torch.Size([2, 10, 2, 3])
        >>> model.scores(torch.zeros(2, 3, 96, 128)).shape  # its mean
        torch.Size([2, 10])
    """
    architecture = Architecture(net, num_classes, width, crop, batch_norm, dropout)
    model = on_meta(ModelDescription(architecture)).to_empty(device="cpu")
    initialize(model, init, sigma=sigma, seed=seed)
    return model


def _draw(layer: Layer, method: str, sigma: float, seed: int) -> torch.Tensor:
    """Return the weights (out, in, k, k) of one layer, fp32."""
    spread = deviation(layer, method, sigma)
    weight = torch.empty(layer.shape, device="cpu")
    generator = torch.Generator().manual_seed(layer_seed(seed, layer.name))
    if method == "glorot":
        bound = spread * math.sqrt(3)
        return weight.uniform_(-bound, bound, generator=generator)
    return weight.normal_(0, spread, generator=generator)
