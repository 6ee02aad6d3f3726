"""The common form of other libraries' weights, and the net of Table 1 that they make up.

Names differ in every library; shapes do not. A reader returns `Found`: weight layers in order, and what else the file
says. `recognise` finds the net from the shapes: the convolutions must be one configuration's, the rest nothing
(convolutions only) or fc6, fc7, fc8. `assemble` copies the weights, after every shape has been checked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from vggnet.errors import UserError
from vggnet.formats.inputs import InputConvention
from vggnet.network.weights import is_finite
from vggnet.paper.configurations import CHANNELS, CONFIGURATIONS, TOTAL_STRIDE_PX, Architecture, Layer

EPSILON = 1e-5  # of the net's own batch normalisation
GRAY = (0.299, 0.587, 0.114)  # of R, G and B in a gray value (ITU-R 601-2, as Pillow's `convert("L")`)


@dataclass
class Norm:
    """Batch normalisation after a convolution; tensors (C,)."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    epsilon: float = EPSILON


@dataclass
class ForeignLayer:
    """A weight layer in a file: `weight` is (O, I, k, k), or (O, I) of a dense one; `source` is its name in the file.

    `flattened` is the order of a dense layer's inputs where they came from a map: channels first (PyTorch, Caffe) or
    last (Keras). `given_shape` is the shape in the file, where the reader permuted it. `padding` is a convolution's,
    None where the file does not say. `averaged`: the file averages its input over all positions.
    """

    source: str
    weight: Tensor
    bias: Tensor | None
    norm: Norm | None = None
    flattened: Literal["CHW", "HWC"] = "CHW"
    given_shape: tuple[int, ...] = ()
    padding: int | None = None
    averaged: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.weight.shape)


@dataclass
class Found:
    """What a reader found in a file: weight layers in order, and the rest as far as the file says it.

    `pools` and `relus`: after how many weight layers each max-pooling and each ReLU comes; None where the file does
    not say. `net`: the net of Table 1 that the file names. `architecture`: set by a reader that had to recognise the
    net before it read values. `left_out`: tensors that were not read. `notes`: assumptions that could not be checked.
    """

    layers: list[ForeignLayer] = field(default_factory=list)
    pools: list[int] | None = None
    relus: list[int] | None = None
    net: str | None = None
    architecture: Architecture | None = None
    left_out: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    convention: InputConvention | None = None
    names: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()

    def add_pool(self) -> None:
        """Record a max-pooling after the layers so far."""
        self.pools = [*(self.pools or ()), len(self.layers)]

    def add_relu(self) -> None:
        """Record a ReLU after the layers so far."""
        self.relus = [*(self.relus or ()), len(self.layers)]

    def check_relus(self, file: str) -> None:
        """Raise UserError where a weight layer but the last has no ReLU after it."""
        for place, layer in enumerate(self.layers[:-1], start=1):
            if self.relus is not None and place not in self.relus:
                raise UserError(f"{file}: no ReLU follows {layer.source}; in a VGG one follows each layer but the last")

    def check_pools(self, architecture: Architecture, file: str) -> None:
        """Raise UserError where max-poolings are not where the net has them; the last may be left out of a trunk."""
        expected = [place for place, layer in enumerate(architecture.convolutions(), start=1) if layer.pool]
        found = self.pools
        if found is not None and found[: len(expected)] != expected and found != expected[:-1]:
            raise UserError(
                f"{file}: max-poolings after layers {found}; net {architecture.net} has them after {expected}"
            )


@dataclass(frozen=True)
class LayerReport:
    """A layer's origin: name and shape in the file, its own shape, and what was changed.

    A layer without a source is `absent` for a reason: it is missing in the file, or was left out.
    """

    name: str
    source: str | None
    source_shape: tuple[int, ...] | None
    shape: tuple[int, ...]
    notes: tuple[str, ...] = ()
    absent: str = ""

    def __str__(self) -> str:
        if self.source is None:
            return f"{self.name} {self.absent}"
        turned = "" if self.source_shape == self.shape else f" -> {_text(self.shape)}"
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        return f"{self.name} <- {self.source} {_text(self.source_shape or ())}{turned}{notes}"


