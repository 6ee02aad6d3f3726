"""A function applied to items in order, here or in worker processes that stay alive from one round to the next.

Underneath is torch's DataLoader: it moves tensors through shared memory, ends its workers with the main process and
keeps Ctrl-C quiet. Results come in the order of the items, so nothing depends on the number of workers.
"""

import math
import mmap
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vggnet.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Calls(Dataset):
    """A data set whose indices are the items themselves."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __getitem__(self, item: Any) -> Any:
        return self.function(item)


def _set_up(_worker: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C, `timeout` and schedulers signal the whole process group. A worker leaves it: the main process decides, and
    # ends its workers when it is ready (they notice by themselves when it is gone).
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _as_is(result: Any) -> Any:
    return result


class Workers(Generic[Item, Result]):
    """`workers` processes (0: none, in this process) that apply `function`, each `ahead` items ahead of the reader.

    A context manager; one round of `map` at a time, and a round that was left early is forgotten by the next one.
    """

    def __init__(self, function: Callable[[Item], Result], workers: int, ahead: int = 2) -> None:
        if workers < 0:
            raise UserError(f"workers must be 0 (none) or more, not {workers}")
        self.function = function
        self._items: list[Item] = []
        self._loader = self._make_loader(workers, ahead) if workers else None

    def _make_loader(self, workers: int, ahead: int) -> DataLoader:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # more workers than cores is the user's choice
            return DataLoader(
                _Calls(self.function),
                batch_size=None,
                sampler=self._items,  # changed in place by `map`
                num_workers=workers,
                prefetch_factor=ahead,
                collate_fn=_as_is,
                worker_init_fn=_set_up,
                persistent_workers=True,
                multiprocessing_context=_start_method(),
                generator=torch.Generator(),  # or it would draw from torch's global one
            )

    def map(self, items: Iterable[Item]) -> Iterator[Result]:
        """`function` of each item, in order.

        Where a worker process is killed: DataLoader's RuntimeError ("DataLoader worker ..."), raised here or, by a
        signal handler of its own, wherever the main process happens to be.
        """
        if self._loader is None:
            yield from map(self.function, items)
            return
        self._items[:] = items
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12: "fork() in a multi-threaded process"; no worker uses threads
            results = iter(self._loader)
        yield from results

    def close(self) -> None:
        """End the processes (they end with this object, too)."""
        self._loader = None

    def __enter__(self) -> "Workers[Item, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _start_method() -> str:
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


def chunks(items: np.ndarray, size: int) -> list[np.ndarray]:
    """`items` (N,) in pieces of `size`, the last one maybe shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def places_for(workers: int, ahead: int, shape: tuple[int, ...]) -> torch.Tensor | None:
    """uint8 (places, *shape) in shared memory, for item i of a round to write its result to place i % places.

    That is safe where each result is copied out before the next is asked for: there is one place more than can be on
    their way then, and one to spare. Forked processes inherit an anonymous mapping: torch's shared memory is a file in
    /dev/shm, of which containers have 64 MB. None without workers.
    """
    if not workers:
        return None
    shape = (workers * ahead + 2, *shape)
    if _start_method() == "fork":
        return torch.frombuffer(mmap.mmap(-1, math.prod(shape)), dtype=torch.uint8).view(shape)
    return torch.empty(shape, dtype=torch.uint8).share_memory_()
