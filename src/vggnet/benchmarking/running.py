"""Run every way in a process of its own, check it against the reference, and time all of them in turn.

- The processes are started one after another and stay. In each round every process times itself once, while the others
  wait, so that a busy moment of the machine slows all ways.
- On a GPU a process frees its memory after its turn, so that each has the whole memory.
- Peak memory is that of the process with its libraries; on a GPU that of the timed calls.
"""

import importlib.metadata
import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch.nn import functional as F

from vggnet.benchmarking.measuring import matrix_product, peak_bytes, timed_in_turn, warm_up
from vggnet.benchmarking.problem import Absent, BenchTask, Problem, Ready
from vggnet.benchmarking.ways import OURS, REFERENCE, WAYS, find
from vggnet.console import progress
from vggnet.errors import UserError
from vggnet.hardware import choose_device, choose_precision
from vggnet.options.bench import BenchOptions
from vggnet.provenance import environment

BATCH = {"cpu": 8, "cuda": 256}
SCORE_GAP = 0.05  # of the largest score; bf16 has 8 bits, and 16 layers round
GRADIENT_COSINE = 0.9  # of each parameter's gradient with the reference's; bf16 alone takes 0.03 at random weights
LIMIT = "limit"
LIBRARIES = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "numpy")


@dataclass
class Result:
    """The figures of one way; `absent` tells why there are none."""

    task: BenchTask
    name: str
    absent: str = ""
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    score_gap: float | None = None
    gradient_cosine: float | None = None
    peak_bytes: int | None = None

    @property
    def median_s(self) -> float:
        return statistics.median(self.wall_s)

    @property
    def median_cpu_s(self) -> float:
        return statistics.median(self.cpu_s)


@dataclass
class BenchmarkReport:
    """The figures of all ways, and what they depend on."""

    problems: dict[str, dict[str, Any]]
    results: list[Result]
    limit_flop_per_s: dict[str, float]  # by task, the machine's matrix rate beside it
    limit_flop_per_cpu_s: dict[str, float]
    limit_dtype: str
    flop: dict[str, float]
    repeats: int
    load_average: tuple[float, ...]
    environment: dict[str, Any]
    versions: dict[str, str]

    def rate(self, result: Result) -> float:
        """Return images/s by the median time."""
        return float(self.problems[result.task]["batch"]) / result.median_s

    def ratio(self, task: str, other: Result) -> float | None:
        """Return how many times as fast as `other` this package is; None where one of them was not timed."""
        ours = self._ours(task)
        return None if ours is None or other.absent else other.median_s / ours.median_s

    def cpu_ratio(self, task: str, other: Result) -> float | None:
        """Return the same in CPU time, which other programs disturb less; waiting threads count, too."""
        ours = self._ours(task)
        return None if ours is None or other.absent else other.median_cpu_s / ours.median_cpu_s

    def _ours(self, task: str) -> Result | None:
        return next((each for each in self.results if (each.task, each.name) == (task, OURS) and not each.absent), None)

    def share(self, result: Result) -> float:
        """Return the part of the rate of a large matrix product that `result` reaches."""
        return self.flop[result.task] / result.median_s / self.limit_flop_per_s[result.task]

    def cpu_share(self, result: Result) -> float:
        """Return the same in CPU time."""
        return self.flop[result.task] / result.median_cpu_s / self.limit_flop_per_cpu_s[result.task]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        rows = []
        for result in self.results:
            row: dict[str, Any] = asdict(result)
            if not result.absent:
                row |= {"images_per_s": self.rate(result), "share_of_limit": self.share(result)}
                row |= {"vggnet_is_times_as_fast": self.ratio(result.task, result)}
                row |= {"vggnet_is_times_as_fast_in_cpu_time": self.cpu_ratio(result.task, result)}
                row |= {"share_of_limit_in_cpu_time": self.cpu_share(result)}
            rows.append(row)
        return asdict(self) | {"results": rows}


