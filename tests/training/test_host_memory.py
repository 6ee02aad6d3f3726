"""How much memory a process can still have: /proc and cgroups of both versions, written out in a folder."""

from pathlib import Path

import pytest

from vggnet.training.host_memory import UNKNOWN_BYTES, free_on_host_bytes

GB = 10**9
MEMINFO = "MemTotal: 16000000 kB\nMemFree: 1000000 kB\nMemAvailable: 10000000 kB\nCached: 9000000 kB\n"


class Machine:
    """Folders as the kernel shows them."""

    def __init__(self, folder: Path, cgroup: str, meminfo: str = MEMINFO) -> None:
        self.proc, self.groups = folder / "proc", folder / "cgroup"
        self.write(self.proc / "meminfo", meminfo)
        self.write(self.proc / "self" / "cgroup", cgroup)
        self.groups.mkdir()

    @staticmethod
    def write(file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def version_2(self, group: str, limit: str, used: int, cached: int = 0, high: str = "max") -> None:
        folder = self.groups / group
        self.write(folder / "memory.max", f"{limit}\n")
        self.write(folder / "memory.high", f"{high}\n")
        self.write(folder / "memory.current", f"{used}\n")
        self.write(folder / "memory.stat", f"anon 7\nactive_file {cached // 4}\ninactive_file {cached - cached // 4}\n")

    def version_1(self, group: str, limit: int, used: int, cached: int = 0) -> None:
        folder = self.groups / "memory" / group
        self.write(folder / "memory.limit_in_bytes", f"{limit}\n")
        self.write(folder / "memory.usage_in_bytes", f"{used}\n")
        self.write(folder / "memory.stat", f"inactive_file 1\ntotal_active_file 0\ntotal_inactive_file {cached}\n")

    def free(self) -> int:
        return free_on_host_bytes(self.proc, self.groups)


def test_what_the_page_cache_holds_is_free(tmp_path: Path) -> None:
    """MemAvailable (10.24 GB), not MemFree (1.02 GB)."""
    assert Machine(tmp_path, "0::/\n").free() == 10_000_000 * 1024


def test_a_limit_of_version_2_counts_without_cached_files(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/user.slice/job\n")
    machine.version_2("user.slice/job", str(6 * GB), used=5 * GB, cached=3 * GB)
    assert machine.free() == 4 * GB
    machine.version_2("user.slice/job", "max", used=5 * GB)
    assert machine.free() == 10_000_000 * 1024
    machine.version_2("user.slice/job", "max", used=5 * GB, high=str(7 * GB))
    assert machine.free() == 2 * GB


@pytest.mark.parametrize("outer", ["", "user.slice"])
def test_every_group_above_binds(tmp_path: Path, outer: str) -> None:
    machine = Machine(tmp_path, "0::/user.slice/job\n")
    machine.version_2("user.slice/job", str(8 * GB), used=GB)
    machine.version_2(outer, str(4 * GB), used=3 * GB)
    assert machine.free() == GB


@pytest.mark.parametrize("path", ["/", "/docker/0123abcd", "/../../outside"])
def test_in_a_container_the_root_is_its_own(tmp_path: Path, path: str) -> None:
    """The path may be the host's, and not exist here."""
    machine = Machine(tmp_path, f"0::{path}\n")
    machine.version_2("", str(3 * GB), used=GB)
    assert machine.free() == 2 * GB


def test_a_limit_of_version_1(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "5:cpu,cpuacct:/job\n4:memory:/job/step\n0::/\n")
    machine.version_1("job/step", 9223372036854771712, used=GB)  # no limit, as version 1 has it
    assert machine.free() == 10_000_000 * 1024
    machine.version_1("job", 5 * GB, used=4 * GB, cached=2 * GB)
    assert machine.free() == 3 * GB


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/\n")
    machine.version_2("", str(GB), used=2 * GB)
    assert machine.free() == 0


def test_systems_without_proc_have_some_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_on_host_bytes(tmp_path, tmp_path) > 0

    def refuse(name: str) -> int:
        raise ValueError(name)  # macOS knows no SC_AVPHYS_PAGES

    monkeypatch.setattr("os.sysconf", refuse)
    assert free_on_host_bytes(tmp_path, tmp_path) == UNKNOWN_BYTES
