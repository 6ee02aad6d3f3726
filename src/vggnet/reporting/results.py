"""The errors of the nets beside the paper's Tables 3 to 6: as a table, by depth, by Q, and what each part adds."""

import itertools
from collections.abc import Sequence

from vggnet.console import counted
from vggnet.evaluation.comparing import Difference, difference
from vggnet.evaluation.tables import NOTHING, Row
from vggnet.paper.results import TABLE_3
from vggnet.reporting.contents import Chart, Commands, Grid, Section, Text, section
from vggnet.reporting.measuring import Measured, MeasuredRow
from vggnet.reporting.sources import Run
from vggnet.reporting.style import MUTED, SERIES, colour, mark, new_plot, styled, svg
from vggnet.reporting.words import listed, no_difference, points, scale_in_words

PAPER_SIZE = (
    "The paper's errors are of 1,000 classes of photographs: compare how errors change from row to row, not their size."
)
# of nets by depth: each has its own colour; the paper's have those of the first two
LINES = ("fixed S", "jittered S", "fixed S, batch normalisation", "jittered S, batch normalisation")
COLUMNS = ("net", "S", "test", "Q", "top-1 error %", "top-5 error %", "paper top-1/top-5")


def results_section(measured: Measured, data: str, command: str) -> Section | None:
    """Return the table of errors with its figures."""
    return section(
        "Errors, beside the paper's",
        [
            Text(f"All rows count the same {counted(measured.images, 'image')} with 95 % intervals (Wilson)."),
            Text(_terms(measured)),
            errors_table("Errors", [(row.name, row.row) for row in measured.rows]),
            depth_chart(measured),
            scale_chart(measured),
            parts_chart(measured),
            _not_as_in_the_paper([row.row for row in measured.rows]),
            *(Text(note, quiet=True) for note in measured.table.notes),
            _commands(measured, data, command),
        ],
    )


def _terms(measured: Measured) -> str:
    """Explain the columns of the table, and the tests that it has rows of."""
    rows, kinds = measured.rows, {row.kind for row in measured.rows}
    top5 = any(row.row.errors.top5 is not None for row in rows)
    texts = {
        "center": "Center: one crop from the middle.",
        "dense": "Dense: the net runs over the whole image.",
        "multi-crop": "Multi-crop: the mean over 5x5 crops and, if the net was trained with mirrored crops, their "
        "mirrors.",
        "both": "Both: the mean of dense and multi-crop.",
    }
    return " ".join(
        [
            "Top-1: the best class is wrong" + ("; top-5: none of the five best is right." if top5 else "."),
            *(text for kind, text in texts.items() if kind in kinds),
            *(["Names joined by +: the mean of these nets."] if any(len(row.runs) > 1 for row in rows) else []),
            "S and Q: the smaller side of the training and of the test image, in pixels.",
            *([PAPER_SIZE] if any(row.row.paper is not None for row in rows) else []),
        ]
    )


def errors_table(caption: str, rows: Sequence[tuple[str, Row]]) -> Grid:
    """Return rows of a table with their names."""
    lines = []
    for name, row in rows:
        _, scale, method, q, top1, top5, _, paper, *_ = row.cells()
        lines.append((name, scale, method, q, top1, top5, paper))
    used = [place for place in range(len(COLUMNS)) if any(line[place] != NOTHING for line in lines)]
    return Grid(
        caption, tuple(COLUMNS[place] for place in used), tuple(tuple(line[place] for place in used) for line in lines)
    )


def _not_as_in_the_paper(rows: Sequence[Row]) -> Text | None:
    texts = list(dict.fromkeys(text for row in rows if row.paper is not None for text in row.differences))
    return Text(f"Not as in the paper: {', '.join(texts)}.", quiet=True) if texts else None


def _commands(measured: Measured, data: str, command: str) -> Commands | None:
    """Return the commands that measure what is missing."""
    models = " ".join(str(run.path) for run in measured.runs)
    what = {
        "table3": "one scale",
        "table4": "three scales",
        "table5": "dense against multi-crop",
        "table6": "fused nets",
    }
    lines = [
        (f"  vggnet evaluate {models} {data} --protocol {table}", f"{table.replace('table', 'Table ')}: {what[table]}")
        for table in measured.unmeasured
    ]
    return Commands((*lines, (command, "then this report again"))) if lines else None


