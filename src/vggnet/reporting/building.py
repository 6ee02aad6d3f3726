"""Build a report: read what lies at the paths, measure what is cheap, make the sections whose data exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import vggnet
from vggnet.data.opening import open_data
from vggnet.errors import UserError
from vggnet.evaluation.computing import Computing
from vggnet.files import write_result
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model
from vggnet.reporting.boxes import boxes_section
from vggnet.reporting.confusion import classes_section
from vggnet.reporting.contents import Section, Text
from vggnet.reporting.curves import training_section
from vggnet.reporting.images import Shower, images_section
from vggnet.reporting.measuring import Measured, measure, single_q
from vggnet.reporting.merged_boxes import rating_of
from vggnet.reporting.page import page
from vggnet.reporting.results import results_section
from vggnet.reporting.seeing import seeing_section, signal_section
from vggnet.reporting.sources import Run, Sources, read_sources, with_results
from vggnet.reporting.stored import stored_sections
from vggnet.reporting.summary import provenance_section, summary_section

FILE = "report.html"


@dataclass(frozen=True)
class Report:
    """A report: its title, its HTML, the file it was written to, and what could not be shown."""

    title: str
    html: str
    file: Path
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """Return the report in a frame, for a notebook."""
        from markupsafe import escape

        return f'<iframe srcdoc="{escape(self.html)}" width="100%" height="600" title="{escape(self.title)}"></iframe>'


def build_report(
    paths: Sequence[str | Path],
    *,
    data: str | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    measured: bool = True,
    results: dict[str, Any] | None = None,
) -> Report:
    """Return the report on what lies at the paths; nothing is written.

    Args:
        paths: runs, folders of runs, and JSON files of evaluations.
        data: the images that the nets are tested on. None: those of the runs.
        out: where the report is to be written. None: report.html in the first run's or the ladder's folder.
        device, workers: for what must be computed.
        measured: whether errors and images are shown; without them a report takes a second.
        results: further results that are not written to a file, as the JSON of a command.

    Raises:
        UserError: where there is nothing to report on at a path.
    """
    sources = with_results(read_sources(paths), results)
    images = data or sources.data
    notes: list[str] = []
    computing = Computing.of(device, "auto", workers, "skip")
    found = _measured(sources, images, computing, notes) if measured else None
    given = " ".join(map(str, paths))
    command = f"  vggnet report {given} --data {data}" if data else f"  vggnet report {given}"
    sections = [
        summary_section(sources, found),
        *_sections(sources, found, images or "DATA", command, device),
        *stored_sections(sources, found),
        *(_boxes(sources, images, computing, notes) if measured else ()),
        provenance_section(sources, found),
    ]
    there = [each for each in sections if each is not None]
    if notes:
        there[0] = Section(there[0].title, (*there[0].parts, *(Text(text, quiet=True) for text in notes)))
    title = _title(sources)
    lead = f"{images or ''} \N{MIDDLE DOT} {', '.join(map(str, paths))}".strip(" \N{MIDDLE DOT}")
    made = f"Made by vggnet {vggnet.__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC:{command[1:]}"
    return Report(title, page(title, lead, there, made), Path(out) if out else sources.folder / FILE, tuple(notes))


def write_report(paths: Sequence[str | Path], **options: object) -> Report:
    """Write the report on what lies at the paths, and return it; see `build_report`."""
    report = build_report(paths, **options)  # type: ignore[arg-type]
    write_result(report.file, report.html, option="`out`")
    return report


def _measured(sources: Sources, data: str | None, computing: Computing, notes: list[str]) -> Measured | None:
    """Return the errors of the nets that have classes; None, with a note, where there are no images or nets for it."""
    runs = [run for run in sources.runs if _names_classes(run)]
    if not runs:
        return None
    if data is None:
        notes.append("The runs do not say which images they were trained on: name them (`data`).")
        return None
    try:
        return measure(runs, data, computing)
    except (UserError, OSError) as error:
        notes.append(f"Without errors by image, since the images cannot be used: {error}")
        return None


def _names_classes(run: Run) -> bool:
    description = run.description
    return description is not None and not description.boxes and bool(description.classes)


def _sections(
    sources: Sources, measured: Measured | None, data: str, command: str, device: str
) -> list[Section | None]:
    sections: list[Section | None] = [training_section(sources.runs)]
    if measured is None:
        return sections
    main = measured.main
    run = main.runs[0]
    description, scale = run.description, single_q(run.description)
    assert description is not None
    assert scale is not None
    titles = description.class_titles or description.classes
    model = load_model(run.path, Computing.of(device).device)
    shower = Shower(run.name, model, measured.split, main.answers, titles, scale)
    return [
        images_section(shower),
        *sections,
        results_section(measured, data, command),
        classes_section(main.answers, description),
        *_seen(run, model, measured, data, scale),
    ]


def _boxes(sources: Sources, data: str | None, computing: Computing, notes: list[str]) -> list[Section | None]:
    """Return what each box net of the report finds."""
    found: list[Section | None] = []
    for run in sources.runs:
        if run.description is None or not run.description.boxes or data is None:
            continue
        try:
            found.append(boxes_section(run, data, computing, rating_of(run, sources)))
        except (UserError, OSError) as error:
            notes.append(f"Without the boxes of {run.name}: {error}")
    return found


def _seen(run: Run, model: VGG, measured: Measured, data: str, scale: int) -> list[Section | None]:
    """Return what the net sees and its signal; nothing where the data cannot be opened as a training's."""
    try:
        opened = measured.data if measured.data.train is not None else open_data(data)
    except (UserError, OSError):
        return []
    return [seeing_section(run, model, opened, measured.split, scale), signal_section(run, data, opened)]


def _title(sources: Sources) -> str:
    if sources.ladder == "quickstart":
        return "Quickstart: a shallow net, and a deeper one from it"
    if len(sources.runs) == 1:
        return f"Report on {sources.runs[0].name}"
    return f"Report on {len(sources.runs)} nets" if sources.runs else "Report"
