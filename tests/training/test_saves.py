"""Saves: whole or not at all, verified, the newest whole one is taken; written in the background without waiting."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from nets import random_net
from safetensors.torch import load, load_file, save
from saved import progress_of, save_of, without_saves

from vggnet import files
from vggnet.errors import UserError
from vggnet.files import link_or_copy
from vggnet.network.safetensors_writing import safetensors_parts
from vggnet.paper.recipes import Recipe
from vggnet.training.checkpoints import TrainingProgress, restore_state
from vggnet.training.optimization import build_optimizer
from vggnet.training.runs import RunFolder
from vggnet.training.saves import Content, newest_save, prune, publish, write_save
from vggnet.training.saving import Saver


def write(run: Path, number: int) -> None:
    """Write a save whose files tell its number; best, last and metrics change in the even ones only."""
    before = newest_save(run)[0]
    new: dict[str, Content] = {"state.safetensors": [b"state %d" % number]}
    if number % 2 == 0 or before is None:
        new |= {"last.safetensors": [b"last %d" % number], "metrics.csv": [b"epoch\n%d\n" % number]}
        new["best.safetensors"] = "last.safetensors"
    publish(run, write_save(run, before, new, {"step": number}))


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a save, but for its manifest."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def test_tensors_are_laid_out_as_by_the_library() -> None:
    tensors = {
        "b": torch.randn(3, 2),
        "a": torch.tensor(5),
        "c": torch.zeros(0, 4, dtype=torch.float16),
        "d": torch.tensor([True, False]),
        "e": torch.randn(5).bfloat16(),
        "f": torch.arange(7, dtype=torch.int8),
        "é": torch.randn(2, 3, 4, dtype=torch.float64),
    }
    ours = b"".join(safetensors_parts(tensors, {"only": "one"}))
    assert ours == save(tensors, {"only": "one"})
    loaded = load(ours)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_a_save_holds_the_files_of_one_moment_and_the_unchanged_ones_are_links(tmp_path: Path) -> None:
    for number in range(1, 4):
        write(tmp_path, number)
    third = save_of(tmp_path)
    assert (third.number, third.facts["step"]) == (3, 3)
    held = contents(third.folder)
    assert held["state.safetensors"] == b"state 3"
    assert held["last.safetensors"] == held["best.safetensors"] == b"last 2"
    assert held["metrics.csv"] == b"epoch\n2\n"
    second = third.folder.with_name("000002")
    assert os.path.samefile(third.folder / "last.safetensors", second / "last.safetensors")
    assert os.path.samefile(tmp_path / "best.safetensors", second / "best.safetensors")
    manifest = json.loads((third.folder / "manifest.json").read_text())
    assert manifest["files"]["state.safetensors"]["bytes"] == 7


def test_without_hard_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_bytes(b"content")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"content"
    for number in range(1, 4):
        write(tmp_path / "run" if (tmp_path / "run").mkdir(exist_ok=True) is None else tmp_path, number)
    assert contents(save_of(tmp_path / "run").folder)["last.safetensors"] == b"last 2"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: flip(folder / "state.safetensors"), "state.safetensors has changed since it was written"),
        (lambda folder: (folder / "state.safetensors").write_bytes(b"st"), "state.safetensors has 2 bytes, written"),
        (lambda folder: (folder / "metrics.csv").unlink(), "metrics.csv: No such file or directory"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json: No such file or directory"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"{"), "manifest.json is damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"files": {}}'), "manifest.json is damaged"),
    ],
)
def test_a_broken_newest_save_is_passed_over_named_and_removed_by_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object], reason: str
) -> None:
    for number in range(1, 4):
        write(tmp_path, number)
    broken = tmp_path / "saves" / "000003"
    spoil(broken)
    run = RunFolder(tmp_path)
    assert run.save is not None
    assert run.save.number == 2
    said = capsys.readouterr().err
    assert f"{broken}: passed over, since {reason}" in said
    assert f"{tmp_path / 'saves' / '000002'} before it is used" in said
    run.write_save({"state.safetensors": [b"state 4"]}, {}, keep=2)
    assert sorted(path.name for path in (tmp_path / "saves").glob("0*")) == ["000002", "000004"]
    assert save_of(tmp_path).number == 4


def test_where_no_save_is_whole_all_are_named(tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path, number)
    for number in (1, 2):
        flip(tmp_path / "saves" / f"{number:06d}" / "state.safetensors")
    with pytest.raises(UserError, match=r"no save can be used:\n.*0+2: .*\n.*0+1: .*\nPut one back") as error:
        RunFolder(tmp_path).save  # noqa: B018
    assert re.search(r"state\.safetensors has changed", str(error.value))


def test_the_last_saves_are_kept_and_a_kill_while_removing_leaves_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 6):
        write(tmp_path, number)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if killed after the first change
    prune(tmp_path, 2)
    assert sorted(path.name for path in (tmp_path / "saves").glob("0*")) == ["000004", "000005"]
    assert contents(save_of(tmp_path).folder)["last.safetensors"] == b"last 4"


def test_a_save_of_a_training_on_other_images_is_not_taken(tmp_path: Path) -> None:
    write_save(tmp_path, None, {"state.safetensors": [b"1"]}, {"images_sha256": "a"})
    write_save(tmp_path, None, {"state.safetensors": [b"2"]}, {"images_sha256": "b"})
    taken, broken = newest_save(tmp_path, only={"a"})
    assert taken is not None
    assert taken.number == 1
    assert [path.name for path in broken] == ["000002"]
    with pytest.raises(UserError, match="belongs to a training on other images"):
        newest_save(tmp_path, only={"c"})


def a_training() -> tuple[object, torch.optim.SGD]:
    model = random_net("abc", batch_norm=True)
    optimizer = build_optimizer(model, Recipe())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return model, optimizer


def test_a_save_in_the_background_holds_the_state_of_its_moment_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer waits until the training has taken three more steps; a synchronous save of the moment is the same."""
    model, optimizer = a_training()
    progress = TrainingProgress(epoch=1, step=2, rows=[{"epoch": 1.0, "error": 50.0}])
    for name in ("now", "later"):
        (tmp_path / name).mkdir()
    with Saver(RunFolder(tmp_path / "now"), keep=2) as saver:
        saver.save(model, optimizer, progress, epochs_seen=1, is_best=True)  # type: ignore[arg-type]
    trained_on, real = threading.Event(), files.write_flushed
    monkeypatch.setattr("vggnet.training.saves.write_flushed", lambda *a: (trained_on.wait(30), real(*a))[1])
    with Saver(RunFolder(tmp_path / "later"), keep=2) as saver:
        saver.save(model, optimizer, progress, epochs_seen=1, is_best=True)  # type: ignore[arg-type]
        for _ in range(3):
            optimizer.step()
        progress.step = 9
        progress.rows[0]["error"] = 0.0
        trained_on.set()
    now, later = (contents(save_of(tmp_path / name).folder) for name in ("now", "later"))
    assert now == later
    assert set(now) == {"state.safetensors", "last.safetensors", "best.safetensors", "metrics.csv"}
    again, other = a_training()
    restore_state(save_of(tmp_path / "later").state, again, other)  # type: ignore[arg-type]
    assert progress_of(tmp_path / "later").step == 2
    assert not torch.equal(again.fc8.weight, model.fc8.weight)  # type: ignore[attr-defined]
    assert torch.equal(again.fc8.weight, load_file(tmp_path / "now" / "last.safetensors")["fc8.weight"])  # type: ignore[attr-defined]


