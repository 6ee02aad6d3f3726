"""Read from a Keras model's configuration what its weights do not tell: paddings, activations, poolings, data format.

Kernels have the same shapes in a VGG and in a net with other paddings, strides or activations, so the layers are walked
in their order and whatever differs from a VGG is refused by name. The configuration is read as JSON and nothing of it
is built: a Keras model may hold code.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vggnet.errors import UserError
from vggnet.formats.layers import rounding_is_alike

PASSED = ("InputLayer", "Dropout", "SpatialDropout2D", "Flatten")  # change nothing when the net is tested
TAIL = ("Activation", "ReLU", "MaxPooling2D")  # what still belongs to the last convolution
LAST = ("linear", "softmax")  # activations of fc8


@dataclass
class KerasFacts:
    """Of the weight layers in order: each convolution's padding; and after how many of them each max-pooling stands."""

    channels_first: bool = False
    paddings: list[int] = field(default_factory=list)
    pools: list[int] = field(default_factory=list)


def read_facts(config: str, file: str, weights: int, *, head: bool) -> KerasFacts:
    """Return the facts of a model's first `weights` weight layers. Raises UserError where one differs from a VGG's.

    With `head` the last of them is fc8; without, all are convolutions, and what follows them is not judged.
    """
    try:
        content = json.loads(config)
        layers = list(_flat(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file}: refused: its model configuration cannot be read ({error!r:.120})") from error
    walk = _Walk(file, weights, head)
    for kind, options in layers:
        if walk.taken == weights and not head and kind not in TAIL:
            break
        walk.take(kind, options)
    walk.finish()
    return walk.facts


def _flat(content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (class, options) of the layers in order, those of inner models too."""
    inner = content["config"]
    if isinstance(inner, dict) and "layers" in inner:
        inner = inner["layers"]
    if isinstance(inner, list):
        for layer in inner:
            yield from _flat(layer)
    else:
        yield str(content["class_name"]), dict(inner)


class _Walk:
    """Walk through the layers in order; raises UserError at the first that a VGG does not have there."""

    def __init__(self, file: str, weights: int, head: bool) -> None:
        self.file, self.weights, self.head = file, weights, head
        self.facts = KerasFacts()
        self.taken = 0
        self.size: list[int | None] = []
        self._zeros = 0  # padding that a layer of its own has added
        self._lacks_relu = ""  # the weight layer whose ReLU has not come yet

    def take(self, kind: str, options: dict[str, Any]) -> None:
        name = str(options.get("name", kind))
        if kind == "InputLayer":
            self.size = list(options.get("batch_shape") or options.get("batch_input_shape") or [])[1:]
        if options.get("data_format") == "channels_first":
            self.facts.channels_first = True
        if kind in PASSED or (kind == "GlobalAveragePooling2D" and self.taken == self.weights):  # of the score map
            return
        if kind == "Conv2D":
            self._convolution(name, options)
        elif kind == "Dense":
            self._weights(name, options)
        elif kind == "ZeroPadding2D":
            self._zeros += self._even_padding(name, options)
        elif kind in ("Activation", "ReLU", "Softmax"):
            self._activation(name, _activation_of(kind, options))
        elif kind == "MaxPooling2D":
            self._pool(name, options)
        else:
            raise UserError(
                f"{self.file}: the layer {name} ({kind}) is none of a VGG's layers. If it preprocesses images, "
                "save the net without it and name the preprocessing with `preprocessing`; if it belongs to another "
                "head, `convolutions_only` leaves that out"
            )

    def finish(self) -> None:
        if self.taken != self.weights:
            raise UserError(
                f"{self.file}: its configuration has {self.taken} weight layers, its weights are of {self.weights}"
            )
        if self._lacks_relu and not self.head:
            raise UserError(f"{self.file}: no ReLU follows {self._lacks_relu}; in a VGG one does")

    def _convolution(self, name: str, options: dict[str, Any]) -> None:
        for key, usual in (("strides", 1), ("dilation_rate", 1), ("groups", 1)):
            if _sides(options.get(key, usual)) not in ([usual], [usual, usual]):
                raise UserError(f"{self.file}: {name} has {key} {options[key]}, a VGG's convolutions {usual}")
        kernel, padding = _sides(options.get("kernel_size", 3))[0], options.get("padding", "valid")
        if padding not in ("same", "valid"):
            raise UserError(f"{self.file}: {name} is padded by {padding!r}; expected 'same' or 'valid'")
        own = kernel // 2 if padding == "same" else 0
        self.facts.paddings.append(own + self._zeros)
        self._zeros = 0
        self._weights(name, options)

    def _weights(self, name: str, options: dict[str, Any]) -> None:
        if self._lacks_relu:
            raise UserError(f"{self.file}: no ReLU follows {self._lacks_relu}; in a VGG one does")
        self._no_zeros(name)
        self.taken += 1
        self._lacks_relu = name
        self._activation(name, options.get("activation") or "linear")

    def _activation(self, name: str, activation: Any) -> None:
        if activation == "relu":
            self._lacks_relu = ""
        allowed = LAST if self.head and self.taken == self.weights else ("relu", "linear")
        if activation not in allowed:
            raise UserError(
                f"{self.file}: {name} has the activation {_short(activation)}: a VGG's layers have ReLUs, its last "
                "none or a soft-max"
            )

    def _even_padding(self, name: str, options: dict[str, Any]) -> int:
        given = options.get("padding", 1)
        sides = {side for each in (given if isinstance(given, list) else [given]) for side in _sides(each)}
        if len(sides) != 1:
            raise UserError(f"{self.file}: {name} is padded by {given}; a VGG pads all sides alike")
        return sides.pop()

    def _pool(self, name: str, options: dict[str, Any]) -> None:
        self._no_zeros(name)
        pool = _sides(options.get("pool_size", 2))
        strides = _sides(options["strides"]) if options.get("strides") else pool
        if set(pool) != {2} or set(strides) != {2}:
            raise UserError(f"{self.file}: {name} pools {pool} at strides {strides}: a VGG pools 2x2 at stride 2")
        if options.get("padding", "valid") != "valid" and not rounding_is_alike(self.size):
            raise UserError(
                f"{self.file}: {name} has padding {options['padding']!r}: it rounds the sizes of maps up, a VGG down, "
                "so that images whose sides are no multiples of 32 would be described otherwise: save the net with an "
                "input of 224x224"
            )
        self.facts.pools.append(self.taken)

    def _no_zeros(self, name: str) -> None:
        if self._zeros:
            raise UserError(f"{self.file}: zeros are added before {name}; a VGG pads before convolutions only")


def _activation_of(kind: str, options: dict[str, Any]) -> Any:
    """Return the activation of an activation layer: "relu" for a plain ReLU, else its name."""
    if kind == "Activation":
        return options.get("activation")
    if kind == "Softmax":
        return "softmax"
    plain = options.get("max_value") is None and not options.get("negative_slope") and not options.get("threshold")
    return "relu" if plain else "ReLU with a slope, a threshold or a largest value"


def _sides(value: Any) -> list[int]:
    return [int(side) for side in value] if isinstance(value, (list, tuple)) else [int(value)]


def _short(activation: Any) -> str:
    named = activation.get("class_name", activation) if isinstance(activation, dict) else activation
    return f"{named!s:.60}"
