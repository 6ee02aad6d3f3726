"""The run folder's lock."""

import multiprocessing
from pathlib import Path

import pytest

from vggnet.errors import UserError
from vggnet.training.runs import open_run


def test_a_reader_that_outlives_its_program_does_not_hold_the_lock(tmp_path: Path) -> None:
    """A fork shares its parent's open files, and a lock lasts until the last of them is closed."""
    fork = multiprocessing.get_context("fork")
    ending = fork.Event()
    started = fork.Event()

    def read() -> None:
        started.set()
        ending.wait()

    with open_run(tmp_path / "run", resume=False):
        reader = fork.Process(target=read, daemon=True)
        reader.start()
        started.wait()
        with pytest.raises(UserError, match="another process"), open_run(tmp_path / "run", resume=False):
            pass
        (tmp_path / "run" / "keep").touch()
        lock = (tmp_path / "run" / ".lock").stat()
    (tmp_path / "run" / "keep").unlink()
    with open_run(tmp_path / "run", resume=False):
        assert (tmp_path / "run" / ".lock").stat().st_ino == lock.st_ino
        assert reader.is_alive()
    ending.set()
    reader.join()
