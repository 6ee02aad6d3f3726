"""The guard around torch.compile: what a GPU would do is played by a stand-in, since the guard is what is tested."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vggnet.network.compiling import compiled

GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vggnet.console._noted", set())


def test_a_cpu_runs_the_model_itself() -> None:
    model = nn.Identity()
    assert compiled(model, torch.device("cpu")) is model


def test_what_compiles_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda model: lambda images: model(images) + 1)
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
