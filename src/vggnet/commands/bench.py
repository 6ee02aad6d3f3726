"""bench."""

from vggnet.benchmarking.report import show
from vggnet.benchmarking.running import run_benchmark
from vggnet.commands.output import write_json
from vggnet.options.bench import BenchOptions


def bench(options: BenchOptions) -> None:
    """`vggnet bench`."""
    report = run_benchmark(options)
    if options.json is not None:
        write_json(options.json, report.to_json_dict())
    if str(options.json) != "-":
        show(report)
