"""Print the figures of a benchmark."""

from rich.table import Table

from vggnet.benchmarking.running import BenchmarkReport, Result
from vggnet.benchmarking.ways import OURS
from vggnet.console import counted, rich_console, say


def show(report: BenchmarkReport) -> None:
    """Print a table for each task, then the hardware, the load and the versions that the figures depend on."""
    for task, problem in report.problems.items():
        what = "training step" if task == "training" else "scores"
        table = Table(title=f"net D, {what}, {problem['device']}, batch {problem['batch']}, {problem['crop']} px")
        for column in (
            "",
            "images/s",
            "slowest to fastest",
            "vggnet is",
            "in CPU time",
            "of the limit",
            "peak memory",
            "scores differ",
        ):
            table.add_column(column, justify="right" if column else "left", overflow="fold")
        for result in report.results:
            if result.task == task:
                table.add_row(*_cells(report, result))
        rich_console().print(table)
        rate = report.limit_flop_per_s[task] / 1e12
        say(f"limit: a large {report.limit_dtype} matrix product, {rate:.2f} TFLOP/s in the same run")
    used, versions = report.environment, report.versions
    load = ", ".join(f"{value:.1f}" for value in report.load_average)
    threads = f"{counted(used['cores'], 'core')}, {counted(used['threads'], 'thread')}"
    say(f"{used['cpu']}, {threads}; {', '.join(used['gpus']) or 'no GPU'}")
    say(f"median of {report.repeats}; load average before: {load}")
    say(", ".join(f"{name} {version}" for name, version in versions.items()))


def _cells(report: BenchmarkReport, result: Result) -> list[str]:
    if result.absent:
        return [result.name, "-", result.absent, "", "", "", "", ""]
    batch = report.problems[result.task]["batch"]
    ratios = [report.ratio(result.task, result), report.cpu_ratio(result.task, result)]
    gap = "" if result.score_gap is None else f"{result.score_gap:.2%}"
    if result.gradient_cosine is not None:
        gap += f", gradients {result.gradient_cosine:.4f}"
    return [
        result.name,
        f"{report.rate(result):.2f}",
        f"{batch / max(result.wall_s):.2f} to {batch / min(result.wall_s):.2f}",
        *("" if ratio is None or result.name == OURS else f"{ratio:.2f} x" for ratio in ratios),
        f"{report.share(result):.0%}",
        "" if result.peak_bytes is None else f"{result.peak_bytes / 1e9:.2f} GB",
        gap,
    ]