def recognise(
    layers: Sequence[ForeignLayer], file: str, *, net: str | None = None, convolutions_only: bool = False
) -> Architecture:
    """Return the architecture that has layers of these shapes. Raises UserError with the shapes where none has.

    `net` names it where shapes do not decide (A-LRN has A's); it must fit all the same. With
    `convolutions_only` whatever follows the convolutions is ignored.
    """
    if not layers or layers[0].weight.dim() != 4:
        raise UserError(f"{file}: expected convolutions as the first weight layers, found none")
    width = layers[0].shape[0] / CHANNELS[0]
    if not 0 < width <= 8:
        raise UserError(f"{file}: {layers[0].source} has {layers[0].shape[0]} filters; a VGG has 1 to 512 there")
    channels = layers[0].shape[1]
    if channels not in (1, 3):
        raise UserError(
            f"{file}: {layers[0].source} takes {channels} input channels: images have three, or one if gray"
        )
    candidates = [net] if net is not None else list(CONFIGURATIONS)
    for name in candidates:
        trunk = Architecture(name, 0, width, convolutions_only=True)
        expected = [layer.shape for layer in trunk.convolutions()]
        rest = [] if convolutions_only else layers[len(expected) :]
        expected[0] = (expected[0][0], channels, *expected[0][2:])  # a gray one is spread over three by `assemble`
        if [layer.shape for layer in layers[: len(expected)]] != expected or len(rest) not in (0, 3):
            continue
        normed = [layer.norm is not None for layer in layers[: len(expected)]]
        if any(normed) and not all(normed):
            raise UserError(
                f"{file}: {sum(normed)} of {len(normed)} convolutions have batch normalisation; all or none must"
            )
        batch_norm = all(normed)
        if not rest:
            return Architecture(name, 0, width, batch_norm=batch_norm, convolutions_only=True)
        return _with_head(name, width, batch_norm, rest, file)
    found = ", ".join(_text(layer.shape) for layer in layers)
    asked = f"net {net} does not have" if net is not None else "no net of Table 1 has"
    raise UserError(
        f"{file}: {asked} these weight layers: {found}. A VGG has its convolutions and then fc6, fc7, fc8, or "
        "its convolutions only (`convolutions_only` leaves a head out that is none of these)"
    )


