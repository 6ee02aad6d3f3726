"""Apply a function to items in order, in this process or in worker processes that stay alive between rounds.

The workers are those of torch's DataLoader, which moves tensors through shared memory and ends its workers with the
main process. Results come in the order of the items and do not depend on the number of workers.
"""

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vggnet.errors import UserError
from vggnet.images.sharing import Desks, end_with_parent, shared_bytes, start_method
from vggnet.images.silence import SILENT_S, Silence, print_aside

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Calls(Dataset):
    """A data set whose indices are the numbered items themselves; records which item each process works on."""

    def __init__(self, function: Callable[[Any], Any], desks: Desks) -> None:
        self.function, self.desks = function, desks

    def __getitem__(self, numbered: tuple[int, Any]) -> Any:
        number, item = numbered
        with self.desks.at(number):
            return self.function(item)


def _set_up(_worker: int, *, parent: int, by_main_thread: bool) -> None:
    torch.set_num_threads(1)
    # Ctrl-C, `timeout` and schedulers signal the whole process group. A worker leaves the group, so that only the main
    # process decides when its workers end.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if by_main_thread:  # the system would end the worker together with the thread that started it
        end_with_parent(parent)


def _as_is(result: Any) -> Any:
    return result


class Workers(Generic[Item, Result]):
    """Worker processes that apply a function. A context manager; one round of `map` at a time.

    Where no result comes for `silent_s` seconds, `on_silence` is called with a message that names the process and its
    item (`function.describe(item)`, if the function has that method), and waiting continues. The next round drops what
    is left of a round that was stopped early.

    Args:
        workers: number of processes; 0 applies the function in this process.
        ahead: items that each process may be ahead of the reader.
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        workers: int,
        ahead: int = 2,
        *,
        silent_s: float = SILENT_S,
        on_silence: Callable[[str], None] = print_aside,
    ) -> None:
        if workers < 0:
            raise UserError(f"workers must be 0 (none) or more, not {workers}")
        self.function = function
        self._items: list[tuple[int, Item]] = []
        self._desks = Desks(workers)
        self._watch = silent_s, on_silence
        self._results: Any = None
        self._loader = self._make_loader(workers, ahead) if workers else None

    def _make_loader(self, workers: int, ahead: int) -> DataLoader:
        by_main_thread = threading.current_thread() is threading.main_thread()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # more workers than cores is the user's choice
            return DataLoader(
                _Calls(self.function, self._desks),
                batch_size=None,
                sampler=self._items,  # changed in place by `map`
                num_workers=workers,
                prefetch_factor=ahead,
                collate_fn=_as_is,
                worker_init_fn=partial(_set_up, parent=os.getpid(), by_main_thread=by_main_thread),
                persistent_workers=True,
                multiprocessing_context=start_method(),
                generator=torch.Generator(),  # or it would draw from torch's global one
            )

    def map(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield the function's result for each item, in order.

        Raises DataLoader's RuntimeError ("DataLoader worker ...") where a worker is killed. DataLoader's signal handler
        may raise it anywhere in the main process.
        """
        if self._loader is None:
            yield from map(self.function, items)
            return
        self._items[:] = enumerate(items)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12: "fork() in a multi-threaded process"; no worker uses threads
            self._results = results = iter(self._loader)
        with Silence(*self._watch, self._describe) as silence:
            for number in range(len(self._items)):
                with silence.waiting_for(number), self._naming_the_dead():
                    result = next(results)
                yield result

    def _describe(self, number: int) -> str:
        """Return which processes item `number` waits for, and what they read."""
        describe: Callable[[Item], str] | None = getattr(self.function, "describe", None)
        words = []
        for process, at in self._desks.suspects(number)[:3]:
            known = describe is not None and 0 <= at < len(self._items)
            words.append(f"{process}, which reads {describe(self._items[at][1])}" if known and describe else process)
        return "; ".join(words) or "processes that have not begun"

    @contextmanager
    def _naming_the_dead(self) -> Iterator[None]:
        """Add the item of the killed process to DataLoader's error."""
        try:
            yield
        except RuntimeError as error:
            at = [number for number in self._desks.left_by_the_dead() if number < len(self._items)]
            if not str(error).startswith("DataLoader worker") or not at:
                raise
            raise RuntimeError(f"{error} {self._describe(at[0])}") from error

    def close(self) -> None:
        """End the processes, hanging ones included."""
        results, self._loader, self._results = self._results, None, None
        if results is None:
            return
        self._desks.wake()
        results._shutdown_workers()  # explicitly: a traceback may keep the iterator alive until the program ends
        self._desks.kill()

    def __enter__(self) -> "Workers[Item, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
