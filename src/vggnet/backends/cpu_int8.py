"""A net in 8-bit integers, for inference on a CPU: half the bytes and twice the multiplications of bf16.

Notable:
- Weights are int8 with one scale for each output channel. Activations are uint8 with one scale for each layer: after a
  ReLU nothing is negative, so the integer 0 is the value 0, and zero padding is exact. The net's input (pixels less a
  mean) has a zero point instead. Sums are exact (int32); the last layer's scores are fp32.
- Convolution, bias, ReLU and rounding to the next layer's integers are one pass, and pooling compares bytes.
- The scale of a layer's input follows from `ModelDescription.activation_limits`, which
  `calibration.measuring` finds on real images: the limit with the least mean square error of clipping and rounding
  together. That of the net's input follows from its preprocessing.

The operators are PyTorch's own of oneDNN, those of its quantised graphs.
"""

import torch
from torch import Tensor, nn

from vggnet.backends.cpu_bf16 import ONES, FastVGG
from vggnet.backends.piecewise import through_convolutions
from vggnet.backends.prepared import as_map, flat_patches, flat_weight, with_normalization
from vggnet.description import Preprocessing
from vggnet.network.vgg import VGG, check_images
from vggnet.paper.configurations import TOTAL_STRIDE_PX, Layer

LEVELS = 255  # of uint8, above 0
WEIGHT_LEVELS = 127  # of int8, on either side of 0
SAMPLED = 2**14  # values sampled of each layer's input, in each batch
TRIED = 40  # limits tried for each layer, up to the largest value seen


class QuantizedVGG(FastVGG):
    """`model`'s function in int8, for inference on a CPU; its description must have `activation_limits`.

    Layers pass integers: a layer's output, times a scale, is its activation.
    """

    def forward_features(self, images: Tensor) -> Tensor:
        check_images(images, TOTAL_STRIDE_PX)
        return through_convolutions(self, images)

    def _make_convolution(self, model: VGG, layer: Layer) -> nn.Module:
        preprocessing = model.description.preprocessing
        first = layer.name == "conv1_1"
        scale, zero = _input_scale(preprocessing) if first else (self._scale(model, layer.name), 0)
        following = None if layer.normalized else _following(model, layer.name)
        out = None if following is None else self._scale(model, following)
        return _Convolution(*with_normalization(model, layer), layer.padding, scale, zero, out)

    def _make_linear(self, model: VGG, layer: Layer) -> nn.Module:
        following = _following(model, layer.name)
        out = None if following is None else self._scale(model, following)
        return _Linear(*flat_weight(model, layer), layer.kernel, self._scale(model, layer.name), out)

    @staticmethod
    def _scale(model: VGG, layer: str) -> float:
        return model.description.activation_limits[layer] / LEVELS


class _Convolution(nn.Module):
    """Convolution, bias, ReLU and rounding in one pass. `out` is the scale of its output; None gives fp32.

    Its input is integers, or floats that it rounds first (the net's input, and the output of response normalisation).
    """

    def __init__(self, weight: Tensor, bias: Tensor, padding: int, scale: float, zero: int, out: float | None) -> None:
        super().__init__()
        self.padding, self.scale, self.zero, self.out = [padding, padding], scale, zero, out
        integers, self.weight_scales = _integer_weights(weight)
        self.weight = torch.ops.onednn.qconv_prepack(
            integers, self.weight_scales, scale, zero, ONES, self.padding, ONES, 1, None
        )
        self.weight_zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.bias = bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        if x.is_floating_point():
            x = to_integers(x, self.scale, self.zero)
        y: Tensor = torch.ops.onednn.qconv2d_pointwise(
            x,
            self.scale,
            self.zero,
            self.weight,
            self.weight_scales,
            self.weight_zeros,
            self.bias,
            ONES,
            self.padding,
            ONES,
            1,
            self.out or 1.0,
            0,
            torch.float32 if self.out is None else torch.uint8,
            "relu",
            [],
            None,
        )
        return y


class _Linear(nn.Module):
    """A fully connected layer in integers. With an `out` scale negative outputs become 0, as in the ReLU after it."""

    def __init__(self, weight: Tensor, bias: Tensor | None, kernel: int, scale: float, out: float | None) -> None:
        super().__init__()
        self.kernel, self.scale, self.out = kernel, scale, out
        integers, self.weight_scales = _integer_weights(weight)
        self.weight = torch.ops.onednn.qlinear_prepack(integers, None)
        self.weight_zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.bias = None if bias is None else bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        inputs, positions = flat_patches(x, self.kernel)
        outputs: Tensor = torch.ops.onednn.qlinear_pointwise(
            inputs,
            self.scale,
            0,
            self.weight,
            self.weight_scales,
            self.weight_zeros,
            self.bias,
            self.out or 1.0,
            0,
            torch.float32 if self.out is None else torch.uint8,
            "none",
            [],
            "",
        )
        return as_map(outputs, positions)


def to_integers(x: Tensor, scale: float, zero: int = 0) -> Tensor:
    """Return the uint8 map q (N, C, H, W) whose (q - zero) * scale is nearest to x."""
    rounded = x.float().div(scale).add_(zero).round_().clamp_(0, LEVELS)
    return rounded.to(torch.uint8, memory_format=torch.channels_last)


def _integer_weights(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a weight (K, ...) as int8, and the scale (K,) of each output channel."""
    weight = weight.detach().float()
    scales = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / WEIGHT_LEVELS
    rounded = (weight / scales.view(-1, *[1] * (weight.dim() - 1))).round()
    return rounded.clamp(-WEIGHT_LEVELS, WEIGHT_LEVELS).to(torch.int8), scales


def _input_scale(preprocessing: Preprocessing) -> tuple[float, int]:
    """Return scale and zero point of the net's input: pixels of 0 to 255, less a mean, divided by a deviation."""
    ranges = list(zip(preprocessing.mean, preprocessing.deviation, strict=True))
    low = min(-mean / deviation for mean, deviation in ranges)
    high = max((255 - mean) / deviation for mean, deviation in ranges)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / LEVELS
    return scale, round(-low / scale)


def _following(model: VGG, layer: str) -> str | None:
    """Return the weight layer after `layer`; None after the last."""
    names = [each.name for each in model.architecture.layers()]
    place = names.index(layer) + 1
    return names[place] if place < len(names) else None
