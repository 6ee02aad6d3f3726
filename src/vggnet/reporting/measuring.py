"""Errors and answers of the nets of a report, from stored posteriors; only the cheap views are computed where missing.

The rows of a report: for each net the centre crop and the whole image at its own Q (Table 3), which a training has
computed on val; every view that `vggnet evaluate` has stored; the rows of Tables 4 to 6 whose views are all stored. All
count the same images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vggnet.data.splits import ImageData, Split
from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.answers import Answers
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.evaluate import ModelProgress, evaluate_rows
from vggnet.evaluation.protocols import PROTOCOLS, Combination, Entrant, combinations
from vggnet.evaluation.store import Store
from vggnet.evaluation.tables import Row, Table
from vggnet.evaluation.views import View
from vggnet.options.choices import TableName
from vggnet.reporting.sources import Run


@dataclass(frozen=True, eq=False)
class MeasuredRow:
    """A row of the report: the nets that it averages, its views, its table in the paper, errors, answers by image."""

    runs: tuple[Run, ...]
    combination: Combination
    row: Row
    answers: Answers

    @property
    def kind(self) -> str:
        """Return center, dense, multi-crop, both or ten."""
        return self.row.method

    @property
    def scales(self) -> tuple[int, ...]:
        """Return the Q of its views."""
        return tuple(sorted({view.scale for _, views in self.combination.members for view in views}))

    @property
    def name(self) -> str:
        """Return the nets' names."""
        return " + ".join(run.name for run in self.runs)


@dataclass(frozen=True, eq=False)
class Measured:
    """The rows of a report in its order, and the table that they come from."""

    table: Table
    rows: tuple[MeasuredRow, ...]
    data: ImageData
    unmeasured: tuple[TableName, ...] = ()  # tables of the paper that a command could add

    @property
    def split(self) -> Split:
        """Return the images that the rows count."""
        assert self.data.val is not None
        return self.data.val

    @property
    def images(self) -> int:
        """Return how many images every row counts."""
        return len(self.rows[0].answers)

    def of(self, run: Run, kind: str, scales: int | None = 1) -> MeasuredRow | None:
        """Return the row of one net by itself: of one Q (its own), or of several with `scales` above 1."""
        own = [row for row in self.rows if row.runs == (run,) and row.kind == kind]
        if scales == 1:
            wanted = single_q(run.description)
            return next((row for row in own if row.scales == (wanted,)), None)
        return next((row for row in own if len(row.scales) > 1), None)

    def facts_of(self, run: Run) -> dict[str, Any]:
        """Return what the table's facts say about a net, such as `weights_sha256`; empty for nets that it has not."""
        models = self.table.facts.get("models", [])
        return next((model for model in models if model.get("path") == str(run.path)), {})

    @property
    def runs(self) -> tuple[Run, ...]:
        """Return the nets that are measured, in order."""
        return tuple(dict.fromkeys(row.runs[0] for row in self.rows if len(row.runs) == 1))

    @property
    def main(self) -> MeasuredRow:
        """Return the row that the report looks into: the net with the fewest errors on whole images at its own Q."""
        rows = [row for run in self.runs if (row := self.of(run, "dense")) is not None]
        return min(reversed(rows), key=lambda row: row.row.errors.top1.wrong)


def single_q(description: ModelDescription | None) -> int | None:
    """Return the Q of Table 3 of a net, or that of S = 256 in proportion to its crop."""
    from vggnet.evaluation.protocols import default_scale

    return None if description is None else default_scale(description)


def measure(runs: Sequence[Run], data: str, computing: Computing, on_progress: ModelProgress | None = None) -> Measured:
    """Return the rows of the runs on the val images of `data`.

    Raises UserError where images and nets do not fit, or there are no images.
    """
    kept: list[Combination] = []
    seen: list[ImageData] = []

    def choose(entrants: Sequence[Entrant], opened: ImageData) -> list[Combination]:
        assert opened.val is not None
        seen.append(opened)
        kept.extend(_choose(entrants, opened.val, computing))
        return kept

    paths = [run.path for run in runs]
    table = evaluate_rows(paths, data, choose, computing, on_progress, [run.name for run in runs])
    rows = [
        MeasuredRow(tuple(runs[place] for place, _ in combination.members), combination, row, answers)
        for combination, row, answers in zip(kept, table.rows, table.answers, strict=True)
    ]
    measured = Measured(table, tuple(rows), seen[0])
    return replace(measured, unmeasured=_unmeasured(measured))


def _choose(entrants: Sequence[Entrant], split: Split, computing: Computing) -> list[Combination]:
    rows: list[Combination] = []
    stored: dict[int, set[View]] = {}
    for place, entrant in enumerate(entrants):
        store = Store.of(entrant.path, entrant.own_description, split, computing)
        q = single_q(entrant.own_description)
        assert q is not None
        cheap = {*entrant.views(["center", "dense"], [q])}
        stored[place] = {*store.stored_views()} | cheap
        own = [
            *combinations([entrant], views=["center"], test_scale=[q]),
            *_of_table([entrant], "table3", q),
            *(Combination(((0, (view,)),)) for view in sorted(stored[place] - cheap)),
            *(row for table in ("table4", "table5") for row in _of_table([entrant], table, None)),
        ]
        rows += [replace(row, members=((place, row.members[0][1]),)) for row in own]
    if len(entrants) > 1 and len({frozenset(entrant.description.classes) for entrant in entrants}) == 1:
        rows += (
            [row for row in combinations(entrants, views=["dense"]) if len(row.members) > 1]
            if _known_s(entrants)
            else []
        )
        rows += _of_table(entrants, "table6", None)
    there = [row for row in rows if all({*views} <= stored[place] for place, views in row.members)]
    first: dict[tuple[tuple[int, tuple[View, ...]], ...], Combination] = {}
    for row in there:  # the first: Table 5 has Table 4's dense row again, beside a net of jittered S
        first.setdefault(row.members, row)
    return list(first.values())


def _known_s(entrants: Sequence[Entrant]) -> bool:
    return all(entrant.description.train_scale for entrant in entrants)


def _of_table(entrants: Sequence[Entrant], table: TableName, q: int | None) -> list[Combination]:
    """Return the rows of a table of the paper; none where the nets have none (an unknown S, an S near to the crop)."""
    try:
        return combinations(entrants, protocol=table, test_scale=None if q is None else [q])
    except UserError:
        return []


def _unmeasured(measured: Measured) -> tuple[TableName, ...]:
    """Return the tables that the nets could have and do not."""
    found: dict[TableName, bool] = dict.fromkeys(PROTOCOLS, True)
    for run in measured.runs:
        found["table4"] &= measured.of(run, "dense", 3) is not None
        found["table5"] &= measured.of(run, "both", 3) is not None
    several = len(measured.runs) > 1
    found["table6"] = not several or any(len(row.runs) > 1 and row.kind == "both" for row in measured.rows)
    return tuple(table for table, there in found.items() if not there)