def _error_bars(rows: Sequence[Row]) -> tuple[list[float], list[list[float]]]:
    """Return errors in percent, and the lengths of their intervals below and above."""
    errors = [100 * row.errors.top1.rate for row in rows]
    ends = [row.errors.top1.interval for row in rows]
    below = [error - 100 * low for error, (low, _) in zip(errors, ends, strict=True)]
    above = [100 * high - error for error, (_, high) in zip(errors, ends, strict=True)]
    return errors, [below, above]


def depth_chart(measured: Measured) -> Chart | None:
    """Return the error against depth beside that of Table 3; None for nets of one depth."""
    found = [(run, row) for run in measured.runs if (row := measured.of(run, "dense")) is not None]
    depths = {_depth(run) for run, _ in found}
    if len(depths) < 2:
        return None
    with styled():
        plot = new_plot()
        left, right = plot.subplots(1, 2)
        for label, own in depth_lines(found).items():
            place = LINES.index(label)
            errors, bars = _error_bars([row.row for _, row in own])
            x = [_depth(run) + 0.12 * place for run, _ in own]
            left.errorbar(x, errors, bars, color=colour(place), marker=mark(place), capsize=3, label=label)
        for place, (label, wanted) in enumerate({"S=256": (256,), LINES[1]: (256, 512)}.items()):
            paper = [row for row in TABLE_3 if row.train_scale == wanted and row.nets[0] in _PAPER_DEPTHS]
            x, errors = [_PAPER_DEPTHS[row.nets[0]] for row in paper], [row.top1 for row in paper]
            right.plot(x, errors, color=colour(place), marker=mark(place), label=label)
        for axes, title in ((left, "these nets"), (right, "the paper, Table 3")):
            axes.set(title=f"top-1 error in %: {title}", xlabel="layers with weights", xticks=(11, 13, 16, 19))
            axes.legend()
    alt = "Error bars: top-1 error against depth, beside the paper's Table 3; in the table above."
    return Chart(svg(plot), alt, _depth_says(found, measured))


def depth_lines(found: Sequence[tuple[Run, MeasuredRow]]) -> dict[str, list[tuple[Run, MeasuredRow]]]:
    """Return the nets that a line may join, shallow ones first: alike in S and in batch normalisation."""
    lines: dict[str, list[tuple[Run, MeasuredRow]]] = {}
    for run, row in sorted(found, key=lambda each: (_norm(each[0]), _ends(each[0]), _depth(each[0]))):
        lines.setdefault(LINES[2 * _norm(run) + (_ends(run) == 2)], []).append((run, row))
    return lines


def _depth_says(found: Sequence[tuple[Run, MeasuredRow]], measured: Measured) -> str:
    """Compare the nets that differ most in depth and, if possible, in nothing else; name what else differs."""
    pairs = [
        (one, other)
        for one, other in itertools.permutations(found, 2)
        if _ends(one[0]) == _ends(other[0]) and _depth(one[0]) < _depth(other[0])
    ]
    if not pairs:
        return ""
    alike = [pair for pair in pairs if _norm(pair[0][0]) == _norm(pair[1][0])]
    (shallow, before), (deep, after) = max(
        alike or pairs, key=lambda pair: (_depth(pair[1][0]) - _depth(pair[0][0]), -_ends(pair[0][0]))
    )
    change = difference(before.answers.wrong, after.answers.wrong)
    says = [
        f"{deep.name} ({_depth(deep)} layers) against {shallow.name} ({_depth(shallow)} layers): "
        + (f"{points(change)} {_direction(change)}." if change.clear else no_difference(measured.images) + ".")
    ]
    if _norm(deep) != _norm(shallow):
        one, other = (deep, shallow) if _norm(deep) else (shallow, deep)
        says.append(
            f"{one.name} also has batch normalisation, which {other.name} has not: depth alone need not be the reason."
        )
    if deep.source in {run.name for run in measured.runs if run is not deep}:
        says.append(f"{deep.name} started from {deep.source}, so its layers have learnt for longer.")
    return " ".join(says)


_PAPER_DEPTHS = {"A": 11, "B": 13, "D": 16, "E": 19}  # C has 16 layers as D, with 1x1 convolutions among them


def _depth(run: Run) -> int:
    assert run.description is not None
    return run.description.architecture.depth


def _ends(run: Run) -> int:
    assert run.description is not None
    return len(run.description.train_scale)


def _norm(run: Run) -> bool:
    assert run.description is not None
    return run.description.architecture.batch_norm


def _direction(change: Difference) -> str:
    return "fewer errors" if change.points < 0 else "more errors"


