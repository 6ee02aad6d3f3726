"""Items made ahead by a thread: their order, what is raised, and that no thread stays."""

import subprocess
import sys
import threading
import time

import pytest
from waiting import wait_until

from vggnet.images.gpu.ahead import Ahead


def threads() -> int:
    return sum(thread.name == "vggnet-ahead" for thread in threading.enumerate())


def test_items_come_in_order_some_ahead():
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    ahead = Ahead(items(), 3)
    wait_until(lambda: len(made) == 4)
    time.sleep(0.05)  # for a fifth, which must not come
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


FORGOTTEN = """
import torch
from vggnet.images.gpu.ahead import Ahead

def products():
    matrix = torch.eye(1200)
    while True:
        matrix = matrix @ matrix
        yield 1

ahead = Ahead(products(), 10**6)
print(next(ahead))
"""


def test_forgotten_it_does_not_hinder_the_programs_end():
    """Its thread is within PyTorch nearly always: cut off there, it would abort the process."""
    done = subprocess.run([sys.executable, "-c", FORGOTTEN], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
