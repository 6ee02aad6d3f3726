"""Results that commands wrote as JSON: evaluations, localisation (Tables 8 and 9), transfer (Table 11), diagnoses.

The files are shown as they are, also where the nets and images that they are about are gone.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vggnet.evaluation.store import file_hash
from vggnet.reporting.contents import Chart, Commands, Grid, Part, Section, Text, section
from vggnet.reporting.measuring import Measured
from vggnet.reporting.signals import signal, signal_table, verdict_in_words
from vggnet.reporting.sources import Run, Sources, weights_of
from vggnet.reporting.style import svg
from vggnet.reporting.words import listed


def stored_sections(sources: Sources, measured: Measured | None) -> list[Section | None]:
    """Return a section for each kind of result that there is."""
    return [
        section(
            "Evaluations", [part for each in sources.evaluations for part in _evaluation(*each, sources, measured)]
        ),
        section(
            "Localisation, beside Tables 8 and 9", [p for each in sources.localisations for p in _localisation(*each)]
        ),
        section("Transfer, beside Table 11", [part for each in sources.transfers for part in _transfer(*each)]),
        section("Signal through the layers", [part for each in sources.diagnoses for part in _diagnosis(*each)]),
    ]


def _rows(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = content.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _number(value: Any, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) and not isinstance(value, bool) else "-"


def _error(count: Any) -> str:
    """Return an error of `Count.to_dict` with its interval."""
    if not isinstance(count, dict) or count.get("error") is None:
        return "-"
    return f"{_number(count.get('error'))} [{_number(count.get('low'))}, {_number(count.get('high'))}]"


def _notes(content: dict[str, Any]) -> list[Part]:
    notes = content.get("notes")
    return [Text(str(note), quiet=True) for note in notes] if isinstance(notes, list) else []


def _evaluation(file: Path, content: dict[str, Any], sources: Sources, measured: Measured | None) -> list[Part]:
    """Return the rows, with the names that the runs have in the report."""
    models = _models(content, sources)
    names = {str(model.get("name")): run.name for model, run in models}
    rows = []
    for row in _rows(content, "rows"):
        paper = row.get("paper") or {}
        beside = f"{_number(paper.get('top1'))}/{_number(paper.get('top5'))}" if paper else "-"
        nets = " + ".join(names.get(name, name) for name in str(row.get("nets", "-")).split(" + "))
        shown = [str(row.get(name, "-")) for name in ("train_scale", "method", "test_scale")]
        rows.append((nets, *shown, _error(row.get("top1")), _error(row.get("top5")), beside))
    columns = ("net", "S", "test", "Q", "top-1 error %", "top-5 error %", "paper top-1/top-5")
    return [
        Grid(f"{content.get('title', 'Evaluation')} ({file.name})", columns, tuple(rows)),
        *_outdated(content, [run for model, run in models if _other_weights(model, run, measured)]),
        *_notes(content),
    ]


def _models(content: dict[str, Any], sources: Sources) -> list[tuple[dict[str, Any], Run]]:
    """Return the nets of an evaluation that are runs of the report, as the JSON has them and as they are now."""
    runs = {run.path.resolve(): run for run in sources.runs}
    found = [(model, runs.get(Path(str(model.get("path"))).resolve())) for model in _rows(content, "models")]
    return [(model, run) for model, run in found if run is not None]


def _other_weights(model: dict[str, Any], run: Run, measured: Measured | None) -> bool:
    """Return whether a run has other weights now than when it was evaluated. A file is hashed only where it must be."""
    before, file = model.get("weights_sha256"), weights_of(run)
    if not isinstance(before, str) or file is None:
        return False
    known = measured.facts_of(run).get("weights_sha256") if measured is not None else None
    return bool((known or file_hash(file)) != before)


def _outdated(content: dict[str, Any], runs: Sequence[Run]) -> list[Part]:
    """Return what a reader must know of rows whose nets have been trained anew, and the command that repeats them."""
    if not runs:
        return []
    text = (
        f"These rows are of other weights of {listed([run.name for run in runs])} than the rest of this report: the "
        "weights have changed since. Run the command again."
    )
    environment = content.get("environment")
    command = environment.get("command") if isinstance(environment, dict) else None
    if not isinstance(command, list):
        return [Text(text)]
    return [Text(text), Commands(((shlex.join(map(str, command)), "measure these rows again"),))]


def _localisation(file: Path, content: dict[str, Any]) -> list[Part]:
    first = [
        (
            str(row.get("name")),
            _scales(row),
            _error(row.get("error")),
            _number(row.get("mean_iou"), 3),
            _number(row.get("paper")),
        )
        for row in _rows(content, "test1")
    ]
    second = [
        (
            *(str(row.get("name")), _scales(row), _error(row.get("top1")), _error(row.get("top5"))),
            *(_number(row.get("mean_iou_of_true_class"), 3), _number(row.get("paper"))),
        )
        for row in _rows(content, "test2")
    ]
    parts: list[Part] = [Text(f"Measured on {content.get('data', 'unknown images')} ({file.name}).")]
    if first:
        title = "Test 1: the box of the true class in the centre crop (as Table 8)"
        parts.append(Grid(title, ("net", "Q", "error %", "mean overlap", "paper"), tuple(first)))
    if second:
        title = "Test 2: dense, boxes merged, five best classes (as Table 9)"
        columns = ("nets", "Q", "top-1 error %", "top-5 error %", "mean overlap", "paper top-5")
        parts.append(Grid(title, columns, tuple(second)))
    return [*parts, *_notes(content)]


def _scales(row: dict[str, Any]) -> str:
    scales = row.get("test_scales")
    return ",".join(map(str, scales)) if isinstance(scales, list) and scales else "-"


def _transfer(file: Path, content: dict[str, Any]) -> list[Part]:
    names = {"mean_class_recall": "mean class recall %", "mean_average_precision": "mean average precision %"}
    found = [(title, content[name]) for name, title in names.items() if content.get(name) is not None]
    paper = content.get("paper") if isinstance(content.get("paper"), dict) else {}
    rows: list[tuple[str, ...]] = [(title, _number(value), _deviation(content)) for title, value in found]
    if isinstance(paper, dict) and paper:
        rows.append(("the paper", _number(paper.get("score")), _number(paper.get("deviation"))))
    rows += [
        (str(row.get("name")), _number(row.get("mean_class_recall")), _deviation(row))
        for row in _rows(content, "against")
    ]
    return [
        Grid(f"Linear SVMs on descriptors ({file.name})", ("what", "%", "deviation"), tuple(rows)),
        *_notes(content),
    ]


def _deviation(content: dict[str, Any]) -> str:
    return _number(content.get("deviation"))


def _diagnosis(file: Path, content: dict[str, Any]) -> list[Part]:
    layers: Sequence[dict[str, Any]] = _rows(content, "layers")
    parts: list[Part] = []
    if layers:
        chart = svg(signal([(file.stem, layers)]))
        parts.append(
            Chart(
                chart,
                f"Signal and gradient by layer ({file.name}); the numbers are in the table.",
                verdict_in_words(content),
            )
        )
        parts.append(signal_table(file.stem, layers))
    return parts
