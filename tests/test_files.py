"""Files appear whole or not at all."""

import errno
import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vggnet.errors import UserError
from vggnet.files import printable, remove_abandoned, replacing, replacing_several, write_result, write_whole


@contextmanager
def small_files_only() -> Iterator[None]:
    """A real limit: a file that grows beyond 200 bytes fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("alone", [True, False])
def test_what_fails_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path, alone: bool) -> None:
    path = tmp_path / "weights"
    write_whole(path, "before", alone=alone)

    def fail() -> None:
        with replacing(path, alone=alone) as temporary:
            temporary.write_text("half of it")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_kill_leaves_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    with replacing(path) as temporary:
        temporary.write_text("unused")
    temporary.write_bytes(b"as a kill would leave it")
    write_whole(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_write_into_files_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "provenance"
    with replacing(path, alone=False) as one, replacing(path, alone=False) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # the block that ended last
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_that_does_not_fit_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_result(path, "earlier" * 100)
    with (
        small_files_only(),
        pytest.raises(UserError, match=r"`csv` .*table\.csv: cannot be written \(File too large\)"),
    ):
        write_result(path, "later" * 100, option="`csv`")
    assert path.read_text() == "earlier" * 100
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_follows_links_keeps_permissions_and_makes_folders(tmp_path: Path) -> None:
    real, link = tmp_path / "a" / "b" / "real.json", tmp_path / "link.json"
    write_result(real, "{}")
    real.chmod(0o604)
    link.symlink_to(real)
    write_result(link, "[]")
    assert link.is_symlink()
    assert real.read_text() == "[]"
    assert real.stat().st_mode & 0o777 == 0o604


def test_a_result_goes_into_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    write_result(pipe, "42")
    reader.join()
    assert found == ["42"]
    assert pipe.is_fifo()


def test_names_that_are_not_utf8_are_escaped_in_texts(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9.jpg")
    write_result(tmp_path / "t.csv", f"image\n{name}\n")
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "image\ncaf\\xe9 é.jpg\n"
    assert printable(name) == "caf\\xe9 é.jpg"
    assert printable("\ud800") == "\\ud800"


def test_several_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "net.xml"
    for name in ("net.xml", "net.bin", "net.json"):
        (tmp_path / name).write_text("earlier")

    def write(failing: bool) -> None:
        with replacing_several(out) as folder:
            (folder / "net.xml").write_text("later")
            (folder / "net.bin").write_text("later")
            if failing:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(failing=True)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == dict.fromkeys(
        ("net.xml", "net.bin", "net.json"), "earlier"
    )
    (tmp_path / ".net.xml.part").mkdir()  # as a kill would leave it
    (tmp_path / ".net.xml.part" / "net.old").write_text("half")
    write(failing=False)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "net.xml": "later",
        "net.bin": "later",
        "net.json": "earlier",
    }


def test_an_error_of_the_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"Input/output error: '.*/weights'"):
        write_whole(tmp_path / "weights", b"whole")
    assert list(tmp_path.iterdir()) == []


def test_what_killed_writers_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    """Another process may be writing a new one at this moment."""
    old, new = tmp_path / ".scores.0123.part", tmp_path / ".scores.4567.part"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (1e9, 1e9))
    write_whole(tmp_path / "scores", "whole", alone=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "scores"]
    assert remove_abandoned(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["scores"]


def test_a_folder_that_cannot_be_flushed_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems refuse it; the file itself is on the disk."""
    real = os.fsync

    def flush(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", flush)
    write_whole(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"
