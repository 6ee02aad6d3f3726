"""What a program shares with its reading processes: memory, what each is at, and its own end."""

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
    """How reading processes are started here."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


def shared_bytes(shape: tuple[int, ...]) -> Tensor:
    """Zeros, uint8, that processes started from now on share with this one.

    Forked processes inherit an anonymous mapping: torch's shared memory is a file in /dev/shm, of which containers have
    64 MB.
    """
    if start_method() == "fork":
        return torch.frombuffer(mmap.mmap(-1, math.prod(shape)), dtype=torch.uint8).view(shape)
    return torch.zeros(shape, dtype=torch.uint8).share_memory_()


def end_with_parent(parent: int) -> None:
    """Let the system end this process together with process `parent`, even where it hangs. Linux only.

    Elsewhere a reading process notices after some seconds that its parent is gone, if it does not hang.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (AttributeError, OSError):
        return
    if os.getppid() != parent:  # gone before it was asked for
        os._exit(1)


class Desks:
    """Which process is which worker, and which item each is at: written by the workers, read by the main process."""

    def __init__(self, workers: int) -> None:
        self._table = shared_bytes((workers, 16)).view(torch.int64) if workers else torch.zeros(0, 2)

    @contextmanager
    def at(self, number: int) -> Iterator[None]:
        """In a worker: mark the item as this process's while the block runs."""
        worker = get_worker_info()
        assert worker is not None
        desk = self._table[worker.id]
        desk[1] = number
        desk[0] = os.getpid()  # last: where there is a process there is an item
        try:
            yield
        finally:
            desk[1] = _NOTHING

    def suspects(self, number: int) -> list[tuple[str, int]]:
        """Which processes item `number` waits for, in words, each with the item that it is at.

        The one that has it; else those that are stopped (a result may not have left them yet), or all.
        """
        desks = [(int(process), int(at)) for process, at in self._table.tolist() if process]
        chosen = [desk for desk in desks if desk[1] == number]
        chosen = chosen or [desk for desk in desks if _state(desk[0])] or desks
        return [(f"process {process}{_state(process)}", at) for process, at in chosen]

    def left_by_the_dead(self) -> list[int]:
        """The items of processes that have ended."""
        alive = {child.pid for child in self._processes()}
        return [int(at) for process, at in self._table.tolist() if process not in alive and at != _NOTHING and process]

    def wake(self) -> None:
        """Let processes go on that were stopped: else they could not end."""
        for process in self._processes():
            if process.pid is not None and _state(process.pid):
                os.kill(process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the processes that are still there."""
        for process in self._processes():
            process.kill()
            process.join(_LAST_SECONDS)

    def _processes(self) -> list[multiprocessing.process.BaseProcess]:
        """The workers that are alive, as children of this process."""
        own = {int(process) for process, _ in self._table.tolist()}
        return [child for child in multiprocessing.active_children() if child.pid in own]


def _state(process: int) -> str:
    """ " (stopped)" and the like; empty where the process runs, or this is no Linux."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    word = _STATES.get(status.rsplit(")", 1)[1].split()[0])
    return f" ({word})" if word else ""
