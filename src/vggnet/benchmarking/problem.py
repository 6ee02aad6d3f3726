"""What every path computes: net D's scores of one batch, or a step of its training, from the same weights and images.

Torchvision's vgg16 and timm's list their parameters in the order of ours, and in the same shapes but for fc6's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Architecture

Task = Literal["training", "inference"]
CLASSES = 1000
SAMPLES = 4096  # values of each gradient that are compared
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-4, 0.9, 5e-4


class Absent(Exception):
    """A path that cannot run here: a library, a compiler or an instruction is missing. Its text says which."""


@dataclass(frozen=True)
class Problem:
    """One batch of net D, its device, and what the machine has."""

    task: Task
    device: str
    batch: int
    threads: int
    width: float = 1.0
    crop: int = 224

    def net(self) -> VGG:
        """Our net D with the weights that all paths start from, on the CPU."""
        return build("D", num_classes=CLASSES, width=self.width, crop=self.crop, init="he", seed=0)

    def images(self) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.randn(self.batch, 3, self.crop, self.crop, generator=generator).to(self.device)

    def labels(self) -> Tensor:
        return torch.randint(CLASSES, (self.batch,), generator=torch.Generator().manual_seed(2)).to(self.device)

    @property
    def flop(self) -> float:
        """Of one call, in floating-point operations: a step is three forward passes, less conv1_1's data gradient."""
        architecture = Architecture("D", CLASSES, self.width, self.crop)
        forward = 2.0 * architecture.multiply_adds()
        first = next(architecture.convolutions())
        step = 3 * forward - 2.0 * first.weights * self.crop**2
        return self.batch * (step if self.task == "training" else forward)


@dataclass
class Ready:
    """A path that can be timed. `scores` (N, K) fp32 on the CPU; `gradients` sampled, by parameter, in training."""

    call: Callable[[], object]
    scores: Tensor
    gradients: list[Tensor] = field(default_factory=list)


def give_weights(source: VGG, target: nn.Module) -> None:
    """Copy our weights into another library's vgg16."""
    with torch.no_grad():
        for own, other in zip(source.parameters(), target.parameters(), strict=True):
            other.copy_(own.view_as(other))


def ready_step(model: nn.Module, forward: Callable[[], Tensor], labels: Tensor, step: Callable[[], object]) -> Ready:
    """A training step with what checks it: scores and gradients without dropout, before any step was taken."""
    model.eval()
    model.zero_grad(set_to_none=True)
    scores = forward()
    F.cross_entropy(scores, labels).backward()
    gradients = [sampled(parameter.grad) for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad(set_to_none=True)
    model.train()
    return Ready(step, scores.detach().float().cpu(), gradients)


def sampled(gradient: Tensor) -> Tensor:
    """Some of a gradient's values, drawn from all of it; the same places whatever its shape and layout."""
    flat = gradient.detach().reshape(-1).float().cpu()
    return flat[torch.randint(len(flat), (SAMPLES,), generator=torch.Generator().manual_seed(3))]