def _with_head(name: str, width: float, batch_norm: bool, rest: Sequence[ForeignLayer], file: str) -> Architecture:
    """Return the architecture with these three FC layers. Raises UserError where one does not fit."""
    fc6, _, fc8 = rest
    *_, last = Architecture(name, 0, width, convolutions_only=True).convolutions()
    channels = last.out_channels
    kernel = fc6.shape[2] if fc6.weight.dim() == 4 else math.isqrt(fc6.shape[1] // channels)
    if not 1 <= kernel <= 64:
        raise UserError(f"{file}: {fc6.source} {_text(fc6.shape)} fits no pool5 map of {channels} channels")
    architecture = Architecture(name, fc8.shape[0], width, kernel * TOTAL_STRIDE_PX, batch_norm)
    for layer, expected in zip(rest, architecture.fully_connected(), strict=True):
        inputs = math.prod(layer.shape[1:])
        if (layer.shape[0], inputs) != (expected.out_channels, expected.fan_in):
            raise UserError(
                f"{file}: {layer.source} is {_text(layer.shape)}, {expected.name} of net {name} at width {width:g} is "
                f"{expected.out_channels}x{expected.fan_in}: another head; `convolutions_only` leaves it out"
            )
    return architecture


def assemble(
    layers: Sequence[ForeignLayer],
    architecture: Architecture,
    convention: InputConvention,
    file: str,
    absent: str = "missing (convolutions only)",
) -> tuple[dict[str, Tensor], list[LayerReport]]:
    """Return the state dict of the project's net and a report, from layers that `recognise` accepted.

    `absent` says of the FC layers why a net of convolutions only is without them.
    Raises UserError for a bias or norm of another shape, for integers, and for values that are not finite.
    """
    _refuse_a_lost_bias(layers, file)
    state: dict[str, Tensor] = {}
    report = []
    for own, given in zip(architecture.layers(), layers, strict=True):
        if given.padding not in (None, own.padding):
            raise UserError(f"{file}: {given.source} has a padding of {given.padding}, {own.name} of {own.padding}")
        if given.averaged and own.name == "fc6":
            raise UserError(
                f"{file}: the last map is averaged before {given.source}, a VGG's fc6 sees it whole: another net; "
                "`convolutions_only` leaves such a head out"
            )
        notes = list(given.notes)
        weight = _weight(given, own, notes)
        if own.name == "conv1_1":
            if weight.shape[1] == 1:
                weight = _spread(weight, convention, given.source, file)
                notes.append("one gray channel spread over R, G and B")
            notes += _input_notes(convention)
            weight = convention.fold(weight)
        bias = given.bias
        if bias is None:
            bias = torch.zeros(own.out_channels)
            notes.append("no bias in the file: zeros")
        tensors = {f"{own.name}.weight": weight, f"{own.name}.bias": bias}
        if given.norm is not None:
            tensors |= _norm_tensors(given.norm, own.norm, given.source, file)
        for key, tensor in tensors.items():
            own_shape = own.shape if key == f"{own.name}.weight" else (own.out_channels,)
            state[key] = _accepted(tensor, key, own_shape, given.source, file)
        if given.norm is not None:
            state[f"{own.norm}.num_batches_tracked"] = torch.tensor(0)
        report.append(LayerReport(own.name, given.source, given.given_shape or given.shape, own.shape, tuple(notes)))
    if architecture.convolutions_only:
        report += [LayerReport(name, None, None, (), absent=absent) for name in ("fc6", "fc7", "fc8")]
    return state, report


def _refuse_a_lost_bias(layers: Sequence[ForeignLayer], file: str) -> None:
    """Raise UserError where some layers without a norm have a bias and others have none: a part of the file is lost."""
    plain = [layer for layer in layers if layer.norm is None]
    without = [layer.source for layer in plain if layer.bias is None]
    if without and len(without) < len(plain):
        raise UserError(f"{file}: {without[0]} has no bias, and other layers have one: a part of the file is missing")


def _weight(given: ForeignLayer, own: Layer, notes: list[str]) -> Tensor:
    """Return the weight as (O, I, k, k)."""
    weight = given.weight
    if weight.dim() == 4:
        return weight
    if given.flattened == "HWC" and own.kernel > 1:
        notes.append("inputs put from rows, columns, channels into channels, rows, columns")
        return weight.reshape(own.out_channels, own.kernel, own.kernel, own.in_channels).permute(0, 3, 1, 2)
    return weight.reshape(own.shape)


def _spread(weight: Tensor, convention: InputConvention, source: str, file: str) -> Tensor:
    """Return filters (O, 1, k, k) on a gray image as filters on three channels, in the file's order of channels.

    A colour image gives what its gray value would: the weights of R, G and B in it sum to 1.
    """
    if len(set(convention.mean)) > 1 or len(set(convention.deviation)) > 1:
        raise UserError(
            f"{file}: {source} has 1 input channel (gray images), and the preprocessing has a mean or deviation for "
            "each of three: give `preprocessing` unit or tf, or a JSON file whose mean and deviation are three times "
            "the gray one"
        )
    shares = GRAY if convention.order == "RGB" else GRAY[::-1]
    return torch.cat([weight.double() * share for share in shares], 1)


def _input_notes(convention: InputConvention) -> list[str]:
    notes = ["BGR turned to RGB"] if convention.order == "BGR" else []
    shared = convention.to_contract()[1]
    return [*notes, f"divided by {shared:g}, the input's scale"] if shared != 1.0 else notes


def _norm_tensors(norm: Norm, name: str, source: str, file: str) -> dict[str, Tensor]:
    """Return the norm's tensors; another epsilon becomes part of the variance, which gives the same net."""
    variance = norm.running_var
    if abs(norm.epsilon - EPSILON) > 1e-9:
        variance = variance + (norm.epsilon - EPSILON)
    if bool((variance + EPSILON <= 0).any()):
        raise UserError(f"{file}: {source}: the normalisation's variance is not above 0")
    return {
        f"{name}.weight": norm.weight,
        f"{name}.bias": norm.bias,
        f"{name}.running_mean": norm.running_mean,
        f"{name}.running_var": variance,
    }


def _accepted(tensor: Tensor, key: str, shape: tuple[int, ...], source: str, file: str) -> Tensor:
    if not tensor.is_floating_point():
        raise UserError(f"{file}: {source}: {key} is of type {tensor.dtype}, weights are floating-point numbers")
    if tuple(tensor.shape) != shape:
        raise UserError(f"{file}: {source}: {key} is {_text(tuple(tensor.shape))}, the net needs {_text(shape)}")
    own = tensor.to(torch.float32).contiguous()
    if not is_finite(own):
        raise UserError(f"{file}: {source}: {key} has values that are not finite")
    return own


def rounding_is_alike(size_px: Sequence[int | None]) -> bool:
    """Return whether poolings that round sizes up equal a VGG's, which round down, on all images that a net accepts.

    `size_px` is its input's shape without the batch, None where any size is accepted: only sides that are fixed to
    multiples of 32 are halved five times without a rest.
    """
    sides = [side for side in size_px if side not in (1, 3)]  # channels first or last
    return len(sides) == 2 and all(side is not None and side % TOTAL_STRIDE_PX == 0 for side in sides)


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
