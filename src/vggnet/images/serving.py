"""The loop of a worker process: receive items, apply the function, send the results."""

import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import torch

from vggnet.images.sharing import end_with_parent

_LOOK_S = 5.0  # how often an idle worker looks whether its parent is still there


@dataclass(frozen=True)
class Failure:
    """An exception that the function raised in a worker, and its traceback as text."""

    error: Exception
    trace: str

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        trace = "".join(traceback.format_exception(error))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an exception of another library need not survive this
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return cls(error, trace)

    def raise_again(self) -> NoReturn:
        """Raise the exception, with the worker's traceback as its cause."""
        raise self.error from RuntimeError(f"in a worker process:\n{self.trace}")


def serve(
    function: Callable[[Any], Any],
    channel: Connection,
    copies: Iterable[Connection],
    *,
    parent: int,
    by_main_thread: bool,
) -> None:
    """Answer each (number, item) with (number, result or Failure) until the main process closes the channel or ends.

    Args:
        copies: the main process's ends of channels, which a fork has copied into this process.
        parent: the main process.
        by_main_thread: that process's main thread has started this process.
    """
    _set_up()
    if by_main_thread:  # the system would end the worker together with the thread that started it
        end_with_parent(parent)
    for copy in copies:
        copy.close()
    while True:
        try:
            while not channel.poll(_LOOK_S):
                if os.getppid() != parent:
                    return
            number, item = channel.recv()
        except (EOFError, OSError):
            return
        try:
            result = function(item)
        except Exception as error:
            result = Failure.of(error)
        try:
            channel.send((number, result))
        except (BrokenPipeError, ConnectionResetError):
            return  # nobody waits for it
        except Exception as error:  # the result cannot be pickled, or there is no room in shared memory
            channel.send((number, Failure.of(error)))


def _set_up() -> None:
    torch.set_num_threads(1)
    # Ctrl-C and `timeout` signal the whole process group; systemd and schedulers signal every process. Only the main
    # process decides when its workers end: a worker leaves the group, and takes no notice of either signal.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