def run_benchmark(
    options: BenchOptions,
    save: Callable[[BenchmarkReport], None] = lambda report: None,
    start: "Callable[[Problem, str], WayProcess] | None" = None,
) -> BenchmarkReport:
    """Check and time all ways that `options` ask for. Raises UserError where one disagrees with the reference.

    `save` is called after every round with what is known by then: a long run may be cut off. `start` starts the process
    of a way by its name; None: `WayProcess`.
    """
    start = WayProcess if start is None else start
    device = choose_device(options.device)
    threads = torch.get_num_threads() if options.threads is None else options.threads
    batch = BATCH[device.type] if options.batch is None else options.batch
    if batch < 1 or options.repeats < 1 or threads < 1:
        raise UserError("`batch`, `repeats` and `threads` must be at least 1")
    dtype = "bfloat16" if choose_precision("auto", device) == "bf16" else "float32"
    report = BenchmarkReport(
        {}, [], {}, {}, dtype, {}, options.repeats, (), environment() | {"threads": threads}, _versions()
    )
    report.load_average = os.getloadavg() if hasattr(os, "getloadavg") else ()
    for task in options.tasks:
        problem = Problem(task, device.type, batch, threads, options.width, options.crop)
        report.problems[task], report.flop[task] = asdict(problem), problem.flop
        _run_task(problem, options, report, save, start)
        save(report)
    return report


def _run_task(
    problem: Problem,
    options: BenchOptions,
    report: BenchmarkReport,
    save: Callable[[BenchmarkReport], None],
    start: "Callable[[Problem, str], WayProcess]",
) -> None:
    with_limit = [LIMIT, *(way.name for way in WAYS if way.task == problem.task and problem.device in way.devices)]
    processes: dict[str, WayProcess] = {}
    results: dict[str, Result] = {}
    try:
        with progress(f"preparing {problem.task}") as tick:
            for number, name in enumerate(with_limit):
                tick(number, len(with_limit), name)
                results[name] = Result(problem.task, name)
                if name != LIMIT and find(problem.task, name).compiles and not options.compile:
                    results[name].absent = "left out; `compile` times it"
                    continue
                process = start(problem, name)
                reason = process.prepare()
                if reason:
                    results[name].absent = reason
                    process.stop()
                else:
                    processes[name] = process
        _require((REFERENCE[problem.task], LIMIT), results)
        _check(problem, processes, results)
        report.results += [result for name, result in results.items() if name != LIMIT]
        with progress(f"timing {problem.task}") as tick:
            for repeat in range(options.repeats):
                for name, process in processes.items():
                    wall_s, cpu_s = process.time()
                    results[name].wall_s.append(wall_s)
                    results[name].cpu_s.append(cpu_s)
                report.limit_flop_per_s[problem.task] = processes[LIMIT].flop / results[LIMIT].median_s
                report.limit_flop_per_cpu_s[problem.task] = processes[LIMIT].flop / results[LIMIT].median_cpu_s
                save(report)
                tick(repeat + 1, options.repeats, "")
    finally:
        for name, process in processes.items():
            results[name].peak_bytes = process.stop()


def _require(names: Iterable[str], results: dict[str, Result]) -> None:
    """Raise UserError where a way that all others are compared with is absent."""
    for name in names:
        if results[name].absent:
            raise UserError(f"{name}: {results[name].absent}; everything is compared with it: nothing was timed")


def _check(problem: Problem, processes: dict[str, "WayProcess"], results: dict[str, Result]) -> None:
    """Raise UserError for a way whose scores or gradients differ from the reference's."""
    reference = processes[REFERENCE[problem.task]].ready
    for name, process in processes.items():
        if name == LIMIT:
            continue
        result, ready = results[name], process.ready
        assert ready is not None
        assert reference is not None
        if ready.scores.shape != reference.scores.shape:
            raise UserError(f"{name}: scores of shape {tuple(ready.scores.shape)}: nothing was timed")
        gap = (ready.scores - reference.scores).abs().max() / reference.scores.abs().max()
        result.score_gap = float(gap)
        if not result.score_gap <= SCORE_GAP:
            raise UserError(f"{name}: scores differ from the reference's by {gap:.1%}: nothing was timed")
        if problem.task == "training":
            pairs = zip(ready.gradients, reference.gradients, strict=True)
            result.gradient_cosine = min(float(F.cosine_similarity(own, other, 0)) for own, other in pairs)
            if not result.gradient_cosine >= GRADIENT_COSINE:
                raise UserError(
                    f"{name}: a gradient has a cosine of {result.gradient_cosine:.4f} with the reference's: "
                    "nothing was timed"
                )


