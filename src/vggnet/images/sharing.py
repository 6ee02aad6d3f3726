"""Share memory, the state of each worker and the end of the program with the processes that read images."""

import ctypes
import math
import mmap
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_NOTHING = -1
_STATES = {"T": "stopped", "t": "stopped by a debugger", "D": "waiting for the disk", "Z": "ended"}
_LAST_SECONDS = 2.0


def start_method() -> str:
    """Return how worker processes are started on this system: fork or spawn."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


def shared_bytes(shape: tuple[int, ...]) -> Tensor:
    """Return zeros, uint8, that are shared with the processes started from now on.

    With fork the memory is an anonymous mapping. PyTorch's shared memory is a file in /dev/shm, which has 64 MB in
    containers.
    """
    if start_method() == "fork":
        return torch.frombuffer(mmap.mmap(-1, math.prod(shape)), dtype=torch.uint8).view(shape)
    return torch.zeros(shape, dtype=torch.uint8).share_memory_()


def end_with_parent(parent: int) -> None:
    """Make Linux kill this process when process `parent` ends, even where this process hangs.

    On other systems a worker that does not hang ends some seconds after its parent.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (AttributeError, OSError):
        return
    if os.getppid() != parent:  # the parent ended before prctl was called
        os._exit(1)


class Desks:
    """The process id of each worker and the item it works on; written by the workers, read by the main process."""

    def __init__(self, workers: int) -> None:
        self._table = shared_bytes((workers, 16)).view(torch.int64) if workers else torch.zeros(0, 2)

    @contextmanager
    def at(self, number: int) -> Iterator[None]:
        """Record item `number` as this worker's while the block runs. Call it in a worker."""
        worker = get_worker_info()
        assert worker is not None
        desk = self._table[worker.id]
        desk[1] = number
        desk[0] = os.getpid()  # written last: a row with a process id has its item
        try:
            yield
        finally:
            desk[1] = _NOTHING

    def suspects(self, number: int) -> list[tuple[str, int]]:
        """Return which processes item `number` waits for, in words, each with the item it works on.

        That is the process with this item; if there is none, the stopped processes, which may not have sent their
        result yet; if there are none, all.
        """
        desks = [(int(process), int(at)) for process, at in self._table.tolist() if process]
        chosen = [desk for desk in desks if desk[1] == number]
        chosen = chosen or [desk for desk in desks if _state(desk[0])] or desks
        return [(f"process {process}{_state(process)}", at) for process, at in chosen]

    def left_by_the_dead(self) -> list[int]:
        """Return the items of processes that have ended."""
        alive = {child.pid for child in self._processes()}
        return [int(at) for process, at in self._table.tolist() if process not in alive and at != _NOTHING and process]

    def wake(self) -> None:
        """Continue stopped processes, which could not end otherwise."""
        for process in self._processes():
            if process.pid is not None and _state(process.pid):
                os.kill(process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the processes that are still alive."""
        for process in self._processes():
            process.kill()
            process.join(_LAST_SECONDS)

    def _processes(self) -> list[multiprocessing.process.BaseProcess]:
        """Return the workers that are alive, as children of this process."""
        own = {int(process) for process, _ in self._table.tolist()}
        return [child for child in multiprocessing.active_children() if child.pid in own]


def _state(process: int) -> str:
    """Return " (stopped)" or the like; "" where the process runs, or where the system is not Linux."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    word = _STATES.get(status.rsplit(")", 1)[1].split()[0])
    return f" ({word})" if word else ""
