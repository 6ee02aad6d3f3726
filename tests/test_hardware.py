"""The choice of a device, and how much of its memory is free."""

import pytest
import torch

from vggnet.errors import UserError
from vggnet.evaluation.batching import batch_limit_px
from vggnet.hardware import choose_device, choose_inference_precision
from vggnet.paper.configurations import Architecture
from vggnet.training.memory import free_bytes


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine with two GPUs, played; what is made the current one."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    return current


def test_a_gpu_has_its_number_and_becomes_the_current_one(two_gpus: list[torch.device]) -> None:
    names = ("auto", "cuda", "cuda:1")
    assert [choose_device(name) for name in names] == two_gpus == [torch.device("cuda", i) for i in (0, 0, 1)]
    assert choose_device("cpu", 1) == torch.device("cpu")
    assert choose_device("auto", 1) == two_gpus.pop() == torch.device("cuda", 1)
    with pytest.raises(UserError, match=r"`device` cuda:3: this machine has 2 GPU\(s\)"):
        choose_device("cuda", 3)
    with pytest.raises(UserError, match=r"`device` cuda:2: this machine has 2 GPU\(s\), counted from 0"):
        choose_device("cuda:2")
    assert len(two_gpus) == 3


def test_memory_that_pytorch_keeps_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**8, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 75 * 10**9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 25 * 10**9)
    assert free_bytes(gpu) == 501 * 10**8
    assert batch_limit_px(Architecture("D"), gpu) == 2**24


def test_a_precision_of_gpus_is_refused_on_a_cpu() -> None:
    with pytest.raises(UserError, match="`precision` bf16-cudnn is for GPUs, not for cpu"):
        choose_inference_precision("bf16-cudnn", torch.device("cpu"))
