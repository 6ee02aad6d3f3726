"""Share memory with worker processes, start and end them with care for signals, and tell what state they are in."""

import ctypes
import math
import mmap
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_STATES = {"T": "stopped", "t": "stopped by a debugger", "D": "waiting for the disk"}


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


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM while a process is forked, and deliver them after the block.

    During a fork, Python would print a traceback of the handler's exception and go on without it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda given, _: received.append(given))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for given in received:
        signal.raise_signal(given)


def state_of(process: Any) -> str:
    """Return " (stopped)", " (ended by SIGKILL)" or the like; "" where a child process runs, or on other systems."""
    code = process.exitcode
    if code is not None:
        return f" (ended by {signal.Signals(-code).name})" if code < 0 else f" (ended with status {code})"
    try:
        status = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    word = _STATES.get(status.rsplit(")", 1)[1].split()[0])
    return f" ({word})" if word else ""


def wake(process: Any) -> None:
    """Continue a child process if it is stopped: it could not end otherwise."""
    if process.is_alive() and hasattr(signal, "SIGCONT"):
        os.kill(process.pid, signal.SIGCONT)
