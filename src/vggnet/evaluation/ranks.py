"""Share the images of an evaluation among the processes of a launch by `torchrun`.

This room knows only what it needs of the other processes (`Ranks`); `training/distributed.py` sets them up. Each image
is scored by one rank. The results are gathered on all ranks, so that each can go on, and the first one prints.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from vggnet.data.splits import Split
from vggnet.errors import UserError

Result = TypeVar("Result")


class Ranks(Protocol):
    """The processes that evaluate together. All ranks call the methods, in the same order."""

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes and prints."""
        ...

    @property
    def size(self) -> int:
        """The number of ranks."""
        ...

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""
        ...

    def share(self, indices: np.ndarray) -> np.ndarray:
        """Return this rank's part of the indices; over all ranks each occurs once."""
        ...

    def gathered(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order."""
        ...

    def spread(self, make: Callable[[], Result]) -> Result:
        """Call `make` on the first rank, and return its result, of any size, on all. Its UserError is raised on all."""
        ...


class _Alone:
    """The ranks of a process that evaluates by itself."""

    is_first, size, device = True, 1, torch.device("cpu")

    def share(self, indices: np.ndarray) -> np.ndarray:
        return indices

    def gathered(self, value: Any) -> list[Any]:
        return [value]

    def spread(self, make: Callable[[], Result]) -> Result:
        return make()


ALONE: Ranks = _Alone()
_current: Ranks = ALONE


def current_ranks() -> Ranks:
    """Return the ranks that share the images of what this process evaluates."""
    return _current


@contextmanager
def shared_among(ranks: Ranks) -> Iterator[None]:
    """Share the images of all that is evaluated within the block."""
    global _current
    before, _current = _current, ranks
    try:
        yield
    finally:
        _current = before


def gathered_results(ranks: Ranks, make: Callable[[], Result]) -> Sequence[Result]:
    """Return what `make` returns on each rank. Raise the first rank's UserError on all ranks where one raises it."""
    if ranks.size == 1:
        return [make()]
    mine: Result | UserError
    try:
        mine = make()
    except UserError as error:
        mine = error
    results = ranks.gathered(mine)
    for result in results:
        if isinstance(result, UserError):
            raise result
    return results


def check_same_images(ranks: Ranks, split: Split, wanted: np.ndarray) -> None:
    """Raise UserError on all ranks where one of them has other images than the first."""
    if ranks.size == 1:
        return
    names = hashlib.sha256(wanted.tobytes())
    for file in split.files:
        names.update(os.fsencode(file) + b"\0")
    found = ranks.gathered(names.hexdigest())
    others = [rank for rank, each in enumerate(found) if each != found[0]]
    if others:
        raise UserError(f"{split.root}: rank {others[0]} has other images than rank 0. Give all machines the same data")
