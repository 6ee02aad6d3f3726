"""Prepare a training step of net D: torchvision's reference script, faster forms of it, timm, and this package."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.benchmarking.nets import compiled, need_bf16, vgg16
from vggnet.benchmarking.problem import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Problem, Ready, ready_step
from vggnet.hardware import choose_precision
from vggnet.network.vgg import VGG
from vggnet.options.choices import StepName
from vggnet.paper.recipes import Recipe
from vggnet.training.distributed import World
from vggnet.training.loop import Loop
from vggnet.training.runs import RunFolder
from vggnet.training.tasks import Inputs, LoopSettings


def _sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def reference_step(problem: Problem) -> Ready:
    """Prepare the step of torchvision's references/classification/train.py, on a GPU with --amp (fp16, scaled loss)."""
    model = vgg16(problem, "torchvision")
    images, labels, optimizer = problem.images(), problem.labels(), _sgd(model)
    amp = problem.device == "cuda"
    scaler = torch.amp.GradScaler("cuda", enabled=amp)

    def forward() -> Tensor:
        with torch.autocast("cuda", torch.float16, enabled=amp):
            scores: Tensor = model(images)
        return scores.float()

    def step() -> None:
        with torch.autocast("cuda", torch.float16, enabled=amp):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return ready_step(model, forward, labels, step)


def plain_step(problem: Problem, library: str, reduced: bool, compile_: bool) -> Ready:
    """Prepare forward, loss, backward and SGD; `reduced` takes bf16 autocast and channels_last."""
    model = vgg16(problem, library)
    images, labels, optimizer = problem.images(), problem.labels(), _sgd(model)
    if reduced:
        need_bf16(problem)
        model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    run = compiled(model) if compile_ else model

    def scores_of(net: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.autocast(problem.device, torch.bfloat16, enabled=reduced):
            scores = net(images)
        return scores.float()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(scores_of(run), labels).backward()
        optimizer.step()

    return ready_step(model, lambda: scores_of(run), labels, step)


def our_step(problem: Problem, step: StepName = "auto", form: Callable[[VGG], VGG] = lambda model: model) -> Ready:
    """Prepare the step of `vggnet train`, taken by its training loop; `form` may prepare the net for it."""
    device = torch.device(problem.device)
    model = form(problem.net().to(device))
    recipe = Recipe(learning_rate=LEARNING_RATE, batch=problem.batch)
    settings = LoopSettings(0, problem.batch, choose_precision("auto", device), step=step)
    images = problem.images().contiguous(memory_format=torch.channels_last)
    inputs = Inputs(images, problem.labels(), torch.arange(problem.batch, device=device))
    loop = Loop(model, recipe, _OneBatch(problem.batch), RunFolder(Path("unused")), World(device=device), settings)
    return ready_step(loop.form, lambda: loop._gradients.forward(images), inputs.targets, lambda: loop._step(inputs, 0))


class _OneBatch:
    """A classification task with as much as the loop needs to take a step."""

    def __init__(self, images: int) -> None:
        self.images = images

    def losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return F.cross_entropy(outputs, targets, reduction="none"), outputs.argmax(1) != targets

    def batches(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Inputs]:
        return iter(())

    def judge(self, model: VGG) -> dict[str, float]:
        return {}
