"""Data parallelism (Sect. 3.3) under `torchrun`: which rank this is, and the few sums that ranks share.

The model is single-device code; distribution is applied from outside. One global batch is cut into `size` parts, each
rank computes the gradient of its part, and DistributedDataParallel averages them.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

from vggnet.hardware import choose_device

PATIENCE = timedelta(hours=12)  # of ranks that wait while the first one checks every image; by default 10 minutes


@dataclass(frozen=True)
class World:
    """The processes that train one net together. A single process is a world of size 1."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, indices: np.ndarray) -> np.ndarray:
        """This rank's part of a global batch; over all ranks each index occurs once."""
        return indices[self.rank :: self.size]

    def total(self, values: Sequence[float]) -> list[float]:
        """Sum each value over all ranks."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on some rank; all ranks get the same answer."""
        return self.total([float(flag)])[0] > 0

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()


@contextmanager
def join_world(device_name: str) -> Iterator[World]:
    """The world that `torchrun` set up (its environment variables), or a world of one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device=choose_device(device_name))
        return
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    device = choose_device(device_name, local_rank)
    if device.type == "cuda":
        dist.init_process_group("nccl", device_id=device, timeout=PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()
