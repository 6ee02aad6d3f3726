"""One process at a time in a run folder: the kernel's lock, or a lock file where the file system has no locks."""

import errno
import fcntl
import json
import os
import socket
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

from vggnet.console import say
from vggnet.errors import UserError

LOCK = ".lock"
LOCK_FILE = ".lock-holder"  # names the process, where LOCK itself cannot be locked
_held: "weakref.WeakSet[TextIOWrapper]" = weakref.WeakSet()
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def _let_go() -> None:
    """In a forked process: a lock belongs to all who have its file open, so a reader that outlives us would keep it."""
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`. UserError where another process has it, or where nothing can be written there."""
    try:
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise UserError(f"`out` {folder}: cannot be written to ({error.strerror}); give another folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / LOCK)):
                raise BlockingIOError  # a start that failed has just removed it, and another made it anew
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise UserError(f"`out` {folder}: another process is training into it right now") from error
            say(
                f"note: {folder}: its file system has no locks ({error.strerror}); the file {LOCK_FILE} there keeps "
                "other trainings out"
            )
            with _lock_file(folder):
                yield
        else:
            _held.add(lock)
            yield


@contextmanager
def _lock_file(folder: Path) -> Iterator[None]:
    """Hold `folder` by a file that names this process. One that a killed process of this machine left is replaced."""
    path = folder / LOCK_FILE
    own = json.dumps(
        {"host": socket.gethostname(), "process": os.getpid(), "since": time.ctime(), "id": uuid.uuid4().hex}
    )
    for _ in range(2):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _remove_abandoned(path)
            continue
        with os.fdopen(handle, "w") as file:
            file.write(own)
        break
    if _read(path) != own:
        raise UserError(f"`out` {folder}: another process is training into it right now")
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _remove_abandoned(path: Path) -> None:
    """Remove the lock file of a process of this machine that has ended. UserError for any other."""
    try:
        holder = dict(json.loads(_read(path)))
    except (ValueError, TypeError):
        holder = {}  # its writer was killed, or is writing it now
    process = holder.get("process")
    if holder.get("host") == socket.gethostname() and isinstance(process, int) and process > 0 and _has_ended(process):
        with suppress(FileNotFoundError):
            path.unlink()
        return
    who = f"process {process} on {holder.get('host')}, since {holder.get('since')}" if holder else "unknown"
    raise UserError(
        f"`out` {path.parent}: another process is training into it ({who}). Where it does not run any more, remove "
        f"{path}"
    )


def _has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
