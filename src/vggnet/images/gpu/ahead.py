"""Run an iterator in a thread, some items ahead of its reader."""

import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

_PATIENCE_S = 0.05


class _End:
    """Mark the end of the items; `error` is the exception that the iterator raised, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[Item]):
    """An iterator over `items` that runs up to `ahead` items ahead of its reader.

    The generator `items` runs in one thread from beginning to end and is closed there. An exception that it raises is
    raised to the reader in the place of the next item. `close` ends the thread. It is also called when the program
    ends, because a thread that Python stops inside PyTorch crashes the process.
    """

    def __init__(self, items: Iterator[Item], ahead: int) -> None:
        self._made: queue.Queue[Item | _End] = queue.Queue(ahead)
        self._ended = False
        stopping = threading.Event()
        # a daemon: otherwise the program would wait for the thread before it calls `_stop`
        thread = threading.Thread(target=_make, args=(items, self._made, stopping), name="vggnet-ahead", daemon=True)
        thread.start()
        self._stop = weakref.finalize(self, _stop, self._made, stopping, thread)

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if self._ended:
            raise StopIteration
        item = self._made.get()
        if not isinstance(item, _End):
            return item
        self._ended = True
        if item.error is not None:
            raise item.error
        raise StopIteration

    def close(self) -> None:
        """Drop the items that are ready, and wait until the thread has finished its current item and ended."""
        self._ended = True
        self._stop()


def _make(items: Iterator[Any], made: queue.Queue[Any], stopping: threading.Event) -> None:
    """Put the items into the queue `made`, then an _End; runs in the thread."""
    end = _End()
    try:
        for item in items:
            made.put(item)
            if stopping.is_set():
                break
    except BaseException as error:
        end = _End(error)
    finally:
        if hasattr(items, "close"):
            items.close()
    made.put(end)


def _stop(made: queue.Queue[Any], stopping: threading.Event, thread: threading.Thread) -> None:
    stopping.set()
    while thread.is_alive():
        try:
            made.get(timeout=_PATIENCE_S)  # the thread may be waiting for room in the queue
        except queue.Empty:
            continue
    thread.join()
