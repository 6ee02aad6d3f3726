"""Compare the speed of net D with that of other libraries (`vggnet bench`)."""

from vggnet.benchmarking.report import show
from vggnet.benchmarking.running import BenchmarkReport, run_benchmark
from vggnet.commands.output import report, stdout_for_json, write_json
from vggnet.options.bench import BenchOptions


def bench(options: BenchOptions) -> None:
    """Time every way to run net D, print the table, and write the figures to --json, after every round."""
    with stdout_for_json(options.json):
        result = run_benchmark(options, lambda known: _save(options, known))
    report(options.json, result.to_dict(), lambda: show(result))


def _save(options: BenchOptions, known: BenchmarkReport) -> None:
    """Write the figures so far to the file of --json; standard output gets them once, at the end."""
    if str(options.json) != "-":
        write_json(options.json, known.to_dict())
