"""Training curves: losses and errors by epoch, the drops of the learning rate, the epoch that was chosen."""

import itertools
from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from vggnet.console import counted
from vggnet.reporting.contents import Chart, Grid, Part, Section, Text, section
from vggnet.reporting.sources import Run
from vggnet.reporting.style import MUTED, Plot, colour, mark, new_plot, styled, svg
from vggnet.reporting.words import listed


def curves(runs: Sequence[Run]) -> Plot:
    """Draw the training of one run (loss and error), or the held-out errors of several on one axis."""
    with styled():
        return _one(runs[0]) if len(runs) == 1 else _several(runs)


def drops(run: Run) -> list[int]:
    """Return the last epoch before each drop of the learning rate."""
    rates = [(int(row["epoch"]), row.get("learning_rate")) for row in run.rows]
    return [
        epoch
        for (epoch, rate), (_, following) in itertools.pairwise(rates)
        if rate is not None and following is not None and following < rate
    ]


def _one(run: Run) -> Plot:
    plot = new_plot()
    left, right = plot.subplots(1, 2)
    epochs = [row["epoch"] for row in run.rows]
    for axes, title, names in (
        (left, "loss", (("train_loss", "training"), ("loss", "held out"))),
        (right, "error in %", (("train_error", "training"), ("error", "held out"))),
    ):
        for place, (column, label) in enumerate(names):
            if all(column in row for row in run.rows):
                values = [row[column] for row in run.rows]
                axes.plot(epochs, values, color=colour(place), marker=mark(place), label=label)
        for drop in drops(run):
            axes.axvline(drop + 0.5, color=MUTED, linestyle=":", linewidth=1)
        if run.best is not None:
            axes.axvline(run.best["epoch"], color=MUTED, linestyle="--", linewidth=1)
        axes.set(title=title, xlabel="epoch", ylim=(0, None), xlim=(0.5, max(epochs) + 0.5))
        axes.legend()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return plot


def _several(runs: Sequence[Run]) -> Plot:
    plot = new_plot(height=3.6)
    axes = plot.subplots()
    for place, run in enumerate(runs):
        epochs, errors = [row["epoch"] for row in run.rows], [row["error"] for row in run.rows]
        axes.plot(epochs, errors, color=colour(place), marker=mark(place), label=run.name)
        if run.best is not None:
            axes.plot(run.best["epoch"], run.best["error"], "o", ms=11, mfc="none", mec=colour(place))
    last = max(row["epoch"] for run in runs for row in run.rows)
    axes.set(title="held-out error in %", xlabel="epoch", ylim=(0, None), xlim=(0.5, last + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend()
    return plot


def training_section(runs: Sequence[Run]) -> Section | None:
    """Return the curves of the runs that have epochs, with a sentence, and the numbers as a table."""
    trained = [run for run in runs if run.rows and all("error" in row for row in run.rows)]
    if not trained:
        return None
    alt = f"Line chart of the training by epoch: {listed([run.name for run in trained])}. The numbers are in the table."
    parts: list[Part | None] = [
        Text(_held_out(trained)),
        Chart(svg(curves(trained)), alt, " ".join(_says(run, runs, alone=len(trained) == 1) for run in trained)),
    ]
    if len(trained) == 2:  # more would fill pages
        parts += [
            Chart(svg(curves([run])), f"Loss and error of {run.name} by epoch.", f"{run.name}. {_marked(run)}")
            for run in trained
        ]
    parts += [_numbers(run) for run in trained]
    return section("How it learnt", parts)


def _held_out(runs: Sequence[Run]) -> str:
    """Tell which images judge the epochs, and that their error is not that of test images."""
    parts = {run.config.get("holdout") for run in runs}
    part = parts.pop() if len(parts) == 1 else None
    if part == 0:
        return (
            "Held out: the val images, which the net does not learn from. Their error (centre crop) decides when the "
            "learning rate drops and which epoch is kept, so it can be lower than that of other images."
        )
    some = f"about {100 * part:.3g} % of the training images" if isinstance(part, float) else "training images"
    return (
        f"Held out: {some}, which the net does not learn from. Their error (centre crop) decides when the learning "
        "rate drops and which epoch is kept, so it can be lower than that of test images."
    )


def _marked(run: Run) -> str:
    """Explain the vertical lines of a run's figure."""
    dropped = "Dotted: the learning rate drops; dashed" if drops(run) else "Dashed"
    return f"{dropped}: the epoch whose weights are used."


def _says(run: Run, runs: Sequence[Run], *, alone: bool) -> str:
    """Describe the course of a training from its numbers."""
    best, first = run.best, run.rows[0]
    assert best is not None
    epoch = int(best["epoch"])
    chosen = "dashed line" if alone else "circle"
    unit = "test 1 error" if run.of_boxes else "error"
    if len(run.rows) == 1:
        text = f"{run.name}: after its only epoch so far the held-out {unit} is {best['error']:.1f} %."
    elif epoch > 1 and best["error"] < first["error"]:
        text = (
            f"{run.name}: the held-out {unit} fell from {first['error']:.1f} % to {best['error']:.1f} % at epoch "
            f"{epoch} of {len(run.rows)} ({chosen}), whose weights are used"
        )
        dropped = len(drops(run))
        text += (
            f"; the learning rate dropped {counted(dropped, 'time')}{' (dotted)' if alone else ''}." if dropped else "."
        )
    else:
        text = f"{run.name}: the held-out {unit} did not fall below the {first['error']:.1f} % of the first epoch."
    source = next((other for other in runs if other.name == run.source and other is not run and other.best), None)
    if source is not None and source.best is not None:
        lowest = source.best["error"]
        reached = next((int(row["epoch"]) for row in run.rows if row["error"] <= lowest), None)
        if reached is not None:
            text += (
                f" Started from {source.name}, it was as low as {source.name}'s best ({lowest:.1f} %) after "
                f"{counted(reached, 'epoch')}."
            )
    return text


def _numbers(run: Run) -> Grid:
    columns = [name for name in run.rows[-1] if all(name in row for row in run.rows)]
    heads = {
        "error": "held-out error %",
        "train_error": "train error %",
        "loss": "held-out loss",
        "waiting_share": "part of the time spent waiting for images",
    }
    rows = tuple(tuple(_cell(row, name) for name in columns) for row in run.rows)
    titles = tuple(heads.get(name, name.replace("_", " ")) for name in columns)
    return Grid(f"Numbers by epoch: {run.name}", titles, rows, folded=True)


def _cell(row: dict[str, float], name: str) -> str:
    """Return a number of an epoch; `-` for the speed of an epoch that was not timed."""
    timed = row.get("images_per_s", 1.0) > 0
    return f"{row[name]:.5g}" if timed or name not in ("images_per_s", "waiting_share") else "-"