def scale_chart(measured: Measured) -> Chart | None:
    """Return the error against Q of nets with three or more Q; None where there is no such net."""
    found: list[tuple[Run, list[MeasuredRow]]] = []
    for run in measured.runs:
        rows = [row for row in measured.rows if row.runs == (run,) and row.kind == "dense" and len(row.scales) == 1]
        if len(rows) >= 3:
            found.append((run, sorted(rows, key=lambda row: row.scales)))
    if not found:
        return None
    with styled():
        plot = new_plot(height=3.4)
        axes = plot.subplots()
        for place, (run, rows) in enumerate(found):
            assert run.description is not None
            errors, bars = _error_bars([row.row for row in rows])
            label = f"{run.name}, {scale_in_words(run.description.train_scale)}"
            x = [row.scales[0] + 0.4 * place for row in rows]
            axes.errorbar(x, errors, bars, color=colour(place), marker=mark(place), capsize=3, label=label)
            if (multiple := measured.of(run, "dense", 3)) is not None:
                axes.axhline(100 * multiple.row.errors.top1.rate, color=colour(place), linestyle="--", linewidth=1)
        axes.set(title="top-1 error in %, whole images", xlabel="Q: smaller side of the test image in pixels")
        axes.legend()
    says = [_multi_scale(measured, run) for run, _ in found]
    text = " ".join(each for each in says if each)
    return Chart(
        svg(plot), "Error bars: top-1 error against the test scale Q; the numbers are in the table above.", text
    )


def _multi_scale(measured: Measured, run: Run) -> str:
    single, multiple = measured.of(run, "dense"), measured.of(run, "dense", 3)
    if single is None or multiple is None or run.description is None:
        return ""
    change = difference(single.answers.wrong, multiple.answers.wrong)
    name = f"{run.name} (trained with {scale_in_words(run.description.train_scale)})"
    if not change.clear:
        return f"{name}: averaging {len(multiple.scales)} scales (dashed) makes {no_difference(measured.images)}."
    verb = "is worth" if change.points < 0 else "costs"
    return f"{name}: averaging {len(multiple.scales)} scales (dashed) {verb} {points(change)}."


def parts_chart(measured: Measured) -> Chart | None:
    """Return what each part of the test protocol adds to the main net; None where there are fewer than two parts."""
    run = measured.main.runs[0]
    wanted = [("center", 1), ("dense", 1), ("dense", 3), ("multi-crop", 3), ("both", 3)]
    rows = [row for kind, scales in wanted if (row := measured.of(run, kind, scales)) is not None]
    fused = [row for row in measured.rows if len(row.runs) > 1 and run in row.runs]
    rows += fused[-1:]
    if len(rows) < 2:
        return None
    labels = [_part_label(row) for row in rows]
    changes = [difference(before.answers.wrong, after.answers.wrong) for before, after in itertools.pairwise(rows)]
    errors, bars = _error_bars([row.row for row in rows])
    with styled():
        plot = new_plot(height=1.1 + 0.42 * len(rows))
        axes = plot.subplots()
        y = list(range(len(rows)))
        axes.barh(y, errors, color=SERIES[0], alpha=0.35, height=0.6)
        axes.errorbar(errors, y, xerr=bars, fmt="o", color=SERIES[0], capsize=3)
        for place, change in enumerate(changes, start=1):
            text = f"{change.points:+.1f} [{change.low:+.1f}, {change.high:+.1f}]"
            shade = SERIES[1] if change.clear else MUTED
            axes.annotate(
                text, (errors[place] + bars[1][place], place), xytext=(8, -4), textcoords="offset points", color=shade
            )
        axes.set(title=f"top-1 error of {run.name} in %, part by part, and its change", yticks=y, yticklabels=labels)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.invert_yaxis()
        axes.set_xlim(0, max(error + above for error, above in zip(errors, bars[1], strict=True)) * 1.35 + 0.5)
    clear = [
        f"{label}: {points(change)} {_direction(change)} than the row above"
        for label, change in zip(labels[1:], changes, strict=True)
        if change.clear
    ]
    says = f"{'; '.join(clear)}." if clear else f"From row to row there is {no_difference(measured.images)}."
    return Chart(
        svg(plot), f"Bars: error of {run.name} as parts of the test protocol are added, in the table above.", says
    )


def _part_label(row: MeasuredRow) -> str:
    names = {
        "center": "one centre crop",
        "dense": "whole image (dense)",
        "multi-crop": "5x5 crops",
        "both": "dense and crops",
    }
    many = f", {len(row.scales)} scales" if len(row.scales) > 1 else ""
    fused = f", {listed([run.name for run in row.runs])} fused" if len(row.runs) > 1 else ""
    return names.get(row.kind, row.kind) + many + fused
