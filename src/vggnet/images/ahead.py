"""The items of an iterator, made some ahead by a thread while the reader works on the ones before."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _End:
    """Takes the place of an item where there are no more; `error` is what the iterator raised."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[Item]):
    """An iterator over what `items` yields, up to `ahead` items further than they are read.

    `items` (a generator) runs in one thread, from its first line to its last, and is closed there. What it raises, the
    reader gets in the place of the next item. `close` ends both sides; to forget it leaves a thread that waits, but
    does not keep the program from ending.
    """

    def __init__(self, items: Iterator[Item], ahead: int) -> None:
        self._items = items
        self._made: queue.Queue[Item | _End] = queue.Queue(ahead)
        self._stopping = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._make, name="vggnet-ahead", daemon=True)
        self._thread.start()

    def _make(self) -> None:
        end = _End()
        try:
            for item in self._items:
                self._made.put(item)
                if self._stopping.is_set():
                    break
        except BaseException as error:
            end = _End(error)
        finally:
            if hasattr(self._items, "close"):
                self._items.close()
        self._made.put(end)

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
        self._stopping.set()
        while not self._ended:  # the thread may wait for room
            self._ended = isinstance(self._made.get(), _End)
        self._thread.join()
