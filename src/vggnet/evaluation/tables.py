"""Tables of errors beside the paper's: for a terminal, as Markdown, CSV and JSON.

Notable: each number has its protocol, its 95 % interval, and the images that it counts (evaluated of expected). Paired
tests on the same images tell whether a row differs from the row above and from a reference row (the one that the user
named, else the best), corrected for the number of tests. The paper's numbers are for 50,000 images of 1000 classes;
other differences are listed in words.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from vggnet.console import counted, html_table, rich_console
from vggnet.errors import BadImage
from vggnet.evaluation.answers import Answers
from vggnet.evaluation.comparing import Difference, difference_of
from vggnet.evaluation.metrics import Errors, PairedTest
from vggnet.files import json_text
from vggnet.paper.results import ClassificationRow

NOTHING = "-"
COLUMNS = (
    "net",
    "train scale S",
    "test",
    "test scale Q",
    "top-1 error %",
    "top-5 error %",
    "images",
    "paper top-1/top-5",
    "not as in the paper",
    "p, row above",
    "p, reference row",
    "change from the reference row",
)
HEADS = (
    "net",
    "S",
    "test",
    "Q",
    "top-1 error %",
    "top-5 error %",
    "images",
    "paper",
    "not as",
    "p above",
    "p ref.",
    "change",
)
TOP1, TOP5, IMAGES, PAPER, NOT_AS, ABOVE, _, CHANGE = range(4, 12)  # places of columns
WIDE = 120  # characters: in a narrower terminal intervals stand below their numbers
ENDS = ("error", "low", "high")
CSV_COLUMNS = (
    *("nets", "train_scale", "method", "test_scale"),
    *(f"{top}_{end}" for top in ("top1", "top5") for end in ENDS),
    *("evaluated", "expected", "paper_top1", "paper_top5", "not_as_in_the_paper"),
    *("p_row_above", "p_row_above_corrected", "p_reference_row", "p_reference_row_corrected", "mirror"),
    *("change_from_reference", "change_low", "change_high"),
)
LISTED = 20  # bad images that are named


@dataclass(frozen=True)
class Row:
    """One combination's errors. `above` and `reference` are tests against the row above and the table's reference row.

    `mirrors`: for each net of the row whether mirrored views were averaged in.
    """

    nets: str
    train_scale: str
    method: str
    test_scale: str
    errors: Errors
    expected: int
    paper: ClassificationRow | None = None
    differences: tuple[str, ...] = ()
    above: PairedTest | None = None
    reference: PairedTest | None = None
    mirrors: tuple[bool, ...] = ()

    @property
    def label(self) -> str:
        """Return the row's name, such as `A dense Q=73`, by which `evaluate(against=...)` finds it."""
        return f"{self.nets} {self.method} Q={self.test_scale}"

    @property
    def change(self) -> Difference | None:
        """Return how the top-1 error changes from the reference row to this one, in points."""
        return None if self.reference is None else difference_of(self.reference, self.errors.top1.images)

    def cells(self) -> tuple[str, ...]:
        """Return the row as texts, in the order of COLUMNS."""
        top1, top5 = self.errors.top1, self.errors.top5
        return (
            self.nets,
            self.train_scale,
            self.method,
            self.test_scale,
            top1.cell(),
            top5.cell() if top5 is not None else NOTHING,
            f"{top1.images:,}" if top1.images == self.expected else f"{top1.images:,} of {self.expected:,}",
            f"{self.paper.top1:.1f}/{self.paper.top5:.1f}" if self.paper is not None else NOTHING,
            ", ".join(self.differences) if self.paper is not None and self.differences else NOTHING,
            _p_value(self.above),
            _p_value(self.reference),
            NOTHING
            if (change := self.change) is None
            else f"{change.points:+.1f} [{change.low:.1f}, {change.high:.1f}]",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; errors are in percent."""
        paper, change = self.paper, self.change
        return {
            "nets": self.nets,
            "train_scale": self.train_scale,
            "method": self.method,
            "mirror": list(self.mirrors),
            "test_scale": self.test_scale,
            **self.errors.to_dict(),
            "images": {"evaluated": self.errors.top1.images, "expected": self.expected},
            "paper": None
            if paper is None
            else {"source": paper.source, "nets": list(paper.nets), "top1": paper.top1, "top5": paper.top5},
            "not_as_in_the_paper": list(self.differences),
            "p_row_above": self.above.p_value if self.above is not None else None,
            "p_row_above_corrected": self.above.corrected if self.above is not None else None,
            "p_reference_row": self.reference.p_value if self.reference is not None else None,
            "p_reference_row_corrected": self.reference.corrected if self.reference is not None else None,
            "change_from_reference": change.points if change is not None else None,
            "change_low": change.low if change is not None else None,
            "change_high": change.high if change is not None else None,
        }


@dataclass(frozen=True)
class Reference:
    """The row that all others are compared with: its label, and whether the user named it (else it is the best)."""

    label: str
    named: bool


@dataclass(frozen=True)
class Table:
    """The rows of an evaluation, with title, notes and provenance."""

    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    bad: tuple[BadImage, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)  # data, models, hardware, versions, for JSON
    reference: Reference | None = None
    answers: tuple[Answers, ...] = field(default=(), repr=False, compare=False)  # by image, one for each row

    def print(self, console: Console | None = None) -> None:
        """Print to a terminal, without empty columns; differences from the paper are listed below the table."""
        console = console or rich_console()
        narrow = console.width < WIDE
        marks = {text: mark_of(place) for place, text in enumerate(self._all_differences())}
        lines = [list(row.cells()) for row in self.rows]
        for line in lines:
            line[PAPER] += f" {marks[line[NOT_AS]]}" if line[NOT_AS] in marks else ""
            line[NOT_AS] = line[NOT_AS] if line[NOT_AS] not in marks else NOTHING
            line[IMAGES] = NOTHING  # one number for all rows: in the title
            if narrow:
                line[ABOVE] = NOTHING
                for place in (TOP1, TOP5, CHANGE):
                    line[place] = line[place].replace(" [", "\n[")
        shown = RichTable(title=Text(f"{self.title}: {self.images}"), box=box.SIMPLE_HEAD, title_justify="left")
        shown.pad_edge, shown.padding = False, (0, 2 if not narrow else 1, 0, 0)
        used = [place for place in self._places if any(line[place] != NOTHING for line in lines)]
        for place in used:
            shown.add_column(HEADS[place], overflow="fold", no_wrap=place in (TOP1, TOP5, PAPER, CHANGE))
        for line in lines:
            shown.add_row(*(Text(line[place]) for place in used))
        console.print(shown)
        for text, letter in marks.items():
            console.print(f"{letter}  not as in the paper: {text}", markup=False, soft_wrap=True)
        for remark in self.remarks():
            console.print(remark, markup=False, soft_wrap=True)

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        rows = [row.cells() for row in self.rows]
        used = [place for place in self._places if any(cells[place] != NOTHING for cells in rows)]
        shown = [[cells[place] for place in used] for cells in rows]
        return html_table(self.title, [COLUMNS[place] for place in used], shown, self.remarks())

    @property
    def _places(self) -> range:
        """The columns that are shown: the change from the reference row only where the user named this row."""
        return range(len(COLUMNS) if self.reference is not None and self.reference.named else CHANGE)

    @property
    def images(self) -> str:
        """Return how many images every row counts: `2,000 images`, or `1,999 of 2,000 images`."""
        counts = {row.cells()[IMAGES] for row in self.rows}
        assert len(counts) <= 1, counts
        count = counts.pop() if counts else "no"
        return "1 image" if count == "1" else f"{count} images"

    def _all_differences(self) -> list[str]:
        """Return the different texts of the column `not as in the paper`, in order."""
        return [text for text in dict.fromkeys(row.cells()[NOT_AS] for row in self.rows) if text != NOTHING]

    def remarks(self) -> tuple[str, ...]:
        """Return the lines below the table: how to read it, notes, bad images."""
        lines = ["Errors with 95 % intervals (Wilson).", *self._compared(), *self.notes]
        if self.bad:
            lines.append(f"not counted: {counted(len(self.bad), 'image')} that could not be used:")
            lines += [f"  {bad}" for bad in self.bad[:LISTED]]
            lines += [f"  and {len(self.bad) - LISTED} more"] if len(self.bad) > LISTED else []
        return tuple(lines)

    def _compared(self) -> list[str]:
        """Return lines on which rows are compared, and the number of tests that they are corrected for."""
        if self.reference is None or len(self.rows) < 2:
            return []
        others = len(self.rows) - 1
        pairs = others * len(self.rows) // 2
        label = self.reference.label
        how = (
            f"{label}, named beforehand, over {counted(others, 'comparison')}"
            if self.reference.named
            else f"{label}, the best (chosen after looking, hence over all {counted(pairs, 'pair')} of rows)"
        )
        above = counted(others, "comparison")
        lines = [
            "p: exact McNemar test of top-1 on the same images, corrected for their number (Holm); * below 0.05.",
            f"Row above: over {above}. Reference row: {how}.",
        ]
        if self.reference.named:
            lines.append(
                "Change: of top-1 from the reference row, in points, with its 95 % interval (Bonett and Price)."
            )
        return lines

    def to_markdown(self) -> str:
        """Return a Markdown table, with title and remarks."""
        heads = [COLUMNS[place] for place in self._places]
        lines = [f"**{self.title}**", "", _markdown_line(heads), _markdown_line(["---"] * len(heads))]
        lines += [_markdown_line([row.cells()[place] for place in self._places]) for row in self.rows]
        return "\n".join([*lines, "", *(f"{line}  " for line in self.remarks())]) + "\n"

    def to_csv(self) -> str:
        """Return CSV text, a line for each row, with errors and bounds in percent, unrounded."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for row in self.rows:
            values = row.to_dict()
            top5 = values["top5"] or dict.fromkeys(ENDS, "")
            paper = values["paper"] or {"top1": "", "top5": ""}
            writer.writerow(
                [row.nets, row.train_scale, row.method, row.test_scale]
                + [values["top1"][end] for end in ENDS]
                + [top5[end] for end in ENDS]
                + [row.errors.top1.images, row.expected, paper["top1"], paper["top5"], "; ".join(row.differences)]
                + [_value(values, name) for name in CSV_COLUMNS if name.startswith("p_")]
                + [" + ".join(dict.fromkeys("yes" if mirror else "no" for mirror in row.mirrors))]
                + [_value(values, name) for name in CSV_COLUMNS if name.startswith("change_")]
            )
        return text.getvalue()

    def to_json(self) -> str:
        """Return `to_dict` as text."""
        return json_text(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "title": self.title,
            **self.facts,
            "reference_row": None if self.reference is None else asdict(self.reference),
            "rows": [row.to_dict() for row in self.rows],
            "notes": list(self.notes),
            "bad_images": [{"path": bad.path, "reason": bad.reason} for bad in self.bad],
        }


def _value(values: dict[str, Any], name: str) -> Any:
    return "" if values[name] is None else values[name]


def _p_value(test: PairedTest | None) -> str:
    if test is None:
        return NOTHING
    mark = "*" if test.significant else ""
    return ("<0.001" if test.final_p < 0.001 else f"{test.final_p:.3f}") + mark


def mark_of(place: int) -> str:
    """Return the letter that marks the difference at `place` in the list of them: a to z, then aa, ab, ..."""
    rest, letter = divmod(place, 26)
    return (mark_of(rest - 1) if rest else "") + chr(ord("a") + letter)


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
