"""Examine installation and machine (`vggnet doctor`)."""

from vggnet.checkup.report import examine
from vggnet.commands.output import report, stdout_for_json
from vggnet.options.doctor import DoctorOptions


def doctor(options: DoctorOptions) -> None:
    """Print the report. Raises MachineFault where a test of the self-test failed."""
    with stdout_for_json(options.json):
        found = examine(options.device, quick=options.quick)
    report(options.json, found.to_dict(), found.print)
    found.check()
