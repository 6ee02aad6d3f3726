"""Options of report. The text below a field is its help; texts that commands share are in `common`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from vggnet.options.common import DeviceOption, WorkersOption, option


@dataclass(frozen=True)
class ReportOptions:
    """Write a report as one HTML file: errors, curves, mistakes, and single images with score maps and saliency."""

    paths: Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...", help_behavior_hint="(required)")]]
    """Runs, folders of runs (ladder, quickstart), JSON files of evaluate, localize evaluate, transfer or diagnose."""
    data: Annotated[str | None, option(default="the data that the nets were trained on", metavar="DATA")] = None
    """The images that the nets are tested on, with labels: a folder or a name, as for train."""
    out: Annotated[Path | None, option(default="report.html in the first PATH, or beside it if that is a file")] = None
    """The HTML file. It needs no other file and no network."""
    device: DeviceOption = "auto"
    workers: WorkersOption = None
