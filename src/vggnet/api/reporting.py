"""Look at results from Python: `report`."""

from collections.abc import Sequence
from pathlib import Path

from vggnet.api.arguments import like_command, options_of, several
from vggnet.options.reporting import ReportOptions
from vggnet.reporting.building import Report, build_report, write_report


@like_command(
    ReportOptions,
    paths="A run, a folder of runs, or a JSON file that a command wrote; or several.",
    out="The HTML file. (default: nothing is written)",
)
def report(
    paths: str | Path | Sequence[str | Path],
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> Report:
    """Make a report of runs and results: errors, curves, mistakes, and single images with score maps and saliency.

    Returns:
        `html`, the whole page as text, and `notes` on what could not be shown. A notebook shows the page.

    Raises:
        UserError: for a path with nothing to report on.

    Example:
        >>> found = vggnet.report("runs/A", out="A.html")
        >>> found.title
        'Report on A'
        >>> found.notes
        ()
    """
    options = options_of(ReportOptions, locals(), paths=several(paths))
    make = build_report if options.out is None else write_report
    return make(options.paths, data=options.data, out=options.out, device=options.device, workers=options.workers)
