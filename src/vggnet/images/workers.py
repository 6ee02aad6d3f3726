"""Apply a function to items in order, in this process or in worker processes that stay alive between rounds.

Results come in the order of the items and do not depend on the number of workers. A worker that ends or hangs is named
with its item, and replaced once for that item. Tensors move through shared memory, by torch's own reducers.
"""

import errno
import multiprocessing
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import connection, util
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch

from vggnet.console import duration
from vggnet.errors import UserError
from vggnet.images.serving import Failure, serve
from vggnet.images.sharing import shared_bytes, signals_held_back, start_method, state_of, wake
from vggnet.images.silence import SILENT_S, print_aside

Item = TypeVar("Item")
Result = TypeVar("Result")

_LAST_S = 2.0  # for a process to end by itself
_LOOK_S = 1.0  # the longest time without a look at the clock


class WorkerLost(RuntimeError):
    """A worker process was ended from outside, a second time for the same item."""


class _Worker(NamedTuple):
    process: Any  # of multiprocessing; its class depends on the start method
    channel: connection.Connection
    pending: deque[int]  # items that were sent to it, in order; it works on the first


class Workers(Generic[Item, Result]):
    """Worker processes that apply a function. A context manager; one round of `map` at a time.

    A worker that ends is replaced at once. One that delivers nothing for `silent_s` seconds is killed and replaced.
    Either is reported by `report` with a message that names the process and its item (`function.describe(item)`, if the
    function has that method). The new worker begins with the same item. If it ends, `WorkerLost` is raised; if it is
    silent, that is reported and waiting continues, because a slow disk is no fault of the worker.

    Args:
        workers: number of processes; 0 applies the function in this process.
        ahead: items that each process may be ahead of the reader, on average.
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        workers: int,
        ahead: int = 2,
        *,
        silent_s: float = SILENT_S,
        report: Callable[[str], None] = print_aside,
    ) -> None:
        if workers < 0:
            raise UserError(f"workers must be 0 (none) or more, not {workers}")
        self.function = function
        self._count, self._window = workers, workers * ahead
        self._silent_s, self._report = silent_s, report
        self._crew: list[_Worker] = []
        # at the end of the program, multiprocessing ends by SIGTERM, which workers ignore, and waits
        util.Finalize(self, _kill, (self._crew,), exitpriority=1)
        self._items: list[Item] = []
        self._results: dict[int, Any] = {}  # that have come, by the item's number
        self._blamed: set[int] = set()  # items for which a worker was replaced in this round
        self._dropping = False  # results of a round that was left early are awaited, and dropped

    def map(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield the function's result for each item, in order.

        Raises the function's own exception, and WorkerLost where a worker ends twice while it works on the same item.
        """
        if not self._count:
            yield from map(self.function, items)
            return
        self._begin_round(list(items))
        sent = 0
        for number in range(len(self._items)):
            sent = self._send_until(sent, number + self._window)
            self._await(number)
            sent = self._send_until(sent, number + 1 + self._window)
            result = self._results.pop(number)
            if isinstance(result, Failure):
                result.raise_again()
            yield result

    def _begin_round(self, items: list[Item]) -> None:
        """Wait for what is left of a round that was left early: its results lie in memory that is used again."""
        self._dropping = True
        for worker in list(self._crew):
            while worker in self._crew and worker.pending:
                self._await(worker.pending[0])
        self._dropping = False
        self._items = items
        self._results.clear()
        self._blamed.clear()
        while len(self._crew) < self._count:
            self._crew.append(self._start())

    def _start(self) -> _Worker:
        context: Any = multiprocessing.get_context(start_method())
        ours, theirs = context.Pipe()
        # a forked process has a copy of each open file: while it kept ours, the others would not see it closed
        copies = [ours, *(worker.channel for worker in self._crew)] if start_method() == "fork" else []
        by_main_thread = threading.current_thread() is threading.main_thread()
        process = context.Process(
            target=serve,
            args=(self.function, theirs, copies),
            kwargs={"parent": os.getpid(), "by_main_thread": by_main_thread},
            name="vggnet-reader",
            daemon=True,
        )
        try:
            with warnings.catch_warnings(), signals_held_back():
                warnings.simplefilter("ignore")  # Python 3.12: "fork() in a multi-threaded process"
                process.start()
        except BaseException:  # what the handler of such a signal raises
            if process.pid is not None:
                process.kill()
            raise
        theirs.close()
        return _Worker(process, ours, deque())

    def _send_until(self, sent: int, end: int) -> int:
        """Send the items from `sent` to before `end`, each to the worker with the fewest; return the next one."""
        for number in range(sent, min(end, len(self._items))):
            self._send(number, min(self._crew, key=lambda worker: len(worker.pending)))
        return max(sent, min(end, len(self._items)))

    def _send(self, number: int, worker: _Worker) -> None:
        worker.pending.append(number)
        with suppress(OSError):  # it has ended, which _receive sees
            worker.channel.send((number, self._items[number]))

    def _await(self, number: int) -> None:
        """Receive results until that of item `number` has come; replace the worker that has it if it takes too long."""
        begin, reported = time.monotonic(), False
        while number not in self._results:
            owner = next((worker for worker in self._crew if number in worker.pending), None)
            if owner is None:
                return  # dropped together with its worker
            self._receive()
            silent = time.monotonic() - begin
            if silent < self._silent_s or reported or number in self._results:
                continue
            first = owner.pending[0] if owner.pending else number
            said = f"no image has come for {duration(silent)}: waiting for {self._describe(owner)}"
            if first in self._blamed:
                reported = True
                self._report(f"{said}. Ctrl-C stops")
            else:
                self._report(f"{said}. It is ended, and another process takes over")
                self._replace(owner)
                begin = time.monotonic()

    def _receive(self) -> None:
        """Receive what has come within a second at most, and replace workers that have ended."""
        waited_for = [each for worker in self._crew for each in (worker.channel, worker.process.sentinel)]
        limit = max(0.01, min(_LOOK_S, self._silent_s / 4))
        ready = connection.wait(waited_for, limit)
        for worker in list(self._crew):
            alive = worker.process.is_alive()
            if worker.channel in ready or worker.channel.poll():
                self._take(worker)
            elif not alive:
                self._lose(worker)

    def _take(self, worker: _Worker) -> None:
        """Take one result of a worker; if it has ended without one, replace it."""
        try:
            number, result = worker.channel.recv()
        except (EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EMFILE:
                raise
            self._lose(worker)
        except RuntimeError as error:
            if "ancdata" not in str(error):
                raise
            raise OSError(errno.EMFILE, "Too many open files") from error  # the socket drops the handle of a tensor
        except BaseException:  # a signal's handler: half of a message may be read
            worker.process.kill()
            raise
        else:
            worker.pending.remove(number)
            if not self._dropping:
                self._results[number] = result

    def _lose(self, worker: _Worker) -> None:
        """Replace a worker that has ended. Raise WorkerLost where that is the second time for its item."""
        worker.process.join(_LAST_S)
        what = self._describe(worker)
        if worker.pending and worker.pending[0] in self._blamed and not self._dropping:
            self._replace(worker)
            raise WorkerLost(f"{what}; the second time")
        self._report(f"a process that reads images was ended from outside: {what}. Another process takes over")
        self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        """Kill a worker; start another one with the same items."""
        if worker.pending:
            self._blamed.add(worker.pending[0])
        self._end(worker)
        self._crew.remove(worker)
        successor = self._start()
        self._crew.append(successor)
        if not self._dropping:
            for number in worker.pending:
                self._send(number, successor)

    def _describe(self, worker: _Worker) -> str:
        """Return a worker's process, its state, and what it works on."""
        process = f"process {worker.process.pid}{state_of(worker.process)}"
        describe: Callable[[Item], str] | None = getattr(self.function, "describe", None)
        if describe is None or not worker.pending:
            return process
        return f"{process}, which reads {describe(self._items[worker.pending[0]])}"

    def _end(self, worker: _Worker, wait_s: float = _LAST_S) -> None:
        worker.channel.close()
        worker.process.kill()
        worker.process.join(wait_s)

    def close(self) -> None:
        """End the processes, hanging ones included."""
        crew = list(self._crew)
        self._crew.clear()
        for worker in crew:
            wake(worker.process)  # or it could not end
            worker.channel.close()  # which ends it, after its item
        deadline = time.monotonic() + _LAST_S
        for worker in crew:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            self._end(worker)

    def __enter__(self) -> "Workers[Item, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _kill(crew: list[_Worker]) -> None:
    """Kill workers that nobody has closed."""
    for worker in crew:
        worker.process.kill()


def chunks(items: np.ndarray, size: int) -> list[np.ndarray]:
    """Return `items` (N,) in pieces of `size`; the last one may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def places_for(workers: int, ahead: int, shape: tuple[int, ...]) -> torch.Tensor | None:
    """Return shared memory, uint8 (places, *shape), where item i of a round is written to place i % places.

    It is safe if each result is copied before the next one is requested: at most workers * ahead + 1 results are in
    flight, and there is one place more. Returns None without workers.
    """
    if not workers:
        return None
    return shared_bytes((workers * ahead + 2, *shape))
