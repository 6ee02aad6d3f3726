"""The run folder: everything about one training, whole after a kill, used by one process at a time.

config.json        the resolved options         environment.json   versions, hardware, command
metrics.csv        one row an epoch             events/            the same for TensorBoard
best.safetensors   weights of the best epoch    last.safetensors   weights of the last epoch
state.safetensors  what `--resume` continues from
val.json           the best epoch's error on val
"""

import csv
import fcntl
import io
import json
import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vggnet.errors import UserError
from vggnet.files import write_whole
from vggnet.hardware import environment

STATE = "state.safetensors"
CONFIG = "config.json"
LOCK = ".lock"
SPARE_BYTES = 50_000_000  # beside the weights: metrics, events, posteriors


_held_locks: "weakref.WeakSet[io.TextIOWrapper]" = weakref.WeakSet()


def _let_go() -> None:
    """In a forked process: a lock belongs to all who have its file open, so a reader that outlives us would keep it."""
    for lock in list(_held_locks):
        lock.close()


os.register_at_fork(after_in_child=_let_go)


class RunFolder:
    """One run on disk. Made by `open_run`, which holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best, self.last = path / "best.safetensors", path / "last.safetensors"
        self.state, self.report = path / STATE, path / "val.json"

    @property
    def config(self) -> dict[str, Any] | None:
        """The options that the run was started with; None where nothing was saved yet."""
        file = self.path / CONFIG
        if not file.exists():
            return None
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except ValueError as error:
            raise UserError(f"{file}: damaged ({error}); start anew in another --out") from error

    def write_config(self, config: dict[str, Any]) -> None:
        write_whole(self.path / CONFIG, json.dumps(config, indent=2) + "\n")
        write_whole(self.path / "environment.json", json.dumps(environment(), indent=2) + "\n")

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """The whole table anew, so that rows of epochs that a kill undid do not stay."""
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        write_whole(self.path / "metrics.csv", text.getvalue())

    def write_report(self, report: dict[str, Any]) -> None:
        write_whole(self.report, json.dumps(report, indent=2) + "\n")

    def check_space(self, parameters: int) -> None:
        """Refuse to start where the weights (best, last, state with momentum, one of them twice) would not fit."""
        needed = parameters * 4 * 6 + SPARE_BYTES
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise UserError(
                f"--out {self.path}: {free / 1e9:.2f} GB are free there and this run may need {needed / 1e9:.2f} GB; "
                "free some space or choose another --out"
            )


@contextmanager
def open_run(path: Path, *, resume: bool) -> Iterator[RunFolder]:
    """Take the run folder for this process alone.

    A folder with anything in it is refused without `resume`, and with it, too, where that is no run's. A start that
    fails before anything is saved leaves neither the folder nor its lock behind.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"--out {path}: a file stands there; give a folder that does not exist yet")
    # a start that was killed before anything was trained left its lock only (a hidden file), and is no run
    names = {each.name for each in path.iterdir() if not each.name.startswith(".")} if path.is_dir() else set()
    started = names & {CONFIG, STATE}
    if names and not (resume and started):
        hint = "--resume continues it" if started else "it is no run of vggnet"
        raise UserError(f"--out {path}: the folder is there already and is never overwritten; {hint}, or give another")
    made = [each for each in (path, *path.parents) if not each.exists()]  # the innermost first
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("w")
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written to ({error.strerror}); give another folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(lock.fileno()), os.stat(path / LOCK)):
                raise BlockingIOError  # a start that failed has just removed it, and another made it anew
        except OSError as error:
            raise UserError(f"--out {path}: another process is training into it right now") from error
        _held_locks.add(lock)
        try:
            yield RunFolder(path)
        finally:
            _leave(path, made)


def _leave(path: Path, made: list[Path]) -> None:
    """Remove the lock where nothing lies beside it, and then the folders that were `made` for it."""
    if [each.name for each in path.iterdir()] != [LOCK]:
        return
    (path / LOCK).unlink()
    for folder in made:
        try:
            folder.rmdir()
        except OSError:  # another run lies in it by now
            return
