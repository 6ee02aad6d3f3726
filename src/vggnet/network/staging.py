"""Staged initialisation (Sect. 3.1): a deeper net starts from a trained shallower one.

The paper: "we initialised the first four convolutional layers and the last three fully-connected layers with the layers
of net A (the intermediate layers were initialised randomly)". A source's first four convolutions go where the target
has a layer of the same name: B's are conv1_1, conv1_2, conv2_1, conv2_2 (the deeper nets begin with the same four
layers), A's are conv1_1, conv2_1, conv3_1, conv3_2 (its channels 64, 128, 256, 256 fit by stage only). From a net of
the same configuration every layer is taken (S=384 from S=256). The rows of fc8 are matched by the classes' names,
never by position. A net of another crop takes fc6 resized: each weight is divided among the places of the new map that
it covered.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Architecture, Layer

FIRST_CONVOLUTIONS = 4  # taken from a shallower net
HEAD, RESIZED = "fc8", "fc6"


@dataclass(frozen=True)
class LayerOrigin:
    """Where a layer's weights came from: a `source` layer ("A conv1_1"), or None as initialised, with a `note`."""

    layer: str
    source: str | None
    note: str = ""


@torch.no_grad()
def stage_from(
    target: VGG,
    source_state: Mapping[str, Tensor],
    source_description: ModelDescription,
    *,
    new_head: bool = False,
) -> list[LayerOrigin]:
    """Copy a source net's layers into `target`, in place; the rest stays as initialised.

    `new_head` leaves fc8 as initialised, for other classes. Returns one LayerOrigin per layer, in the paper's order.
    Raises UserError, before anything is copied, where a layer or the classes do not fit.
    """
    source = source_description.architecture
    if source.batch_norm != target.architecture.batch_norm:
        having = {True: "with", False: "without"}
        raise UserError(
            f"the source net {source.net} is {having[source.batch_norm]} batch normalisation, the new net "
            f"{target.architecture.net} {having[target.architecture.batch_norm]}: train both with, or both without"
        )
    layers = {layer.name: layer for layer in source.layers()}
    wanted = _layers_to_take(target.architecture, source)
    if new_head:
        wanted.discard(HEAD)
    for layer in target.architecture.layers():
        if layer.name in wanted:
            _check_fit(layer, layers[layer.name], target.architecture, source)
    rows = _row_order(target.description, source_description) if HEAD in wanted else None

    own_state = target.state_dict()
    _check_complete(wanted, target, source_state)
    transfers = []
    for layer in target.architecture.layers():
        if layer.name not in wanted:
            note = f"random ({target.initialization})" + (", new head" if layer.name == HEAD and new_head else "")
            transfers.append(LayerOrigin(layer.name, None, note))
            continue
        for key in _tensors_of(layer, own_state):
            values = source_state[key]
            if layer.name == HEAD and rows is not None:
                values = values[torch.tensor(rows, device=values.device)]
            if key == f"{RESIZED}.weight":
                values = resized(values, layer.kernel)
            own_state[key].copy_(values)
        note = "classes reordered by name" if layer.name == HEAD and rows is not None else ""
        given = layers[layer.name].kernel
        if layer.kernel != given:
            note = f"resized from {given}x{given} to {layer.kernel}x{layer.kernel}"
        transfers.append(LayerOrigin(layer.name, f"{source.net} {layer.name}", note))
    return transfers


def resized(weight: Tensor, kernel: int) -> Tensor:
    """Return fc6's weight (K, C, k, k) for a map of kernel x kernel, divided by area: sums stay the same."""
    given = weight.shape[-1]
    if given == kernel:
        return weight
    new, old = (torch.arange(side + 1, dtype=torch.float64) / side for side in (kernel, given))
    common = torch.minimum(new[1:, None], old[None, 1:]) - torch.maximum(new[:-1, None], old[None, :-1])
    share = common.clamp(min=0) * given  # (kernel, k): the part of an old cell that a new one takes
    return torch.einsum("ih,jw,kchw->kcij", share, share, weight.double()).to(weight.dtype)


