"""Name the files waited for when the processes that read images deliver nothing for a long time."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import numpy as np

from vggnet.console import duration
from vggnet.data.splits import Split

SILENT_S = 60.0


def print_aside(message: str) -> None:
    """Print a message to standard error on every rank, since each rank has its own workers."""
    print(f"vggnet: {message}", file=sys.stderr, flush=True)


def in_words(split: Split, indices: Sequence[int] | np.ndarray) -> str:
    """Return the number of images and the path of the first one."""
    first = split.path(int(indices[0])) if len(indices) else "no image"
    return first if len(indices) <= 1 else f"{len(indices)} images, the first of them {first}"


class Silence:
    """Call `report` once for each result that takes longer than `limit_s` seconds. A thread watches the clock.

    `describe(number)` returns which process should deliver result `number`. A context manager.
    """

    def __init__(self, limit_s: float, report: Callable[[str], None], describe: Callable[[int], str]) -> None:
        self._limit_s, self._report, self._describe = limit_s, report, describe
        self._waits: tuple[int, float] | None = None  # for which result, and since when
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="vggnet-silence", daemon=True)

    @contextmanager
    def waiting_for(self, number: int) -> Iterator[None]:
        """Mark that the program waits for result `number` while the block runs."""
        self._waits = number, time.monotonic()
        try:
            yield
        finally:
            self._waits = None

    def _look(self) -> None:
        reported = -1
        while not self._ended.wait(self._limit_s / 4):
            waits = self._waits
            if waits is None or waits[0] == reported or (passed := time.monotonic() - waits[1]) < self._limit_s:
                continue
            reported = waits[0]
            self._report(
                f"no image has come for {duration(passed)}: waiting for {self._describe(reported)}. Ctrl-C stops"
            )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
