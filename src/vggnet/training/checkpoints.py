"""The state of a training: what its file holds, and how a training takes it up again.

One safetensors file holds weights, buffers, momentum and, as JSON in its metadata, everything else that the next step
depends on. Random numbers need no state: they are functions of the seed and the step. Checksums of the tensors and of
the JSON find a damaged file.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vggnet.description import first_problem
from vggnet.errors import UserError
from vggnet.network.safetensors_writing import safetensors_parts
from vggnet.network.weights import checksum
from vggnet.training.distributed import World
from vggnet.training.optimization import ScheduleState

_KEY, _CHECKSUM_KEY = "vggnet-training", "vggnet_crc32"
_ANEW = "put the file back from a backup, or start anew in another `out`"

Count = Annotated[int, Field(ge=0)]
Sum = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass
class TrainingProgress:
    """Where a training stands: `step` batches of epoch `epoch` (from 0) are done."""

    epoch: Count = 0
    step: Count = 0
    epoch_loss: Sum = 0.0  # sums over the images of this epoch so far
    epoch_wrong: Sum = 0.0
    epoch_images: Sum = 0.0
    wall_s: Sum = 0.0
    schedule: ScheduleState = field(default_factory=ScheduleState)
    best: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)  # metrics, one row an epoch
    finished: bool = False


_PROGRESS = TypeAdapter(TrainingProgress)


def training_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the weights and buffers ("model.NAME") and the momentum ("momentum.NAME") on their device."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{name}"] = momentum
    return tensors


def state_parts(tensors: Mapping[str, Tensor], progress: str) -> Iterator[bytes | memoryview]:
    """Yield the content of a state file: tensors on the CPU, and the training's progress as JSON."""
    yield from safetensors_parts(tensors, {_KEY: progress, _CHECKSUM_KEY: checksum(progress, tensors)})


def read_progress(path: Path) -> TrainingProgress:
    """Return the progress that a state file holds. UserError for a damaged file or impossible values."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            of_finished = not list(file.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: the saved training state cannot be read ({error}); {_ANEW}") from error
    if _KEY not in metadata:
        raise UserError(f"{path}: not a training state of vggnet; {_ANEW}")
    if of_finished:  # else `restore_state` looks, which reads the tensors anyway
        _refuse_damaged(path, {}, metadata)
    try:
        progress = _PROGRESS.validate_json(metadata[_KEY], strict=True)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}; {_ANEW}") from error
    if len(progress.rows) != progress.epoch:
        raise UserError(f"{path}: epoch: {progress.epoch} done, and {len(progress.rows)} rows of metrics; {_ANEW}")
    return progress


def restore_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load weights, buffers and momentum in place, so that training goes on as if it had not stopped."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        metadata = file.metadata() or {}
    _refuse_damaged(path, tensors, metadata)
    weights = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    momenta = {name[9:]: tensor for name, tensor in tensors.items() if name.startswith("momentum.")}
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    other = next((name for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)), "")
    other = other or next((name for name, tensor in momenta.items() if tensor.shape != expected.get(name)), "")
    if other:
        raise UserError(f"{path}: {other} does not fit the net that config.json describes; {_ANEW}")
    model.load_state_dict(weights)
    for name, parameter in model.named_parameters():
        if name in momenta:
            # the layout of the parameter is kept, since the update runs over both in memory order
            optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momenta[name])


def _refuse_damaged(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, Any]) -> None:
    """Raise UserError where the checksum differs. A state of an earlier version has none."""
    if metadata.get(_CHECKSUM_KEY) not in (None, checksum(metadata.get(_KEY, ""), tensors)):
        raise UserError(f"{path}: damaged: it has changed since it was written (its checksum is another); {_ANEW}")


def share_state(find: Callable[[], Path], model: nn.Module, optimizer: torch.optim.Optimizer, world: World) -> None:
    """Restore the state in the file `find()` on the first rank; the others receive weights, buffers and momentum."""

    def read() -> list[str]:
        restore_state(find(), model, optimizer)
        return [name for name, each in model.named_parameters() if "momentum_buffer" in optimizer.state[each]]

    names = world.from_first(read)
    parameters = dict(model.named_parameters())
    states = [optimizer.state[parameters[name]] for name in names]
    for name, state in zip(names, states, strict=True):
        state.setdefault("momentum_buffer", torch.empty_like(parameters[name]))
    world.broadcast(model.state_dict().values())
    world.broadcast(state["momentum_buffer"] for state in states)
