"""Define what every way computes: net D's scores of one batch, or a training step, from equal weights and images.

The parameters of torchvision's and timm's vgg16 have the order of ours, and the same shapes except for the FC layers.
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

BenchTask = Literal["training", "inference"]
CLASSES = 1000
SAMPLES = 4096  # values of each gradient that are compared
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-4, 0.9, 5e-4


class Absent(Exception):
    """A library, a compiler or an instruction that a way needs is missing; the text names it."""


@dataclass(frozen=True)
class Problem:
    """A task on one batch of images, the device, and the CPU threads; `width` and `crop` shrink net D for trials."""

    task: BenchTask
    device: str
    batch: int
    threads: int
    width: float = 1.0
    crop: int = 224

    def net(self) -> VGG:
        """Return our net D on the CPU, with the weights that all ways start from."""
        return build("D", num_classes=CLASSES, width=self.width, crop=self.crop, init="he", seed=0)

    def images(self) -> Tensor:
        """Return the batch on the device: normally distributed, (N, 3, crop, crop)."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(self.batch, 3, self.crop, self.crop, generator=generator).to(self.device)

    def labels(self) -> Tensor:
        """Return the batch's labels on the device, (N,)."""
        return torch.randint(CLASSES, (self.batch,), generator=torch.Generator().manual_seed(2)).to(self.device)

    @property
    def flop(self) -> float:
        """Floating-point operations of one call; a step is three forward passes less conv1_1's input gradient."""
        architecture = Architecture("D", CLASSES, self.width, self.crop)
        forward = 2.0 * architecture.multiply_adds()
        first = next(architecture.convolutions())
        step = 3 * forward - 2.0 * first.weights * self.crop**2
        return self.batch * (step if self.task == "training" else forward)


@dataclass
class Ready:
    """A way that is ready to be timed; `scores` (N, K) and, in training, samples of each gradient check it."""

    call: Callable[[], object]
    scores: Tensor
    gradients: list[Tensor] = field(default_factory=list)


def give_weights(source: VGG, target: nn.Module) -> None:
    """Copy our weights into another library's vgg16."""
    with torch.no_grad():
        for own, other in zip(source.parameters(), target.parameters(), strict=True):
            other.copy_(own.view_as(other))


def ready_step(model: nn.Module, forward: Callable[[], Tensor], labels: Tensor, step: Callable[[], object]) -> Ready:
    """Return a training step, with the scores and gradients of the net without dropout, before the first step."""
    model.eval()
    model.zero_grad(set_to_none=True)
    scores = forward()
    F.cross_entropy(scores, labels).backward()
    gradients = [sampled(parameter.grad) for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad(set_to_none=True)
    model.train()
    return Ready(step, scores.detach().float().cpu(), gradients)


def sampled(gradient: Tensor) -> Tensor:
    """Return values of a gradient, (SAMPLES,) fp32, from places that depend on its size alone."""
    flat = gradient.detach().reshape(-1).float().cpu()
    return flat[torch.randint(len(flat), (SAMPLES,), generator=torch.Generator().manual_seed(3))]
