"""The items of an iterator, made some ahead by a thread while the reader works on the ones before."""

import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

_PATIENCE_S = 0.05


class _End:
    """Takes the place of an item where there are no more; `error` is what the iterator raised."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[Item]):
    """An iterator over what `items` yields, up to `ahead` items further than they are read.

    `items` (a generator) runs in one thread, from its first line to its last, and is closed there. What it raises, the
    reader gets in the place of the next item. `close` ends both sides; at the end of the program it is called for
    whoever forgot it, since a thread that Python cuts off within PyTorch takes the whole process down.
    """

    def __init__(self, items: Iterator[Item], ahead: int) -> None:
        self._made: queue.Queue[Item | _End] = queue.Queue(ahead)
        self._ended = False
        stopping = threading.Event()
        # a daemon, or the program would wait for it before it comes to `_stop`
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
        """Forget what was made, and wait until the thread has ended; it finishes the item that it is at."""
        self._ended = True
        self._stop()


def _make(items: Iterator[Any], made: queue.Queue[Any], stopping: threading.Event) -> None:
    """What the thread does."""
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
            made.get(timeout=_PATIENCE_S)  # the thread may wait for room
        except queue.Empty:
            continue
    thread.join()
