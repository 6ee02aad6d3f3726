"""Memory that this process can still have on its machine, by the kernel's own figure and by the limits of its cgroups.

Files that the kernel caches count as free: they make room for whoever asks. Limits are read from cgroups of version 2
and of version 1, from the process's own group up to the root, since each of them binds. In a container the path in
/proc/self/cgroup may be that of the host: what does not exist is passed over, and the root is the container's own.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

UNKNOWN_BYTES = 4_000_000_000  # on systems that do not say


def free_on_host_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes; `proc` and `groups` are where the kernel shows its figures."""
    figures = [_available(proc)]
    for folder, version in _groups_of_process(proc, groups):
        left = _left_in_group(folder, version)
        if left is not None:
            figures.append(left)
    return max(0, min(figures))


def _available(proc: Path) -> int:
    """Return MemAvailable of /proc/meminfo, on other systems the free pages, in bytes."""
    available = _values(proc / "meminfo").get("MemAvailable:")
    if available is not None:
        return available * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_BYTES


def _groups_of_process(proc: Path, groups: Path) -> Iterator[tuple[Path, int]]:
    """Yield the folders of the process's memory groups, the innermost first, with their version."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = ["0::/"]
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            root, version = groups, 2
        elif "memory" in controllers.split(","):
            root, version = groups / "memory", 1
        else:
            continue
        inner = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for depth in range(len(inner), -1, -1):
            yield root.joinpath(*inner[:depth]), version


def _left_in_group(folder: Path, version: int) -> int | None:
    """Return what the group's limit leaves, cached files counted as free; None without a limit or such a group."""
    limits, usage, prefix = {
        2: (("memory.max", "memory.high"), "memory.current", ""),
        1: (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_"),
    }[version]
    found = [number for name in limits if (number := _number(folder / name)) is not None]
    used = _number(folder / usage)
    if not found or used is None:
        return None
    stat = _values(folder / "memory.stat")
    cached = stat.get(f"{prefix}active_file", 0) + stat.get(f"{prefix}inactive_file", 0)
    return min(found) - max(0, used - cached)


def _number(file: Path) -> int | None:
    """Return a file's only number; None where there is no such file, or where it holds "max"."""
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _values(file: Path) -> dict[str, int]:
    """Return the lines "name number" of a file; empty where there is no such file."""
    try:
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
