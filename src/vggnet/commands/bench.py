"""bench."""

from pathlib import Path

from vggnet.benchmarking.report import show
from vggnet.benchmarking.running import Report, run_benchmark
from vggnet.commands.output import write_json
from vggnet.options.bench import BenchOptions


def bench(options: BenchOptions) -> None:
    """`vggnet bench`."""

    def save(report: Report) -> None:
        if options.json is not None and str(options.json) != "-":
            write_json(options.json, report.to_json_dict())

    report = run_benchmark(options, save)
    if str(options.json) == "-":
        write_json(Path("-"), report.to_json_dict())
    else:
        show(report)
