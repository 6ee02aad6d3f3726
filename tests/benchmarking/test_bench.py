"""`vggnet bench`: what it counts, what it checks, and what it says where something is absent."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from played_cudnn import any_channels, convolution_by

from vggnet.backends.gpu_training import FusedVGG
from vggnet.benchmarking import running, ways
from vggnet.benchmarking.nets import library
from vggnet.benchmarking.problem import Absent, Problem, Ready
from vggnet.benchmarking.report import show
from vggnet.benchmarking.running import BenchmarkReport, Result
from vggnet.benchmarking.training_ways import our_step
from vggnet.benchmarking.ways import OURS, REFERENCE
from vggnet.cli import run
from vggnet.errors import UserError
from vggnet.hardware import choose_precision
from vggnet.options.bench import BenchOptions


def test_operations_are_the_issues() -> None:
    """30.94 GFLOP forward, 92.65 for a training step, per image."""
    assert Problem("inference", "cpu", 1, 1).flop / 1e9 == pytest.approx(30.94, abs=0.01)
    assert Problem("training", "cpu", 1, 1).flop / 1e9 == pytest.approx(92.65, abs=0.01)
    assert Problem("training", "cpu", 8, 1).flop / 1e9 == pytest.approx(8 * 92.65, abs=0.1)


def small(task: str) -> Problem:
    return Problem(task, "cpu", 4, 1, width=1 / 4, crop=64)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["training", "inference"])
def test_every_way_in_torch_computes_the_same(task: str) -> None:
    readies = {}
    for way in ways.WAYS:
        if (
            way.task == task
            and "cpu" in way.devices
            and not way.compiles
            and way.name.split()[0]
            in (
                "torchvision",
                "torchvision,",
                OURS,
            )
        ):
            try:
                readies[way.name] = way.prepare(small(task))
            except Absent as error:
                assert "bf16" in str(error) or "int8" in str(error)  # noqa: PT017
    assert REFERENCE[task] in readies  # type: ignore[index]
    helpers = {name: Stub(ready) for name, ready in readies.items()}
    results = {name: Result(task, name) for name in readies}  # type: ignore[arg-type]
    running._check(small(task), helpers, results)  # type: ignore[arg-type]
    for ready in readies.values():
        ready.call()
    assert max(result.score_gap or 0 for result in results.values()) < 0.05


class Stub:
    def __init__(self, ready: Ready) -> None:
        self.ready = ready


def test_a_way_that_computes_something_else_is_not_timed() -> None:
    scores = torch.randn(2, 10)
    helpers = {REFERENCE["inference"]: Stub(Ready(list, scores)), "other": Stub(Ready(list, 1.2 * scores))}
    results = {name: Result("inference", name) for name in helpers}
    with pytest.raises(UserError, match=r"other: scores differ from the reference's by 20\.0%: nothing was timed"):
        running._check(small("inference"), helpers, results)  # type: ignore[arg-type]
    gradients = [torch.randn(50), torch.randn(50)]
    helpers = {
        REFERENCE["training"]: Stub(Ready(list, scores, gradients)),
        "other": Stub(Ready(list, scores, [gradients[0], -gradients[1]])),
    }
    results = {name: Result("training", name) for name in helpers}
    with pytest.raises(UserError, match=r"other: a gradient has a cosine of -1\.0000"):
        running._check(small("training"), helpers, results)  # type: ignore[arg-type]


@pytest.mark.parametrize("absent", [REFERENCE["inference"], running.LIMIT])
def test_without_the_reference_or_the_limit_nothing_is_timed(absent: str) -> None:
    names = (REFERENCE["inference"], running.LIMIT)
    results = {name: Result("inference", name, absent="no memory" if name == absent else "") for name in names}
    with pytest.raises(UserError, match=f"{absent}: no memory; everything is compared with it"):
        running._require(names, results)


def test_a_way_that_a_gpu_has_no_memory_for_is_absent() -> None:
    def full(problem: Problem) -> Ready:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(Absent, match="the GPU's memory is too small for batch 4"):
        running._prepared(small("training"), full, torch.device("cpu"))


class Played:
    """A helper process that is none."""

    flop = 1e9

    def __init__(self, problem: Problem, name: str) -> None:
        self.ready = Ready(list, torch.ones(2, 3))

    def prepare(self) -> str:
        return ""

    def time(self) -> tuple[float, float]:
        return 2.0, 1.0

    def stop(self) -> int:
        return 5


def test_figures_are_handed_over_after_every_round() -> None:
    saved: list[dict[str, Any]] = []
    options = BenchOptions(tasks=("inference",), repeats=3, batch=4)
    running.run_benchmark(options, lambda report: saved.append(copy.deepcopy(report.to_dict())), Played)  # type: ignore[arg-type]
    rows = [{row["name"]: row for row in content["results"]}[OURS] for content in saved]
    assert [len(row["wall_s"]) for row in rows] == [1, 2, 3, 3]
    assert [row["images_per_s"] for row in rows] == [2.0] * 4
    assert [row["peak_bytes"] for row in rows] == [None, None, None, 5]


def test_our_step_is_checked_without_dropout_in_a_gpus_form_too() -> None:
    plain = our_step(small("training"))
    reduced = choose_precision("auto", torch.device("cpu")) == "bf16"  # else the step is without autocast
    dtype = torch.bfloat16 if reduced else torch.float32
    with convolution_by(any_channels):
        fused = our_step(small("training"), form=lambda model: FusedVGG(model, dtype))
        assert (fused.scores - plain.scores).abs().max() < 0.1 * plain.scores.abs().max()  # dropout makes it 0.7
        fused.call()


def test_what_is_not_installed_says_how_to_install_it() -> None:
    with pytest.raises(Absent, match=r"no_such_peer is not installed: pip install 'vggnet\[bench\]'"):
        library("no_such_peer")


def report() -> BenchmarkReport:
    ours = Result("inference", OURS, wall_s=[1.0, 2.0, 3.0], cpu_s=[2.0, 2.0, 2.0], score_gap=0.01, peak_bytes=10**9)
    slow = Result("inference", "slow", wall_s=[9.0, 8.0, 7.0], cpu_s=[6.0, 6.0, 6.0], score_gap=0.0)
    gone = Result("inference", "gone", absent="gone is not installed")
    machine = {"cpu": "a CPU", "cores": 2, "threads": 2, "gpus": []}
    return BenchmarkReport(
        {"inference": {"batch": 8, "device": "cpu", "crop": 224}},
        [slow, gone, ours],
        {"inference": 100.0},
        {"inference": 50.0},
        "bfloat16",
        {"inference": 120.0},
        3,
        (0.1, 0.2, 0.3),
        machine,
        {"torch": "2"},
    )


def test_figures_and_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians 2 and 8 s: 4 and 1 images/s, four times as fast, 60 % of the limit of 100."""
    monkeypatch.setenv("COLUMNS", "160")
    rows = {row["name"]: row for row in report().to_dict()["results"]}
    assert rows[OURS]["images_per_s"] == 4
    assert rows["slow"]["images_per_s"] == 1
    assert rows["slow"]["vggnet_is_times_as_fast"] == 4
    assert rows["slow"]["vggnet_is_times_as_fast_in_cpu_time"] == 3
    assert rows[OURS]["share_of_limit"] == pytest.approx(0.6)
    assert "images_per_s" not in rows["gone"]
    show(report())
    text = capsys.readouterr().out
    assert "4.00 x" in text
    assert "gone is not installed" in text


def test_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--repeats", "0"]) == 2
    assert "--repeats" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert run(["bench", "--device", "cuda"]) == 2
        assert "no GPU" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    """All ways on a small net, in processes of their own."""
    file = tmp_path / "result.json"
    sizes = ["--width", "0.25", "--crop", "64", "--batch", "4", "--repeats", "2", "--threads", "1"]
    assert run(["bench", *sizes, "--json", str(file)]) == 0
    content = json.loads(file.read_text())
    rows = {(row["task"], row["name"]): row for row in content["results"]}
    for task in ("training", "inference"):
        assert len(rows[task, OURS]["wall_s"]) == 2
        assert rows[task, OURS]["peak_bytes"] > 10**8
        assert rows[task, "torchvision, bf16 channels-last, compiled"]["absent"]
