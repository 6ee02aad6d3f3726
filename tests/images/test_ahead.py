"""Items made ahead by a thread: their order, what is raised, and that no thread stays."""

import threading
import time

import pytest

from vggnet.images.ahead import Ahead


def threads() -> int:
    return sum(thread.name == "vggnet-ahead" for thread in threading.enumerate())


def test_items_come_in_order_some_ahead():
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    ahead = Ahead(items(), 3)
    for _ in range(100):
        if len(made) == 4:
            break
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]  # three lie ready, the fourth waits for room
    assert list(ahead) == list(range(10))
    assert list(ahead) == []
    ahead.close()
    assert threads() == 0


def test_what_is_raised_comes_in_its_turn():
    def items():
        yield 1
        raise ValueError("no more")

    ahead = Ahead(items(), 2)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="no more"):
        next(ahead)
    assert list(ahead) == []
    ahead.close()
    assert threads() == 0


@pytest.mark.parametrize("read", [0, 1, 5])
def test_closing_ends_the_thread_and_the_generator_in_it(read):
    closed = []

    def items():
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread().name)

    ahead = Ahead(items(), 2)
    assert [next(ahead) for _ in range(read)] == list(range(read))
    ahead.close()
    ahead.close()
    assert closed == ["vggnet-ahead"]
    assert threads() == 0
    assert list(ahead) == []