def test_an_error_of_the_background_is_raised_by_the_next_call_and_the_save_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = a_training()
    saver = Saver(RunFolder(tmp_path), keep=2)
    saver.save(model, optimizer, TrainingProgress(step=1))  # type: ignore[arg-type]
    saver.wait()

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        saver.save(model, optimizer, TrainingProgress(step=2))  # type: ignore[arg-type]
        with pytest.raises(OSError, match=r"No space left on device: '.*/saves/000002'"):
            saver.save(model, optimizer, TrainingProgress(step=3))  # type: ignore[arg-type]
    assert progress_of(tmp_path).step == 1
    saver.save(model, optimizer, TrainingProgress(step=4))  # type: ignore[arg-type]
    saver.wait()
    assert progress_of(tmp_path).step == 4


def test_a_finished_training_keeps_one_save_without_momentum(tmp_path: Path) -> None:
    model, optimizer = a_training()
    with Saver(RunFolder(tmp_path), keep=3) as saver:
        for step in range(3):
            saver.save(model, optimizer, TrainingProgress(step=step))  # type: ignore[arg-type]
        rows = [{"epoch": 1.0, "error": 1.0}]
        done = TrainingProgress(epoch=1, rows=rows, finished=True)
        saver.save(model, optimizer, done, epochs_seen=1, is_best=True)  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "saves").glob("0*")] == ["000004"]
    assert not load_file(save_of(tmp_path).state)
    assert progress_of(tmp_path).finished


