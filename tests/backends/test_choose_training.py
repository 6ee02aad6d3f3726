"""Which step a net takes. What a GPU would do is played by a stand-in, since the choice is what is tested."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from played_cudnn import any_channels, convolution_by
from torch import Tensor, nn

from vggnet.backends.choose_training import compiled, fused_form, step_form
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


def test_what_compiles_is_used_and_its_advice_is_not() -> None:
    def play(model: nn.Module) -> Callable[[Tensor], Tensor]:
        warnings.warn("TensorFloat32 tensor cores available but not enabled", stacklevel=2)
        return lambda images: model(images) + 1

    run = compiled(nn.Identity(), GPU, play)
    assert [float(run(torch.zeros(1))) for _ in range(2)] == [1, 1]


def test_what_does_not_compile_runs_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def broken(model: nn.Module) -> Callable[[Tensor], Tensor]:
        def fail(images: Tensor) -> Tensor:
            calls.append(1)
            raise RuntimeError("no Triton\nand a long story")

        return fail

    run = compiled(nn.Identity(), GPU, broken)
    assert [float(run(torch.ones(1))) for _ in range(3)] == [1, 1, 1]
    assert len(calls) == 1  # not tried again
    assert capsys.readouterr().err == "training runs without torch.compile: no Triton\n"


def test_no_memory_is_the_callers_matter() -> None:
    def full(images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        compiled(nn.Identity(), GPU, lambda model: full)(torch.ones(1))


@pytest.mark.usefixtures("cudnn_written_out")
def test_the_fused_step_is_taken_only_where_it_is_asked_for() -> None:
    model, normalised = build("A", width=1 / 8), build("A", width=1 / 8, batch_norm=True)
    for step in ("auto", "compiled", "plain"):
        assert type(step_form(model, GPU, "bf16", step)) is EagerVGG  # type: ignore[arg-type]
    fused = fused_form(model, "bf16", None)
    assert isinstance(fused, FusedVGG)
    assert step_form(fused, GPU, "bf16", "auto") is fused
    with pytest.raises(UserError, match="`step` fused: it computes in bf16, this training in fp32; leave it at auto"):
        fused_form(model, "fp32", None)
    with pytest.raises(UserError, match="`step` fused: it has no batch normalisation, this net has"):
        fused_form(normalised, "bf16", None)
    with pytest.raises(UserError, match="`step` fused: no Triton"):
        fused_form(model, "bf16", "no Triton")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_has_no_fused_step() -> None:
    with pytest.raises(UserError, match=r"`step` fused: .*; leave it at auto"):
        step_form(build("A", width=1 / 8), GPU, "bf16", "fused")


def test_a_net_that_cudnn_does_not_take_is_not_fused() -> None:
    def picky(x: Tensor, weight: Tensor, *more: Any) -> Tensor:
        if len(weight) % 8:
            raise RuntimeError("GET was unable to find an engine to execute this computation\nand more")
        return any_channels(x, weight, *more)

    odd, even = build("B", width=5 / 32), build("B", width=1 / 8)  # 10 channels, and 8
    with convolution_by(picky):
        assert isinstance(fused_form(even, "bf16", None), FusedVGG)
        assert all(parameter.grad is None for parameter in even.parameters())
        assert isinstance(fused_form(even.freeze_before("fc6"), "bf16", None), FusedVGG)
        with pytest.raises(UserError, match="`step` fused: GET was unable to find an engine to execute this computat"):
            fused_form(odd, "bf16", None)


@pytest.mark.parametrize("step", ["fused", "compiled"])
def test_a_cpu_has_the_plain_step_only(step: StepName) -> None:
    model = build("A", width=1 / 8)
    assert type(step_form(model, torch.device("cpu"), "bf16", "auto")) is EagerVGG
    with pytest.raises(UserError, match=f"`step` {step} is for GPUs"):
        step_form(model, torch.device("cpu"), "bf16", step)