class WayProcess:
    """The process of one way, as the main process controls it."""

    def __init__(self, problem: Problem, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, problem, name), daemon=True)
        self._process.start()
        theirs.close()
        self._name = name
        self.ready: Ready | None = None
        self.flop = 0.0

    def prepare(self) -> str:
        """Wait until the way is ready. Return why it cannot be timed, or an empty text."""
        kind, content = self._receive()
        if kind == "absent":
            return str(content)
        if kind == LIMIT:
            self.flop = content
        else:
            scores, gradients = content
            self.ready = Ready(
                lambda: None, torch.from_numpy(scores), [torch.from_numpy(gradient) for gradient in gradients]
            )
        return ""

    def time(self) -> tuple[float, float]:
        """Return the wall time and the CPU time of one call, in seconds."""
        self._connection.send("time")
        return self._receive()[1]

    def stop(self) -> int | None:
        """End the process, and return its peak memory in bytes; None where it is unknown."""
        peak = None
        try:
            self._connection.send("stop")
            peak = self._receive()[1]
        except (OSError, UserError):
            pass  # it has ended already
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()
        return peak

    def _receive(self) -> tuple[str, Any]:
        try:
            kind, content = self._connection.recv()
        except EOFError:
            self._process.join(20)
            code = self._process.exitcode
            reason = "killed, often for lack of memory: try a smaller `batch`" if code == -9 else f"ended with {code}"
            raise UserError(f"{self._name}: its process was {reason}") from None
        if kind == "failed":
            raise UserError(f"{self._name}: {content}")
        return kind, content


def _serve(connection: Connection, problem: Problem, name: str) -> None:
    """Run in the process of a way: prepare the way, then answer each request with a timing."""
    torch.set_num_threads(problem.threads)
    device = torch.device(problem.device)
    try:
        prepare = None if name == LIMIT else find(problem.task, name).prepare
        call, first, times = _prepared(problem, prepare, device)
        connection.send(first)
        while connection.recv() == "time":
            connection.send(("time", timed_in_turn(call, times, device)))
        connection.send(("stop", peak_bytes(device)))
    except Absent as error:
        connection.send(("absent", str(error)))
        connection.recv()
        connection.send(("stop", None))
    except EOFError:
        pass  # the main process has ended
    except Exception as error:
        connection.send(("failed", f"{type(error).__name__}: {error}"))


def _prepared(
    problem: Problem, prepare: Callable[[Problem], Ready] | None, device: torch.device
) -> tuple[Callable[[], object], tuple[str, Any], int]:
    """Return the call that is timed, the message that checks it, and the calls in one timing. Raises Absent.

    `prepare` prepares the way; None: the matrix product that is the limit.
    """
    try:
        if prepare is None:
            reduced = choose_precision("auto", device) == "bf16"
            call, flop = matrix_product(device, torch.bfloat16 if reduced else torch.float32)
            return call, (LIMIT, flop), warm_up(call, device)
        ready = prepare(problem)
        facts = ready.scores.numpy(), [gradient.numpy() for gradient in ready.gradients]
        return ready.call, ("ready", facts), warm_up(ready.call, device)
    except UserError as error:  # what this machine cannot do, such as the fused step
        raise Absent(str(error)) from None
    except torch.OutOfMemoryError:
        raise Absent(f"the GPU's memory is too small for batch {problem.batch}") from None


def _versions() -> dict[str, str]:
    """Return the versions of the libraries that are compared; "absent" for one that is not installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
