"""Stop a training at a moment from which it can continue: Ctrl-C, and SIGTERM of schedulers and of `torchrun`."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from vggnet.training.distributed import World

Result = TypeVar("Result")


class Interrupted(Exception):
    """The training was asked to stop, and its state was saved. `status` is the exit status of the command."""

    def __init__(self, *, terminated: bool = False) -> None:
        super().__init__("stopped; the state is saved")
        self.status = 128 + (signal.SIGTERM if terminated else signal.SIGINT)


class StopRequested(BaseException):
    """Raised by a signal's handler where the training waits and nothing would be left half done."""


class StopRequests:
    """Whether this process was asked to stop. Made by `stop_requests`."""

    def __init__(self) -> None:
        self._received = 0
        self.terminated = False  # by SIGTERM
        self._waiting = False
        self._process = os.getpid()

    def __bool__(self) -> bool:
        return self._received > 0

    @contextmanager
    def waiting(self, allowed: bool = True) -> Iterator[None]:
        """Within the block a request raises StopRequested at once, even if this process waits for another one."""
        if not allowed:
            yield
            return
        self._waiting = True
        try:
            if self:
                raise StopRequested
            yield
        finally:
            self._waiting = False

    def receive(self, number: int, again: bool) -> None:
        """Do what the handler of signal `number` does. A second request stops at once where `again` is set."""
        if os.getpid() != self._process:
            return  # a reading process that has just been forked
        self._received += 1
        self.terminated |= number == signal.SIGTERM
        if self._waiting:
            self._waiting = False  # once: nothing may disturb the saving that follows
            raise StopRequested
        if again and self._received > 1:
            raise KeyboardInterrupt


@contextmanager
def stop_requests(*, alone: bool) -> Iterator[StopRequests]:
    """Hold back Ctrl-C and SIGTERM until the step is done.

    A step that is cut in the middle would leave half of the weights updated, and so nothing to continue from.

    Args:
        alone: this process trains by itself, and a second signal stops it at once. Else `torchrun` passes on what it
            receives, so that a rank may get one Ctrl-C twice, and ends the ranks itself after its own time limit.
    """
    global _current
    requests = StopRequests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda given, _: requests.receive(given, alone)) for number in numbers}
    _current = requests
    try:
        yield requests
    finally:
        _current = None
        for number, handler in before.items():
            signal.signal(number, handler)


_current: StopRequests | None = None  # of the training that runs in this process


def unless_stopped(world: World, make: Callable[[], Result]) -> Result:
    """Return `make()`. Raise StopRequested on all ranks where one of them is asked to stop meanwhile.

    All ranks call. `make` must not exchange anything between ranks. A process that trains alone is stopped by the
    signal's handler where its training waits.
    """
    if world.size == 1 or _current is None:
        return make()
    made: list[Result] = []
    stopped = False
    try:
        with _current.waiting():
            made.append(make())
    except StopRequested:
        stopped = True
    if any(world.total([float(stopped)])):
        raise StopRequested
    return made[0]
