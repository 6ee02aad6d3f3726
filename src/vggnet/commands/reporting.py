"""Write a report on runs and results (`vggnet report`)."""

from vggnet.console import note, say
from vggnet.errors import UserError
from vggnet.options.reporting import ReportOptions
from vggnet.reporting.building import write_report


def report(options: ReportOptions) -> None:
    """Write the report, and name its file and what could not be shown."""
    if not options.paths:
        raise UserError("give a run, a folder of runs, or the JSON of an evaluation: vggnet report PATH...")
    made = write_report(
        options.paths, data=options.data, out=options.out, device=options.device, workers=options.workers
    )
    for line in made.notes:
        note(line)
    say(f"report: {made.file}")
