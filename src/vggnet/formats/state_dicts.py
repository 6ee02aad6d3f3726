"""Read the layers of state dicts of torchvision, timm and the original Caffe nets.

    torchvision   features.N (convolutions and norms counted with ReLUs and poolings), classifier.0, .3, .6 (dense);
                  before 2017 classifier.1, .4, .6
    timm          features.N, pre_logits.fc1, pre_logits.fc2 (convolutions), head.fc (dense)
    caffe         conv1_1 ... conv5_3, fc6, fc7, fc8 (dense), with .weight/.bias, _w/_b or .0/.1; blobs may be 4-D

Convolutions only: the same without the head, or the state dict of `model.features` (plain numbers).
"""

import re
from collections.abc import Mapping

from torch import Tensor

from vggnet.console import counted
from vggnet.errors import UserError
from vggnet.formats.layers import ForeignLayer, Found, Norm

HEADS = {
    "torchvision": ("classifier.0", "classifier.3", "classifier.6"),
    "timm": ("pre_logits.fc1", "pre_logits.fc2", "head.fc"),
}
OLD_HEAD = ("classifier.1", "classifier.4", "classifier.6")  # torchvision's before 2017, its dropouts first
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
_CAFFE = re.compile(r"((?:conv[1-5]_[1-4])|(?:fc[678]))(?:\.weight|\.bias|_w|_b|\.0|\.1)")


def layers_of_state(state: Mapping[str, Tensor], layout: str, file: str, *, convolutions_only: bool = False) -> Found:
    """Return the layers of a state dict in one of the layouts. Raises UserError for names that do not belong to it.

    With `convolutions_only` only the trunk's convolutions are taken; the names of the rest are in `left_out`.
    """
    if layout == "caffe":
        return _caffe_layers(state, file, convolutions_only)
    return _sequential_layers(state, layout, file, convolutions_only)


def _sequential_layers(state: Mapping[str, Tensor], layout: str, file: str, convolutions_only: bool) -> Found:
    used: set[str] = set()
    places: dict[int, str] = {}
    for name in state:
        if found := re.fullmatch(r"(?:features\.)?(\d+)\.\w+", name):
            places[int(found[1])] = name.rpartition(".")[0]
    layers: list[ForeignLayer] = []
    for place in sorted(places):
        prefix = places[place]
        weight = state.get(f"{prefix}.weight")
        if weight is None:
            raise UserError(f"{file}: {prefix}.weight is missing")
        if weight.dim() == 4:
            layers.append(ForeignLayer(prefix, weight, state.get(f"{prefix}.bias")))
            used |= {f"{prefix}.weight", f"{prefix}.bias"}
        else:
            _add_norm(layers, state, prefix, file)
            used |= {f"{prefix}.{part}" for part in (*NORM_PARTS, "num_batches_tracked")}
    if not layers:
        raise UserError(f"{file}: no features.N.weight in it: not {layout}'s layout (names such as {_some(state)})")
    old = layout == "torchvision" and "classifier.1.weight" in state
    expected = OLD_HEAD if old else HEADS[layout]
    heads = [name for name in expected if f"{name}.weight" in state]
    if convolutions_only:
        return Found(layers, left_out=tuple(name for name in state if name not in used))
    _check_heads(heads, expected, file)
    for name in heads:
        layers.append(ForeignLayer(name, state[f"{name}.weight"], state.get(f"{name}.bias")))
        used |= {f"{name}.weight", f"{name}.bias"}
    _refuse_unknown([name for name in state if name not in used], layout, file)
    return Found(layers)


def _add_norm(layers: list[ForeignLayer], state: Mapping[str, Tensor], prefix: str, file: str) -> None:
    """Attach the batch normalisation called `prefix` to the convolution before it."""
    parts = [state.get(f"{prefix}.{part}") for part in NORM_PARTS]
    if not layers or layers[-1].norm is not None or any(part is None for part in parts):
        raise UserError(f"{file}: {prefix} is neither a convolution nor a whole batch normalisation after one")
    weight, bias, mean, variance = (part for part in parts if part is not None)
    layers[-1].norm = Norm(weight, bias, mean, variance)


def _check_heads(found: list[str], expected: tuple[str, ...], file: str) -> None:
    if found and len(found) < len(expected):
        lacking = [name for name in expected if name not in found]
        raise UserError(
            f"{file}: has {', '.join(found)} but lacks {', '.join(lacking)}: neither a whole net nor convolutions "
            "only; `convolutions_only` leaves the rest of the head out"
        )


def _refuse_unknown(unknown: list[str], layout: str, file: str) -> None:
    if unknown:
        raise UserError(
            f"{file}: {counted(len(unknown), 'tensor')} not of {layout}'s layout: {', '.join(unknown[:3])}; "
            "another `layout`, or `convolutions_only` to take the convolutions alone?"
        )


def _caffe_layers(state: Mapping[str, Tensor], file: str, convolutions_only: bool) -> Found:
    weights: dict[str, Tensor] = {}
    biases: dict[str, Tensor] = {}
    unknown = []
    for key, tensor in state.items():
        if not (found := _CAFFE.fullmatch(key)):
            unknown.append(key)
        elif key.endswith((".weight", "_w", ".0")):
            weights[found[1]] = tensor
        else:
            biases[found[1]] = tensor
    if not weights:
        raise UserError(f"{file}: no conv1_1 in it: not the Caffe nets' names (names such as {_some(state)})")
    if not convolutions_only:
        _refuse_unknown(unknown, "caffe", file)
    heads = sorted(name for name in weights if name.startswith("fc"))
    if not convolutions_only:
        _check_heads(heads, ("fc6", "fc7", "fc8"), file)
    names = sorted(name for name in weights if name.startswith("conv")) + ([] if convolutions_only else heads)
    layers = []
    for name in names:
        weight, bias = weights[name], biases.get(name)
        given = tuple(weight.shape)
        if name.startswith("fc") and weight.dim() == 4 and given[:2] == (1, 1):
            weight = weight[0, 0]  # old blobs are (1, 1, outputs, inputs)
        layers.append(ForeignLayer(name, weight, None if bias is None else bias.flatten(), given_shape=given))
    return Found(layers, left_out=(*unknown, *heads) if convolutions_only else ())


def _some(state: Mapping[str, Tensor]) -> str:
    return ", ".join(list(state)[:3])