def test_a_run_without_saves_becomes_the_first_save(tmp_path: Path) -> None:
    write(tmp_path, 2)
    without_saves(tmp_path)
    run = RunFolder(tmp_path)
    assert run.save is not None
    assert run.save.number == 0
    run.write_save({"state.safetensors": [b"state 3"]}, {}, keep=2)
    assert not (tmp_path / "state.safetensors").exists()
    first = tmp_path / "saves" / "000001"
    assert contents(first)["state.safetensors"] == b"state 2"
    assert contents(first)["best.safetensors"] == contents(save_of(tmp_path).folder)["best.safetensors"] == b"last 2"


FAULTS = """
import sys
from pathlib import Path
from vggnet.training.saves import newest_save, publish, prune, write_save
run = Path(sys.argv[1])
new = {"state.safetensors": [b"state 4"], "last.safetensors": [b"last 4"], "best.safetensors": "last.safetensors"}
before, broken = newest_save(run)
print("begin", flush=True)
save = write_save(run, before, new, {"step": 4})
publish(run, save)
prune(run, 2, broken)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_kill_or_an_error_at_any_system_call_of_a_save_leaves_a_whole_save(tmp_path: Path) -> None:
    """Each call that changes the disk is killed (SIGKILL) and, in another try, fails (ENOSPC or EIO)."""
    whole = tmp_path / "whole"
    whole.mkdir()
    for number in range(1, 4):
        write(whole, number)
    calls = "openat,mkdir,write,fsync,rename,link,linkat,unlink,unlinkat,rmdir,close"
    trace = tmp_path / "trace"

    def attempt(run: Path, *inject: str) -> int:
        shutil.copytree(whole, run, symlinks=True)
        command = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={calls}", *inject, sys.executable, "-S"]
        program = [f"import sys; sys.path[:0] = {sys.path!r}\n{FAULTS}", str(run)]
        return subprocess.run([*command, "-c", *program], capture_output=True, timeout=120, check=False).returncode

    assert attempt(tmp_path / "traced") == 0
    lines = trace.read_text().splitlines()
    start = next(place for place, line in enumerate(lines) if 'write(1, "begin' in line)
    name = re.compile(r"^\d+\s+(\w+)\(")
    counts: dict[str, int] = {}
    points: list[tuple[str, int]] = []
    for place, line in enumerate(lines):
        if found := name.match(line):
            counts[found[1]] = counts.get(found[1], 0) + 1
            if place > start and (found[1] != "openat" or "traced" in line) and found[1] != "close":
                points.append((found[1], counts[found[1]]))
    tried = 0
    for call, count in points:
        for fault in ("signal=SIGKILL", "error=ENOSPC", "error=EIO"):
            run = tmp_path / "run"
            status = attempt(run, "-e", f"inject={call}:{fault}:when={count}")
            found_save, _ = newest_save(run)
            assert found_save is not None
            assert found_save.problem() is None
            state = found_save.state.read_bytes()
            assert state in (b"state 3", b"state 4"), (call, count, fault)
            if status == 0:
                assert state == b"state 4"
            tried += 1
            shutil.rmtree(run)
    print(f"{tried} faults at {len(points)} system calls, none lost a save")
    assert tried >= 60
