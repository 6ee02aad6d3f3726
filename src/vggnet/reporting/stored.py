"""Results that commands wrote as JSON: evaluations, localisation (Tables 8 and 9), transfer (Table 11), diagnoses.

The files are shown as they are, also where the nets and images that they are about are gone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vggnet.reporting.contents import Chart, Grid, Part, Section, Text, section
from vggnet.reporting.signals import signal, signal_table
from vggnet.reporting.sources import Sources
from vggnet.reporting.style import svg


def stored_sections(sources: Sources) -> list[Section | None]:
    """Return a section for each kind of result that there is."""
    return [
        section("Evaluations", [part for each in sources.evaluations for part in _evaluation(*each)]),
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


def _evaluation(file: Path, content: dict[str, Any]) -> list[Part]:
    rows = []
    for row in _rows(content, "rows"):
        paper = row.get("paper") or {}
        beside = f"{_number(paper.get('top1'))}/{_number(paper.get('top5'))}" if paper else "-"
        shown = [str(row.get(name, "-")) for name in ("nets", "train_scale", "method", "test_scale")]
        rows.append((*shown, _error(row.get("top1")), _error(row.get("top5")), beside))
    columns = ("net", "S", "test", "Q", "top-1 error %", "top-5 error %", "paper top-1/top-5")
    return [Grid(f"{content.get('title', 'Evaluation')} ({file.name})", columns, tuple(rows)), *_notes(content)]


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
                str(content.get("words", "")),
            )
        )
        parts.append(signal_table(file.stem, layers))
    return parts
