"""Stop a training whose numbers are no longer finite, before they reach the weights, a figure or a file.

The optimizer skips an update whose loss or gradient is not finite, and all updates after it, on the device itself:
asking a GPU at every step would make this process wait for its queue. So the weights are the last finite ones
whenever the loop looks.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vggnet.errors import Diverged
from vggnet.network.weights import is_finite
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.distributed import World


class Watch:
    """`found` (fp32, on the device) is 1 from the first step on whose loss or gradient is not finite on some rank."""

    def __init__(self, optimizer: torch.optim.Optimizer, world: World) -> None:
        self.found = torch.zeros((), device=world.device)
        self._good = torch.zeros((), dtype=torch.float64, device=world.device)  # steps before that one
        self._world = world
        self._parameters = [each for group in optimizer.param_groups for each in group["params"]]
        optimizer.found_inf = self.found  # type: ignore[attr-defined]  # PyTorch's fused SGD leaves all as it is at 1

    def look(self, loss: Tensor) -> None:
        """Look at a step's loss and gradients, before its update. Nothing waits for a GPU."""
        norms = torch._foreach_norm([each.grad for each in self._parameters if each.grad is not None])
        finite = torch.isfinite(torch.stack(norms)).all() & torch.isfinite(loss)
        self.found.copy_(torch.maximum(self.found, (~finite).float()))
        self._world.maximum(self.found)  # the loss of another rank's images is not in the gradients
        self._good += 1 - self.found

    def has_diverged(self) -> bool:
        """Whether an update was skipped; waits for the device."""
        return bool(self.found)

    def good_steps(self) -> int:
        """Return how many steps since `restart` came before the first one that was not finite; waits for the device."""
        return int(self._good)

    def restart(self) -> None:
        """Count from now on."""
        self.found.zero_()
        self._good.zero_()


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor with a value that is not finite; None where there is none."""
    return next((name for name, tensor in tensors.items() if not is_finite(tensor)), None)


def diverged(
    what: str, progress: TrainingProgress, run: Path, learning_rate: float, replay: Path | None = None
) -> Diverged:
    """Return the error of a training in which `what` was found; it says what is stored and what to do next.

    `replay` is the file that describes the batch, where there is one.
    """
    if progress.epoch:
        stored = f"{run} holds the weights of epoch {progress.epoch}, the last whose figures were finite"
    else:
        stored = "no weights were saved"
    begin = f" (`init_from` {run} begins with its best weights)" if progress.best else ""
    shown = "`vggnet diagnose` shows each layer's signal beforehand"
    if replay is not None:
        shown = f"`vggnet diagnose {replay}` shows its batch"
    return Diverged(
        f"{what} in epoch {progress.epoch + 1}; {stored}. Start another run, with another `out`, with a "
        f"`learning_rate` below {learning_rate:.3g} or another `init`{begin}, or continue with `on_divergence` "
        f"lower-rate; {shown}"
    )
