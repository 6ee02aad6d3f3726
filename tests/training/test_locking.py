"""One process at a time in a run folder, on file systems with and without locks; errors of its disk in words."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vggnet.cli import run as command
from vggnet.errors import UserError
from vggnet.training.locking import LOCK, LOCK_FILE
from vggnet.training.runs import open_run


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_two_processes_do_not_train_into_one_folder(tmp_path: Path) -> None:
    with (
        open_run(tmp_path / "run", resume=True),
        pytest.raises(UserError, match="another process is training into it"),
        open_run(tmp_path / "run", resume=True),
    ):
        pass


def test_without_locks_a_file_keeps_others_out_and_goes_with_its_process(
    tmp_path: Path, without_locks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    with open_run(path, resume=True) as run:
        assert "its file system has no locks (No locks available)" in capsys.readouterr().out
        assert json.loads((path / LOCK_FILE).read_text())["process"] == os.getpid()
        with (
            pytest.raises(UserError, match=rf"process {os.getpid()} on .* remove {path / LOCK_FILE}"),
            open_run(path, resume=True),
        ):
            pass
        run.write_config({"seed": 0})
    assert not (path / LOCK_FILE).exists()
    with open_run(path, resume=True):
        pass


def test_without_locks_a_start_that_fails_leaves_nothing(tmp_path: Path, without_locks: None) -> None:
    with pytest.raises(ValueError, match="refused"), open_run(tmp_path / "run", resume=False):
        raise ValueError("refused")
    assert list(tmp_path.iterdir()) == []


def test_the_lock_file_of_a_killed_process_is_replaced(tmp_path: Path, without_locks: None) -> None:
    """Of a process of this machine that has ended; of another machine's nobody can tell."""
    path = tmp_path / "run"
    path.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holder = {"host": socket.gethostname(), "process": ended.pid, "since": "Monday"}
    (path / LOCK_FILE).write_text(json.dumps(holder))
    with open_run(path, resume=True):
        assert json.loads((path / LOCK_FILE).read_text())["process"] == os.getpid()
    path.mkdir(exist_ok=True)
    for other in (holder | {"host": "elsewhere"}, {}, {"host": socket.gethostname(), "process": "x"}):
        (path / LOCK_FILE).write_text(json.dumps(other))
        with pytest.raises(UserError, match=rf"remove {path / LOCK_FILE}"), open_run(path, resume=True):
            pass
    assert sorted(each.name for each in path.iterdir()) in ([LOCK_FILE], [LOCK, LOCK_FILE])


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EIO, "dmesg"), (errno.EROFS, "writable"), (errno.ENOSPC, "free some"), (errno.EMFILE, "ulimit")],
)
def test_an_error_of_the_disk_names_the_file_and_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    remedy: str,
) -> None:
    """The system's own error of fsync names no file."""

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with open_run(tmp_path / "run", resume=False) as run:
        run.write_config({"seed": 0})
        monkeypatch.setattr(os, "fsync", fail)
        monkeypatch.setattr("vggnet.commands.training.train", lambda _: run.write_report({"epoch": 1.0}))
        assert command(["train", "photos"]) == (1 if number == errno.EMFILE else 75)
    said = capsys.readouterr().err
    assert f"vggnet: {tmp_path / 'run' / 'val.json'}: " in said
    assert remedy in said
    assert "--resume continues" in said
    assert not (tmp_path / "run" / "val.json").exists()
