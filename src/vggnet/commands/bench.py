"""bench."""

from vggnet.benchmarking.report import show
from vggnet.benchmarking.running import Report, run_benchmark
from vggnet.commands.output import aside, report, write_json
from vggnet.options.bench import BenchOptions


def bench(options: BenchOptions) -> None:
    """`vggnet bench`."""
    with aside(options.json):
        result = run_benchmark(options, lambda known: _save(options, known))
    report(options.json, result.to_json_dict(), lambda: show(result))


def _save(options: BenchOptions, known: Report) -> None:
    """To the file that was asked for, if any: after every round."""
    if options.json is not None and str(options.json) != "-":
        write_json(options.json, known.to_json_dict())
