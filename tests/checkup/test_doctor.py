"""`vggnet doctor`: what it tells of a machine, and that its self-test finds what is broken."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vggnet.checkup import self_test as tests
from vggnet.checkup.facts import collect
from vggnet.checkup.findings import findings
from vggnet.checkup.report import CheckupReport, examine
from vggnet.checkup.self_test import TESTS, Outcome, self_test
from vggnet.cli import run
from vggnet.errors import MachineFault

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def report() -> CheckupReport:
    """With more time than usual, since a machine may be busy."""
    return replace(examine("cpu", quick=True), outcomes=tuple(self_test(CPU, limit_s=600.0)))


def test_the_self_test_passes_here(report: CheckupReport) -> None:
    assert [outcome.name for outcome in report.outcomes] == list(TESTS)
    assert [outcome.found for outcome in report.outcomes if outcome.passed is not True] == []
    assert report.passed


def test_the_report_has_what_a_report_of_an_error_needs(report: CheckupReport) -> None:
    text = report.to_text()
    for subject in ("versions", "processor", "devices", "precision", "decoding", "memory", "disk", "limits"):
        assert f"\n{subject}\n" in f"\n{text}"
    for fact in (torch.__version__, np.__version__, "libjpeg-turbo", "/dev/shm", "open files", "self-test", "passed"):
        assert fact in text
    assert report.facts["memory"]["total"] >= report.facts["memory"]["free for this process"] > 0
    assert json.loads(json.dumps(report.to_dict()))["self_test"][0]["passed"] is True


def test_the_report_names_no_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "somebody"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "work")
    monkeypatch.setenv("VGGNET_CACHE", str(home / "cache"))
    disks = collect(CPU)["disk"]
    assert "~/work" in disks
    assert "~/cache" in disks


def test_the_command_prints_it_and_writes_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--quick"]) == 0
    assert "self-test" not in capsys.readouterr().out
    assert run(["doctor", "--quick", "--device", "cpu", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["facts"]["precision"]["device"] == "cpu"
    assert content["self_test"] == []
    assert run(["doctor", "--quick", "--device", "gpu"]) == 2


def fine(device: torch.device) -> str:
    return "fine"


def test_a_test_that_fails_is_named_and_is_no_success() -> None:
    def broken(device: torch.device) -> str:
        raise OSError("no\nmore")

    report = CheckupReport({}, (), tuple(self_test(CPU, tests={"first": fine, "second": broken})))
    text = report.to_text()
    assert "first   passed" in text
    assert "second  FAILED" in text
    assert ": OSError: no\n" in text
    assert not report.passed
    with pytest.raises(MachineFault, match=r"the self-test failed \(second\)"):
        report.check()


@pytest.mark.slow
def test_a_fault_of_the_machine_ends_the_command_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_cache(monkeypatch)
    assert run(["doctor", "--device", "cpu"]) == 1
    assert "the self-test failed (cache folder)" in capsys.readouterr().err


def test_after_its_time_the_rest_is_left_out() -> None:
    outcomes = self_test(CPU, limit_s=-1.0, tests={"first": fine, "second": fine})
    assert [outcome.passed for outcome in outcomes] == [None, None]
    assert CheckupReport({}, (), tuple(outcomes)).passed


def drifting_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    count = iter(range(100))
    real = tests.build_optimizer

    def build(model: torch.nn.Module, *more: object) -> object:
        with torch.no_grad():
            next(model.parameters()).add_(1e-3 * next(count))
        return real(model, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(tests, "build_optimizer", build)


def other_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tests.decode
    monkeypatch.setattr(tests, "decode", lambda path: real(path).point(lambda value: value ^ 1))


def other_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tests.TrainingLoader.batches

    def batches(self: tests.TrainingLoader, epoch: int, order: list) -> object:
        return real(self, epoch + (self._slots is not None), order)

    monkeypatch.setattr(tests.TrainingLoader, "batches", batches)


def other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tests.load_model

    def load(path: Path) -> torch.nn.Module:
        model = real(path)
        with torch.no_grad():
            next(model.parameters()).view(-1)[0] += 1
        return model

    monkeypatch.setattr(tests, "load_model", load)


def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGGNET_CACHE", "/dev/null/cache")


@pytest.mark.parametrize(
    ("name", "break_it", "found"),
    [
        ("determinism", drifting_steps, "other weights the second time"),
        ("image files", other_pixels, "a picture written as png has other pixels"),
        ("reading processes", other_crops, "two processes read other crops"),
        ("weights", other_weights, "has other values when it is read from a weight file"),
        ("cache folder", no_cache, "NotADirectoryError"),
    ],
)
def test_what_is_broken_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, break_it: Callable[[pytest.MonkeyPatch], None], found: str
) -> None:
    break_it(monkeypatch)
    (outcome,) = self_test(CPU, tests={name: TESTS[name]})
    assert outcome.passed is False
    assert found in outcome.found


def test_a_net_that_computes_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tests.fast_inference

    def wrong(*arguments: object) -> Callable[[torch.Tensor], torch.Tensor]:
        form = real(*arguments)  # type: ignore[arg-type]
        return lambda images: form(images) * 1.5

    monkeypatch.setattr(tests, "fast_inference", wrong)
    (outcome,) = self_test(CPU, tests={"nets": TESTS["nets"]})
    assert outcome.passed is False
    assert "differs from double precision" in outcome.found


def test_unusual_machines_are_told_what_to_do() -> None:
    usual = collect(CPU)
    usual["devices"] |= {"driver": False}
    usual["precision"] |= {"bf16 in hardware": True}
    usual["processor"] |= {"load average": [0.0], "threads of PyTorch": 2, "cores of this process": 2}
    usual["memory"] |= {"free for this process": 10**11}
    usual["disk"] = {"~": {"free": 10**12, "total": 10**12, "writable": True}}
    usual["limits"] |= {"open files": 1024, "file size": None}
    assert findings(usual) == []
    for subject, change, words in (
        ("devices", {"driver": True, "GPUs": 0, "CUDA of PyTorch": None}, "this PyTorch is built without CUDA"),
        ("precision", {"bf16 in hardware": False}, "this CPU has no bf16 arithmetic"),
        ("processor", {"load average": [9.0]}, "the load average is 9.0 on 2 cores"),
        ("processor", {"threads of PyTorch": 1}, "PyTorch uses 1 of 2 cores"),
        ("memory", {"free for this process": 10**9}, "less than 2 GB of memory"),
        ("disk", {"~": {"free": 10**8, "total": 10**12, "writable": True}}, "~ has 0.1 GB of free space"),
        ("disk", {"~": {"free": 10**12, "total": 10**12, "writable": False}}, "~ cannot be written to"),
        ("limits", {"open files": 256}, "256 files may be open at once"),
        ("limits", {"file size": 1000}, "no file may be larger than 1,000 bytes"),
        ("versions", {"scipy": None}, "scipy is not installed as a package"),
    ):
        facts = copy.deepcopy(usual)
        facts[subject] |= change
        (sentence,) = findings(facts)
        assert words in sentence


def test_an_outcome_in_words() -> None:
    text = CheckupReport({}, (), (Outcome("nets", False, "words", 0.25),)).to_text()
    assert text == "self-test\n  nets  FAILED, 0.2 s: words\n"
