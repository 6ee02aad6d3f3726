"""The state of a training, written so that a kill at any moment leaves the previous state whole.

One safetensors file holds weights, buffers, momentum and, as JSON in its metadata, everything else that the next step
depends on. Random numbers need no state: they are functions of the seed and the step.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from vggnet.errors import UserError
from vggnet.files import replacing
from vggnet.training.distributed import World

_KEY = "vggnet-training"


@dataclass
class TrainingProgress:
    """Where a training stands: `step` batches of epoch `epoch` (from 0) are done."""

    epoch: int = 0
    step: int = 0
    epoch_loss: float = 0.0  # sums over the images of this epoch so far
    epoch_wrong: float = 0.0
    epoch_images: float = 0.0
    wall_s: float = 0.0
    schedule: dict[str, Any] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)  # metrics, one row an epoch
    finished: bool = False


def write_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: TrainingProgress) -> None:
    """Replace the state at `path`; a finished training keeps its progress only."""
    tensors: dict[str, torch.Tensor] = {}
    if not progress.finished:
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{name}"] = momentum
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as file:
        save_file(contiguous, file, metadata={_KEY: json.dumps(asdict(progress))})


def read_progress(path: Path) -> TrainingProgress:
    """The progress that a state file holds."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: the saved training state cannot be read ({error}); start anew in another --out"
        ) from error
    if _KEY not in metadata:
        raise UserError(f"{path}: not a training state of vggnet; start anew in another --out")
    return TrainingProgress(**json.loads(metadata[_KEY]))


def restore_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load weights, buffers and momentum in place; the next step is the one that would have followed."""
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        weights = {name[6:]: file.get_tensor(name) for name in names if name.startswith("model.")}
        momenta = {name[9:]: file.get_tensor(name) for name in names if name.startswith("momentum.")}
    model.load_state_dict(weights)
    for name, parameter in model.named_parameters():
        if name in momenta:
            # the layout of the parameter is kept, since the update runs over both in memory order
            optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momenta[name])


def share_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, world: World) -> None:
    """`restore_state` on the first rank, which sees the file; the others receive weights, buffers and momentum."""

    def read() -> list[str]:
        restore_state(path, model, optimizer)
        return [name for name, each in model.named_parameters() if "momentum_buffer" in optimizer.state[each]]

    names = world.from_first(read)
    parameters = dict(model.named_parameters())
    states = [optimizer.state[parameters[name]] for name in names]
    for name, state in zip(names, states, strict=True):
        state.setdefault("momentum_buffer", torch.empty_like(parameters[name]))
    world.broadcast(model.state_dict().values())
    world.broadcast(state["momentum_buffer"] for state in states)
