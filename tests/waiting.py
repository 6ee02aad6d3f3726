"""Wait for events in other processes, and find child processes."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

LIMIT_S = 240.0  # a busy machine is slow


def wait_until(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Return as soon as `condition()` is true; raise TimeoutError where it is not after `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition is still false after {limit_s} s")
        time.sleep(0.01)


def read_until(lines: Iterable[str] | None, start: str) -> None:
    """Read a program's output up to the first line that begins with `start`; raise AssertionError at its end."""
    read = []
    for line in lines or ():
        if line.startswith(start):
            return
        read.append(line)
    raise AssertionError(f"no line begins with {start!r} in:\n{''.join(read)}")


def children_of(pid: int) -> list[int]:
    """Return the process IDs of the direct children of a process, in ascending order (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]  # after the name, which may hold anything
        except OSError:
            continue  # it has ended meanwhile
        if int(parent) == pid:
            found.append(int(stat.parent.name))
    return sorted(found)


def exists(pid: int) -> bool:
    """Return whether a process is there (also as a zombie)."""
    return Path(f"/proc/{pid}").exists()
