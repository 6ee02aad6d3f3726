"""The exchange of gradients between ranks: its number format, and how long a step waits for it.

DistributedDataParallel joins gradients in buckets and exchanges each as soon as it is complete, while the backward pass
goes on. Gradients come in the order of the backward pass: those of the FC layers (89 % of the bytes of net D) are first
and are exchanged while the convolutions' are computed.
"""

import time
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook, bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from vggnet.errors import UserError
from vggnet.options.choices import ExchangeFormat


class Exchange:
    """Average the gradients of `module` over the ranks, and measure how long its steps wait for that.

    bf16 halves the bytes: gradients are rounded to bf16, averaged and converted back.
    """

    def __init__(self, module: DistributedDataParallel, number_format: ExchangeFormat, device: torch.device) -> None:
        self._average = bf16_compress_hook if number_format == "bf16" else allreduce_hook
        self._on_gpu = device.type == "cuda"
        self._begun = 0.0  # when the last bucket was complete
        self._event: torch.cuda.Event | None = None
        self._pending: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._waited_s = 0.0
        module.register_comm_hook(self, _exchange)

    def bucket_is_complete(self, bucket: Any) -> torch.futures.Future[torch.Tensor]:
        """Begin to exchange a bucket."""
        if self._on_gpu:
            self._event = torch.cuda.Event(enable_timing=True)
            self._event.record()
        self._begun = time.monotonic()
        future: torch.futures.Future[torch.Tensor] = self._average(None, bucket)  # type: ignore[arg-type]  # all ranks
        return future

    def step_ended(self) -> None:
        """Count what the backward pass that has just ended waited for. Nothing waits for the device."""
        if self._event is not None:
            end = torch.cuda.Event(enable_timing=True)
            end.record()
            self._pending.append((self._event, end))
            self._event = None
        elif self._begun:
            self._waited_s += time.monotonic() - self._begun
        self._begun = 0.0

    def restart(self) -> None:
        """Count from now on."""
        self._pending.clear()
        self._waited_s = 0.0

    def waited_s(self) -> float:
        """Return the seconds that steps have waited since `restart`. Waits for a GPU."""
        for begin, end in self._pending:
            end.synchronize()
            self._waited_s += begin.elapsed_time(end) / 1000
        self._pending.clear()
        return self._waited_s


def _exchange(
    exchange: Exchange,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[torch.Tensor]:
    return exchange.bucket_is_complete(bucket)


def check_exchange(number_format: ExchangeFormat, size: int, device: torch.device) -> None:
    """Raise UserError on all ranks where gloo, which CPUs use, cannot add numbers of the format."""
    if number_format == "fp32" or size == 1 or device.type == "cuda":
        return
    try:
        dist.all_reduce(torch.ones(1, dtype=torch.bfloat16))
    except RuntimeError as error:
        raise UserError(
            f"`exchange` {number_format}: this PyTorch's gloo cannot exchange such numbers between CPUs; leave it at "
            "fp32"
        ) from error
