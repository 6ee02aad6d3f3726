"""Stop a training at a moment from which it can continue: Ctrl-C, and SIGTERM of schedulers and of `torchrun`."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """The user stopped the training (Ctrl-C or SIGTERM); its state was saved."""


class StopRequested(BaseException):
    """Raised by a signal's handler where the training waits and nothing would be left half done."""


class StopRequests:
    """Whether this process was asked to stop. Made by `stop_requests`."""

    def __init__(self) -> None:
        self._received = 0
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

    def receive(self, again: bool) -> None:
        """What the handler does. A second request stops at once where `again` is set."""
        if os.getpid() != self._process:
            return  # a reading process that has just been forked
        self._received += 1
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
    requests = StopRequests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: requests.receive(alone)) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
