"""Name the rank that a distributed training waits for: without it, a hanging process looks like a slow training."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from vggnet.training.distributed import World

HANGS_AFTER_S = 60.0
BEAT_S = 5.0
_NO_SIGN = ("0", "an unknown place", "which has given no sign of life")


class Watch:
    """Compares what the ranks report of themselves; `late` returns a message, once for each standstill."""

    def __init__(self, own: int, limit_s: float) -> None:
        self._own, self._limit_s = own, limit_s
        self._places: dict[int, tuple[str, float]] = {}  # by rank: where it is, and since when
        self._beats: dict[int, tuple[str, float]] = {}  # by rank: its last sign of life, and since when
        self._reported = ""

    def late(self, reports: dict[int, tuple[str, str, str]], now: float) -> str | None:
        """Take the reports of the ranks (a count of beats, the place in the training, the process in words).

        Return which ranks do not answer, or what all are waiting for, where this rank has not moved for the limit.
        """
        for rank, (beat, place, _) in reports.items():
            for kept, value in ((self._beats, beat), (self._places, place)):
                if rank not in kept or kept[rank][0] != value:
                    kept[rank] = (value, now)
        place, since = self._places[self._own]
        if now - since < self._limit_s or self._reported == place:
            return None
        silent = [rank for rank, (_, beaten) in self._beats.items() if now - beaten >= self._limit_s]
        behind = [rank for rank in reports if rank != self._own and reports[rank][1] != place]
        names = "; ".join(f"rank {rank} ({reports[rank][2]}), at {reports[rank][1]}" for rank in (silent or behind)[:4])
        if not names:
            return None
        self._reported = place
        what = "do not answer" if silent else "have not come so far"
        return f"no progress for {now - since:.0f} s at {place}; these processes {what}: {names}"


@contextmanager
def watch(world: World, place: Callable[[], str]) -> Iterator[None]:
    """Report this rank's `place` to the others, and print which rank all wait for, while the block runs.

    The first rank looks at all, the second one at the first.
    """
    if world.store is None:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(world, place, ended), name="vggnet-watch", daemon=True)
    thread.start()
    try:
        yield
    except RuntimeError as error:
        if "TORCHELASTIC_RUN_ID" not in os.environ and "gloo" in f"{type(error).__name__} {error}".lower():
            _name_the_lost(world)  # torchrun's agent names it itself
        raise
    finally:
        ended.set()
        thread.join()


def _name_the_lost(world: World) -> None:
    """Print which ranks give no sign of life any more, after a connection was lost."""
    assert world.store is not None
    try:
        before = signs(world, range(world.size))
        time.sleep(2.5 * BEAT_S)
        after = signs(world, range(world.size))
    except RuntimeError:
        lost = ["rank 0, whose store is gone"]
    else:
        lost = [f"rank {rank} ({after[rank][2]})" for rank in after if after[rank][0] == before[rank][0]]
    if lost:
        print(f"vggnet: no sign of life any more: {', '.join(lost)}", file=sys.stderr, flush=True)


def signs(world: World, ranks: Iterable[int]) -> dict[int, tuple[str, str, str]]:
    """Return the last report of each rank; a rank may hang before its first."""
    store = world.store
    assert store is not None
    keys = {rank: f"beat/{rank}" for rank in ranks}
    return {rank: _parts(store.get(key)) if store.check([key]) else _NO_SIGN for rank, key in keys.items()}


def _beat(world: World, place: Callable[[], str], ended: threading.Event) -> None:
    assert world.store is not None
    process = f"process {os.getpid()} on {socket.gethostname()}"
    looked_at = range(world.size) if world.is_first else (0, 1) if world.rank == 1 else ()
    found = Watch(world.rank, HANGS_AFTER_S)
    count = 0
    while True:
        count += 1
        try:
            world.store.set(f"beat/{world.rank}", f"{count}\n{place()}\n{process}")
            reports = signs(world, looked_at)
        except RuntimeError:
            return  # the store is gone, and with it the training
        if world.rank in reports and (message := found.late(reports, time.monotonic())):
            print(f"vggnet: {message}", file=sys.stderr, flush=True)
        if ended.wait(BEAT_S):
            return


def _parts(text: bytes) -> tuple[str, str, str]:
    count, place, process = text.decode().split("\n")
    return count, place, process
