"""Speed changes no result: bf16, fast layout and kept memory against plain fp32, on real images (handwritten digits).

The images are scikit-learn's 1797 scans, enlarged to 32 px. What is said of layers is printed: `pytest -m slow -s`.
"""

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from vggnet.evaluation.forward import ready_to_score
from vggnet.hardware import cpu_has_bf16
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.paper.recipes import Recipe
from vggnet.training.distributed import World
from vggnet.training.loop import Loop
from vggnet.training.runs import RunFolder
from vggnet.training.tasks import Inputs, LoopSettings

BATCH, STEPS, HELD_OUT = 32, 200, 397
LEAST_COSINE = 0.999
SMOOTHED = 20  # steps whose losses are averaged before curves are compared
pytestmark = pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no bf16 instructions")


@cache
def digits() -> tuple[Tensor, Tensor]:
    """(1797, 3, 32, 32) less the mean, by the deviation, and labels."""
    found = load_digits()
    scans = [Image.fromarray((each * 15.9).astype(np.uint8)).resize((32, 32)) for each in found.images]
    pixels = torch.from_numpy(np.stack(scans)).float()
    images = ((pixels - pixels.mean()) / pixels.std())[:, None].expand(-1, 3, -1, -1)
    return images.contiguous(memory_format=torch.channels_last), torch.from_numpy(found.target)


class Digits:
    """The task as the loop wants it."""

    images = BATCH

    def losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        losses = F.cross_entropy(outputs, targets, reduction="none")
        self.last = float(losses.detach().mean())
        return losses, outputs.argmax(1) != targets


class Training:
    """A training of a small net, step by step, by the loop's own step."""

    def __init__(self, net: str, precision: str, seed: int) -> None:
        self.model = build(net, num_classes=10, width=1 / 4, crop=32, init="he", seed=seed)
        self.model.train()
        self.task, self.seed = Digits(), seed
        settings = LoopSettings(seed, BATCH, precision)
        recipe = Recipe(batch=BATCH, learning_rate=5e-3)
        self.loop = Loop(self.model, recipe, self.task, RunFolder(Path("unused")), World(), settings)  # type: ignore[arg-type]

    def inputs(self, step: int) -> Inputs:
        images, labels = digits()
        chosen = torch.randperm(
            len(images) - HELD_OUT, generator=torch.Generator().manual_seed(1000 * self.seed + step)
        )
        return Inputs(images[chosen[:BATCH]], labels[chosen[:BATCH]], chosen[:BATCH])

    def losses(self) -> Iterator[float]:
        for step in range(STEPS):
            self.loop._step(self.inputs(step), step)
            yield self.task.last


def smoothed(losses: list[float]) -> np.ndarray:
    return np.array(losses).reshape(-1, SMOOTHED).mean(1)


def answers(model: VGG, precision: str) -> np.ndarray:
    images, _ = digits()
    with ready_to_score(model, "cpu", precision) as scorer:  # type: ignore[arg-type]
        return scorer.model(images[-HELD_OUT:]).flatten(1).float().numpy()


@pytest.mark.slow
def test_200_steps_follow_the_reference() -> None:
    """The bf16 curve is nearer to fp32's than another seed's fp32 is; the held-out error is the same, and so are the
    answers of evaluation in bf16 for 99.5 % of images."""
    curves, errors = {}, {}
    _, labels = digits()
    for precision, seed in (("fp32", 0), ("bf16", 0), ("fp32", 1)):
        training = Training("A", precision, seed)
        curves[precision, seed] = smoothed(list(training.losses()))
        scores = answers(training.model, "fp32")
        errors[precision, seed] = float((scores.argmax(1) != labels[-HELD_OUT:].numpy()).mean())
        same = float((scores.argmax(1) == answers(training.model, "bf16").argmax(1)).mean())
        print(
            f"{precision} seed {seed}: losses {np.round(curves[precision, seed], 3)}, "
            f"error {errors[precision, seed]:.3f}, evaluation in bf16 gives {same:.2%} of the answers"
        )
        assert same >= 0.995
    ours = np.abs(curves["bf16", 0] - curves["fp32", 0]).mean()
    spread = np.abs(curves["fp32", 1] - curves["fp32", 0]).mean()
    print(f"mean distance of the curves: bf16 to fp32 {ours:.4f}, two seeds {spread:.4f}")
    assert curves["fp32", 0][-1] < 0.5 * curves["fp32", 0][0]  # it has learnt something
    assert ours <= spread
    noise = 2 * np.sqrt(2 * 0.1 * 0.9 / HELD_OUT)
    assert abs(errors["bf16", 0] - errors["fp32", 0]) <= max(noise, abs(errors["fp32", 1] - errors["fp32", 0]))


def gradients(model: VGG, inputs: Inputs, precision: str, seed: int) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    torch.manual_seed(seed)  # dropout
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        scores = model(inputs.images)
    F.cross_entropy(scores.flatten(1).float(), inputs.targets).backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def cosines(model: VGG, other: VGG, inputs: Inputs, seed: int, precision: str) -> dict[str, float]:
    """Of each parameter's gradient of `other` in `precision` with that of `model` in fp32."""
    exact, found = gradients(model, inputs, "fp32", seed), gradients(other, inputs, precision, seed)
    return {name: float(F.cosine_similarity(exact[name].flatten(), found[name].flatten(), 0)) for name in exact}


@pytest.mark.slow
def test_gradients_of_each_layer() -> None:
    """Net D at the weights before steps 1, 10 and 100.

    0.999 is not reached in most layers, and no bf16 forward pass could: a rounding moves units across the kink of their
    ReLU and changes which of four is the largest, and there the gradient jumps. Computing in fp32 on weights that were
    rounded once shows the same to a factor of three; the next test shows that nothing else is lost.
    """
    training = Training("D", "fp32", 0)
    for step in range(100):
        if step + 1 in (1, 10, 100):
            inputs = training.inputs(step)
            found = cosines(training.model, training.model, inputs, step, "bf16")
            print(f"step {step + 1}: " + ", ".join(f"{name} {value:.5f}" for name, value in found.items()))
            rounded = copy.deepcopy(training.model)
            with torch.no_grad():
                for parameter in rounded.parameters():
                    parameter.copy_(parameter.bfloat16().float())
            only_rounded = cosines(training.model, rounded, inputs, step, "fp32")
            print(f"  rounded once, fp32: least {min(only_rounded.values()):.5f}")
            assert 1 - np.median(list(found.values())) <= 3 * (1 - np.median(list(only_rounded.values())))
        training.loop._step(training.inputs(step), step)


def test_gradients_without_kinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a smooth activation and average pooling in their places, every layer's cosine is at least 0.999."""
    training = Training("D", "fp32", 0)
    monkeypatch.setattr(F, "relu", F.silu)
    monkeypatch.setattr(F, "max_pool2d", F.avg_pool2d)
    found = cosines(training.model, training.model, training.inputs(0), 0, "bf16")
    assert min(found.values()) >= LEAST_COSINE, found
