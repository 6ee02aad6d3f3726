"""Which step a net takes. What a GPU would do is played by a stand-in, since the choice is what is tested."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vggnet.backends.choose_training import compiled, step_form
from vggnet.backends.eager import EagerVGG
from vggnet.backends.gpu_training import FusedVGG
from vggnet.errors import UserError
from vggnet.network.initialization import build
from vggnet.options.choices import StepName

GPU = torch.device("cuda")
pytestmark = pytest.mark.usefixtures("nothing_noted")


def test_a_cpu_runs_the_model_itself() -> None:
    model = nn.Identity()
    assert compiled(model, torch.device("cpu")) is model


def test_what_compiles_is_used_and_its_advice_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def play(model: nn.Module) -> Callable[[Tensor], Tensor]:
        warnings.warn("TensorFloat32 tensor cores available but not enabled", stacklevel=2)
        return lambda images: model(images) + 1

    monkeypatch.setattr(torch, "compile", play)
    run = compiled(nn.Identity(), GPU)
    assert [float(run(torch.zeros(1))) for _ in range(2)] == [1, 1]


def test_what_does_not_compile_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def broken(model: nn.Module) -> Callable[[Tensor], Tensor]:
        def fail(images: Tensor) -> Tensor:
            calls.append(1)
            raise RuntimeError("no Triton\nand a long story")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    run = compiled(nn.Identity(), GPU)
    assert [float(run(torch.ones(1))) for _ in range(3)] == [1, 1, 1]
    assert len(calls) == 1  # not tried again
    assert capsys.readouterr().err == "training runs without torch.compile: no Triton\n"


def test_no_memory_is_the_callers_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(torch, "compile", lambda model: full)
    with pytest.raises(torch.OutOfMemoryError):
        compiled(nn.Identity(), GPU)(torch.ones(1))


@pytest.fixture
def usable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels and cuDNN's fused convolution work on the GPU that is played."""
    for name in ("kernels_unavailable", "fused_convolution_unavailable"):
        monkeypatch.setattr(f"vggnet.backends.choose_training.{name}", lambda device: None)


@pytest.mark.usefixtures("cudnn_written_out", "usable")
def test_the_fused_step_is_taken_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model, normalised = build("A", width=1 / 8), build("A", width=1 / 8, batch_norm=True)
    for step in ("auto", "compiled", "plain"):
        assert type(step_form(model, GPU, "bf16", step)) is EagerVGG  # type: ignore[arg-type]
    assert isinstance(step_form(model, GPU, "bf16", "fused"), FusedVGG)
    with pytest.raises(UserError, match="`step` fused: it computes in bf16, this training in fp32; leave it at auto"):
        step_form(model, GPU, "fp32", "fused")
    with pytest.raises(UserError, match="`step` fused: it has no batch normalisation, this net has"):
        step_form(normalised, GPU, "bf16", "fused")
    monkeypatch.setattr("vggnet.backends.choose_training.kernels_unavailable", lambda device: "no Triton")
    with pytest.raises(UserError, match="`step` fused: no Triton"):
        step_form(model, GPU, "bf16", "fused")


@pytest.mark.usefixtures("cudnn_written_out", "usable")
def test_a_net_that_cudnn_does_not_take_is_not_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    written_out = torch.cudnn_convolution_relu

    def picky(x: Tensor, weight: Tensor, *more: object) -> Tensor:
        if len(weight) % 8:
            raise RuntimeError("GET was unable to find an engine to execute this computation\nand more")
        return written_out(x, weight, *more)

    monkeypatch.setattr(torch, "cudnn_convolution_relu", picky)
    odd, even = build("B", width=5 / 32), build("B", width=1 / 8)  # 10 channels, and 8
    assert isinstance(step_form(even, GPU, "bf16", "fused"), FusedVGG)
    assert all(parameter.grad is None for parameter in even.parameters())
    assert isinstance(step_form(even.freeze_before("fc6"), GPU, "bf16", "fused"), FusedVGG)
    with pytest.raises(UserError, match="`step` fused: GET was unable to find an engine to execute this computation;"):
        step_form(odd, GPU, "bf16", "fused")


@pytest.mark.parametrize("step", ["fused", "compiled"])
def test_a_cpu_has_the_plain_step_only(step: StepName) -> None:
    model = build("A", width=1 / 8)
    assert type(step_form(model, torch.device("cpu"), "bf16", "auto")) is EagerVGG
    with pytest.raises(UserError, match=f"`step` {step} is for GPUs"):
        step_form(model, torch.device("cpu"), "bf16", step)
