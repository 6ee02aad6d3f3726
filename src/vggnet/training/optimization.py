"""Build SGD (Sect. 3.1), and decide after each epoch whether its rate drops or training ends (`Plateau`)."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from vggnet.console import counted
from vggnet.paper.recipes import Recipe


def build_optimizer(model: nn.Module, recipe: Recipe, feature_scale: float = 1.0) -> torch.optim.SGD:
    """Mini-batch SGD with momentum; weight decay on every parameter that trains, biases included.

    A group's rate is the schedule's times its `rate_factor`. fc8 may have a rate of its own. fc6 learns as if its input
    x were x / s, s the net's `feature_scale`, and its weight W s: so the rate of W is divided by s^2 and its decay
    multiplied by s^2.
    """
    training = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    groups: list[dict[str, Any]] = []
    if recipe.head_learning_rate is not None:
        head = [training.pop(name) for name in list(training) if name.startswith("fc8.")]
        groups.append({"params": head, "rate_factor": recipe.head_learning_rate / recipe.learning_rate})
    if feature_scale != 1 and "fc6.weight" in training:
        fitted, square = [training.pop("fc6.weight")], feature_scale**2
        groups.append({"params": fitted, "rate_factor": 1 / square, "weight_decay": recipe.weight_decay * square})
    if training:
        groups.append({"params": list(training.values()), "rate_factor": 1.0})
    return torch.optim.SGD(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,  # one pass over weight, gradient and momentum, on CPUs too
    )


@dataclass(frozen=True)
class ScheduleState:
    """What a checkpoint holds of a `Plateau`. `best_error` is None before the first epoch."""

    drops_done: Annotated[int, Field(ge=0)] = 0
    best_error: Annotated[float, Field(allow_inf_nan=False)] | None = None
    epochs_since: Annotated[int, Field(ge=0)] = 0
    lowered: Annotated[int, Field(ge=0)] = 0


@dataclass
class Plateau:
    """The state of the schedule; a plain record, so that a checkpoint can hold it as JSON.

    `after_epoch` is told the judged error of each epoch and answers whether training goes on.
    """

    recipe: Recipe
    drops_done: int = 0
    best_error: float = float("inf")
    epochs_since: int = 0  # epochs since the error improved or the rate was divided
    lowered: int = 0  # how often the rate was divided because the training diverged
    log: list[str] = field(default_factory=list)

    @property
    def learning_rate(self) -> float:
        return self.recipe.learning_rate / self.recipe.drop_factor ** (self.drops_done + self.lowered)

    def after_epoch(self, epochs_done: int, error: float) -> bool:
        """Take the error after `epochs_done` epochs; divide the rate if it is time; False when training is over."""
        if error < self.best_error:
            self.best_error, self.epochs_since = error, 0
        else:
            self.epochs_since += 1
        if epochs_done >= self.recipe.epochs:
            return False
        stalled = self.epochs_since >= self.recipe.patience
        if stalled and self.drops_done == self.recipe.drops:
            self.log.append(f"epoch {epochs_done}: {self._stalled()} at the last rate: end")
            return False
        if self.drops_done < self.recipe.drops and (stalled or self._due(epochs_done)):
            why = self._stalled() if stalled else "the epoch budget asks for it"
            self.drops_done += 1
            self.epochs_since = 0
            self.log.append(f"epoch {epochs_done}: learning rate now {self.learning_rate:.3g} ({why})")
        return True

    def _stalled(self) -> str:
        return f"no improvement for {counted(self.epochs_since, 'epoch')}"

    def _due(self, epochs_done: int) -> bool:
        latest = self.recipe.latest_drops
        return self.drops_done < len(latest) and epochs_done >= latest[self.drops_done] * self.recipe.epochs

    def state(self) -> ScheduleState:
        best = self.best_error if self.best_error != float("inf") else None
        return ScheduleState(self.drops_done, best, self.epochs_since, self.lowered)

    def restore(self, state: ScheduleState) -> None:
        self.drops_done, self.epochs_since, self.lowered = state.drops_done, state.epochs_since, state.lowered
        self.best_error = float("inf") if state.best_error is None else state.best_error
