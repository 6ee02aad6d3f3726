"""A step on a GPU is queued without waiting for the GPU: found out without one, on tensors that have no values."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from vggnet.description import ModelDescription, Preprocessing
from vggnet.images.loading import Batch
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.options.choices import StepName
from vggnet.paper.configurations import Architecture
from vggnet.paper.recipes import Recipe
from vggnet.training.distributed import World
from vggnet.training.loop import Loop
from vggnet.training.runs import RunFolder
from vggnet.training.session import Session
from vggnet.training.tasks import Inputs, LoopSettings

GPU = torch.device("cuda")


class Waits(TorchDispatchMode):
    """Writes down what would make this process wait for the GPU: values that are read, copies that are awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(function)
        if "_local_scalar_dense" in name or "nonzero" in name:
            self.found.append(name)
        if name.startswith(("aten._to_copy", "aten.copy_")):
            here = args[1 if "copy_." in name and "_to_" not in name else 0]
            there = kwargs["device"] if kwargs.get("device") is not None else args[0].device
            awaited = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
            if {here.device.type, there.type} == {"cpu", "cuda"} and awaited:
                self.found.append(f"{name} from {here.device} to {there}")
        if "_fused_sgd_" in name:
            return None  # PyTorch cannot do this one without values
        return function(*args, **kwargs)


class Task:
    images = 10

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return F.cross_entropy(outputs, targets, reduction="none"), outputs.argmax(1) != targets


def batches() -> Iterator[Batch]:
    labels, indices = torch.zeros(10, dtype=torch.long), torch.arange(10)
    yield Batch(torch.zeros(10, 32, 32, 3, dtype=torch.uint8), torch.zeros(10, 3), labels, indices, torch.zeros(10, 4))


def inputs_of(read: Iterator[Batch], preprocessing: Preprocessing) -> list[torch.Tensor]:
    """What a session makes of them for the net."""
    description = ModelDescription(Architecture("A", 3, 1 / 32, 32), preprocessing)
    session: Any = SimpleNamespace(
        world=World(device=GPU),
        model=SimpleNamespace(description=description),
        lost=SimpleNamespace(add=lambda *found: None),
    )
    return [images for _, images in Session.inputs(session, read, 10)]


@pytest.fixture
def waits() -> Iterator[Waits]:
    with FakeTensorMode(), Waits() as found:
        yield found


def test_what_waits_is_found(waits: Waits) -> None:
    values = torch.zeros(3).to(GPU, non_blocking=True)
    assert waits.found == []
    for wait in (values.cpu, lambda: torch.tensor([1.0], device=GPU), lambda: values.copy_(torch.ones(3))):
        wait()
    assert len(waits.found) == 3


@pytest.mark.parametrize("deviation", [(1.0, 1.0, 1.0), (58.0, 57.0, 56.0)])
def test_images_go_to_the_gpu_without_waiting(waits: Waits, deviation: tuple[float, float, float]) -> None:
    (images,) = inputs_of(batches(), Preprocessing(deviation=deviation))
    assert images.device.type == "cuda"
    assert images.shape == (10, 3, 32, 32)
    assert waits.found == []


@pytest.fixture
def no_timing() -> Iterator[None]:
    """Let the loop choose whether cuDNN times its kernels, and undo it."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False):
        yield


@pytest.mark.usefixtures("no_timing")
def test_a_step_is_queued_without_waiting(waits: Waits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with GPU:
        model = VGG(ModelDescription(Architecture("A", 3, 1 / 32, 32)))
    settings = LoopSettings(seed=5, micro_batch=4, precision="fp32", step="plain")
    loop = Loop(model, Recipe(batch=10), Task(), RunFolder(tmp_path), World(device=GPU), settings)  # type: ignore[arg-type]
    inputs = Inputs(
        torch.zeros(10, 3, 32, 32, device=GPU),
        torch.zeros(10, dtype=torch.long, device=GPU),
        torch.arange(10, device=GPU),
    )

    def backward(loss: torch.Tensor) -> None:  # the real one wants a GPU
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    for step in range(2):
        loop._step(inputs, step)
    assert len(loop.optimizer.state) == len(list(model.parameters()))
    assert waits.found == []
    assert torch.backends.cudnn.benchmark


@pytest.mark.gpu
@pytest.mark.usefixtures("no_timing")
@pytest.mark.parametrize("step", ["fused", "compiled", "plain"])
def test_on_a_gpu(tmp_path: Path, step: StepName) -> None:
    model = build("A", num_classes=3, width=1 / 4, crop=64, init="he").to(GPU)
    settings = LoopSettings(seed=5, micro_batch=4, precision="bf16", step=step)
    loop = Loop(model, Recipe(batch=10), Task(), RunFolder(tmp_path), World(device=GPU), settings)  # type: ignore[arg-type]
    inputs = Inputs(
        torch.randn(10, 3, 64, 64, device=GPU),
        torch.zeros(10, dtype=torch.long, device=GPU),
        torch.arange(10, device=GPU),
    )
    loop._step(inputs, 0)  # compiles
    (batch,) = batches()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loop._step(inputs, 1)
        inputs_of(iter([batch]), Preprocessing())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
