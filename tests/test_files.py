"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from vggnet.files import replacing, write_whole


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