def explain(transfers: list[LayerOrigin]) -> list[str]:
    """Return one line for each layer: 'conv1_1 <- A conv1_1', 'conv1_2 random (gaussian 0.01)'."""
    lines = []
    for transfer in transfers:
        if transfer.source is None:
            lines.append(f"{transfer.layer} {transfer.note}")
        else:
            lines.append(f"{transfer.layer} <- {transfer.source}" + (f" ({transfer.note})" if transfer.note else ""))
    return lines


def _layers_to_take(target: Architecture, source: Architecture) -> set[str]:
    """Return the names of the layers to take: all of the same net, else four convolutions and the FC layers."""
    if target.configuration.kernels == source.configuration.kernels:
        return {layer.name for layer in source.layers()}
    first = [layer.name for layer in source.convolutions()][:FIRST_CONVOLUTIONS]
    own = {layer.name for layer in target.layers()}
    missing = [name for name in first if name not in own]
    if missing:
        raise UserError(
            f"net {target.net} has no {missing[0]} to take from net {source.net}: staged initialisation goes from a "
            f"shallower net to a deeper one; start net {target.net} from A or B, or without `init_from`"
        )
    return {*first, *(layer.name for layer in source.fully_connected())}


def _check_fit(own: Layer, given: Layer, target: Architecture, source: Architecture) -> None:
    """Raise UserError for a layer of another shape, with both shapes and the option that caused it."""
    if own.shape == given.shape or (own.name == HEAD and own.in_channels == given.in_channels):
        return
    if own.name == RESIZED and own.shape[:2] == given.shape[:2]:
        return
    if own.stage and own.kernel != given.kernel:
        reason = f"the kernels differ: net {source.net} has {given.kernel}x{given.kernel}, its filters do not fit"
    else:
        reason = f"give the new net `width` {source.width:g}"
    raise UserError(
        f"{own.name} is {own.shape} in the new net {target.net} but {given.shape} in the source net "
        f"{source.net}: {reason}"
    )


def _check_complete(wanted: set[str], target: VGG, source_state: Mapping[str, Tensor]) -> None:
    """Raise UserError where the source lacks a tensor of its description."""
    given = {
        name for layer in target.architecture.layers() if layer.name in wanted for name in (layer.name, layer.norm)
    }
    keys = [key for key in target.state_dict() if key.split(".")[0] in given]
    missing = [key for key in keys if key not in source_state]
    if missing:
        raise UserError(f"the source net's weights lack {', '.join(missing[:3])}: they do not fit their description")


def _row_order(target: ModelDescription, source: ModelDescription) -> list[int] | None:
    """Return for each of the target's classes the source's row of fc8; None where the rows already agree."""
    if target.architecture.outputs != source.architecture.outputs:
        raise UserError(
            f"fc8 has {source.architecture.outputs} outputs in the source net and {target.architecture.outputs} in the "
            "new one: `new_head` takes all layers but fc8"
        )
    if not (target.classes and source.classes) or target.classes == source.classes:
        return None
    if set(target.classes) != set(source.classes):
        new = sorted(set(target.classes) - set(source.classes))
        gone = sorted(set(source.classes) - set(target.classes))
        raise UserError(
            f"the source net knows other classes ({len(new)} are new, such as {new[0]!r}; {len(gone)} are gone, such "
            f"as {gone[0]!r}): `new_head` takes all layers but fc8"
        )
    position = {name: row for row, name in enumerate(source.classes)}
    return [position[name] for name in target.classes]


def _tensors_of(layer: Layer, state: Mapping[str, Tensor]) -> list[str]:
    """Return the state-dict keys of a layer and of its normalisation."""
    prefixes = (f"{layer.name}.", f"{layer.norm}.")
    return [key for key in state if key.startswith(prefixes)]
