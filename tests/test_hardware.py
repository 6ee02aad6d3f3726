"""The choice of a device, and how much of its memory is free."""

import pytest
import torch

from vggnet.errors import UserError
from vggnet.evaluation.batching import batch_limit_px
from vggnet.hardware import choose_device, choose_inference_precision, free_on_gpu_bytes
from vggnet.paper.configurations import Architecture


class TwoGPUs:
    """What torch.cuda tells of a machine with two GPUs, of whose memory PyTorch keeps most."""

    def __init__(self) -> None:
        self.set: list[torch.device] = []
        self.set_device = self.set.append

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def current_device(self) -> int:
        return 0

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return 10**8, 80 * 10**9

    def memory_reserved(self, device: torch.device) -> int:
        return 75 * 10**9

    def memory_allocated(self, device: torch.device) -> int:
        return 25 * 10**9


def test_a_gpu_has_its_number_and_becomes_the_current_one() -> None:
    names, cuda = ("auto", "cuda", "cuda:1"), TwoGPUs()
    assert [choose_device(name, None, cuda) for name in names] == [torch.device("cuda", i) for i in (0, 0, 1)]
    assert cuda.set == [torch.device("cuda", i) for i in (0, 0, 1)]
    assert choose_device("cpu", 1, cuda) == torch.device("cpu")
    assert choose_device("auto", 1, cuda) == cuda.set.pop() == torch.device("cuda", 1)
    with pytest.raises(UserError, match=r"`device` cuda:3: this machine has 2 GPU\(s\)"):
        choose_device("cuda", 3, cuda)
    with pytest.raises(UserError, match=r"`device` cuda:2: this machine has 2 GPU\(s\), counted from 0"):
        choose_device("cuda:2", None, cuda)
    assert len(cuda.set) == 3


def test_memory_that_pytorch_keeps_is_free() -> None:
    gpu = torch.device("cuda", 0)
    free = free_on_gpu_bytes(gpu, TwoGPUs())
    assert free == 501 * 10**8
    assert batch_limit_px(Architecture("D"), gpu, free=free) == 2**24


def test_a_precision_of_gpus_is_refused_on_a_cpu() -> None:
    with pytest.raises(UserError, match="`precision` bf16-cudnn is for GPUs, not for cpu"):
        choose_inference_precision("bf16-cudnn", torch.device("cpu"))
