"""Draw the pictures of the reader's questions from the tables of measured errors in these pages.

    python docs/draw_figures.py        # writes docs/images/*.svg

The tables are the only record of the numbers: `error [low, high]` in percent, with 95 % intervals. What
`vggnet diagnose --json` wrote is in docs/measured.
"""

import json
import re
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from vggnet.evaluation.metrics import wilson
from vggnet.reporting.signals import signal
from vggnet.reporting.style import styled

DOCS = Path(__file__).parent
# Okabe and Ito's colours, told apart with any colour vision
BLUE, ORANGE, GREEN, BLACK = "#0072B2", "#E69F00", "#009E73", "#000000"
STYLE = {
    **{"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3},
    **{"svg.fonttype": "path", "svg.hashsalt": "vggnet", "figure.figsize": (7, 3.4), "legend.frameon": False},
}
IMAGES = 2000  # of the validation set
Error = tuple[float, float, float]


def table(page: str, heading: str) -> list[dict[str, str]]:
    """Return the rows of the first table below a heading of a page, by column."""
    text = (DOCS / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    lines = re.search(r"^\|.*?(?=\n\n)", text, re.M | re.S)
    assert lines is not None, (page, heading)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[0].splitlines()]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def error(cell: str) -> Error:
    """Return error, low and high of a cell: `**74.8** [72.8, 76.6]`."""
    value, low, high = (float(number) for number in re.findall(r"\d+\.\d+", cell)[:3])
    return value, low, high


def points(axes: Axes, places: list[float], errors: list[Error], colour: str, marker: str, label: str) -> None:
    """Draw errors with their intervals at places on the x axis."""
    values = [each[0] for each in errors]
    below, above = [v - low for v, low, _ in errors], [high - v for v, _, high in errors]
    axes.errorbar(places, values, [below, above], fmt=marker, color=colour, label=label, capsize=3, markersize=6)


def save(name: str, axes: Axes, ylabel: str = "top-1 error, %") -> None:
    """Write a figure without the date, so that the same numbers give the same file."""
    axes.set_ylabel(ylabel)
    axes.figure.tight_layout()  # type: ignore[union-attr]
    axes.figure.savefig(DOCS / "images" / f"{name}.svg", metadata={"Date": None})  # type: ignore[union-attr]
    plt.close()


def one_or_three_scales() -> None:
    rows = table("test-protocol.md", "One scale or three?")
    _, axes = plt.subplots()
    for colour, marker, column, shift in ((BLUE, "o", "one Q", -0.1), (ORANGE, "s", "three Q", 0.1)):
        places = [place + shift for place in range(len(rows))]
        points(axes, places, [error(row[column]) for row in rows], colour, marker, column)
    axes.set_xticks(range(len(rows)), [f"{row['net']}\n{row['S']}" for row in rows])
    axes.set_xlabel("net, and S of its training in pixels")
    fixed = sum("[" not in row["S"] for row in rows)
    axes.axvline(fixed - 0.5, color=BLACK, linewidth=0.8, linestyle=":")
    axes.legend(loc="lower left")
    save("one-or-three-scales", axes, "top-1 error, dense, %")


def error_over_q() -> None:
    rows = table("test-protocol.md", "Must test images be rescaled as training images were?")
    scales = [int(column) for column in list(rows[0])[1:]]
    _, axes = plt.subplots()
    for row, colour, marker in zip(rows, (BLUE, ORANGE, GREEN), "osD", strict=True):
        values = [float(row[str(scale)].strip("*")) for scale in scales]
        bands = 100 * np.array([wilson(round(value * IMAGES / 100), IMAGES) for value in values]).T
        axes.plot(scales, values, color=colour, marker=marker, label=row["net"])
        axes.fill_between(scales, *bands, color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(scales)
    axes.set_xlabel("Q, pixels")
    axes.set_ylim(bottom=25)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    save("error-over-q", axes, "top-1 error, dense, %")


def protocol_parts() -> None:
    rows = table("reproduction.md", "What the test protocol adds")
    tests = list(rows[0])[2:]
    nets = list(dict.fromkeys(row["net"] for row in rows))
    _, axes = plt.subplots(figsize=(7.6, 4.6))
    for row in rows:
        several = "," in row["Q"]
        places = [place + 0.08 * (2 * several - 1) for place in range(len(tests))]
        errors = [error(row[test]) for test in tests]
        colour = (BLUE, ORANGE, GREEN)[nets.index(row["net"])]
        points(axes, places, errors, colour, "os"[several], f"{row['net']}: Q = {row['Q']}")
        if several:
            axes.annotate(f"{errors[-1][0]:.1f}", (places[-1] + 0.12, errors[-1][0]), va="center", fontsize=9)
    axes.set_xticks(range(len(tests)), tests)
    axes.set_xlim(-0.4, len(tests) - 0.5)
    axes.set_ylim(bottom=20)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
        ncols=len(nets),
        fontsize=8.5,
        columnspacing=1,
        handletextpad=0.2,
    )
    save("protocol-parts", axes)


def from_scratch() -> None:
    rows = table("reproduction.md", "Initialisation: from scratch, from A, from B")
    starts = {"Gaussian": ("v", ORANGE), "Glorot": ("o", BLUE), "from A": ("s", GREEN), "from B": ("D", BLACK)}
    nets = ["A", "B", "D", "E"]
    _, axes = plt.subplots()
    for number, (start, (marker, colour)) in enumerate(starts.items()):
        found = [row for row in rows if row["start"].startswith(start)]
        places = [nets.index(row["net"]) + 0.12 * (number - 1.5) for row in found]
        label = f"{start} weights" if start in ("Gaussian", "Glorot") else f"{start}'s layers"
        points(axes, places, [error(row["dense"]) for row in found], colour, marker, label)
    axes.axhline(97.5, color=BLACK, linewidth=0.8, linestyle=":")
    axes.annotate("chance", (-0.3, 97.5), va="bottom", fontsize=9)
    axes.set_xticks(range(len(nets)), [f"net {net}" for net in nets])
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    save("from-scratch", axes, "top-1 error, dense, %")


def small_filters() -> None:
    rows = table("test-protocol.md", "Three 3x3 layers, or one 5x5?")
    _, axes = plt.subplots(figsize=(5, 3))
    for number, (column, colour, marker) in enumerate((("centre crop", BLUE, "o"), ("dense", ORANGE, "s"))):
        places = [place + 0.1 * (2 * number - 1) for place in range(len(rows))]
        points(axes, places, [error(row[column]) for row in rows], colour, marker, column)
    axes.set_xticks(range(len(rows)), ["B: pairs of 3x3", "one 5x5 for each pair"])
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.legend(loc="upper left")
    save("small-filters", axes)


def signal_through_net_e() -> None:
    """Draw what `vggnet diagnose` measured: what reaches each layer of net E, by how its weights are drawn."""
    names = {"gaussian": "Gaussian, sigma 0.02", "glorot": "Glorot", "he": "He"}
    files = {label: DOCS / "measured" / f"diagnose-E-{name}.json" for name, label in names.items()}
    plot = signal([(label, json.loads(file.read_text(encoding="utf-8"))["layers"]) for label, file in files.items()])
    plot.axes[0].get_legend().remove()  # it would cover points; the other panel has the same
    with styled():
        plot.savefig(DOCS / "images" / "signal-net-e.svg", metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    signal_through_net_e()
    plt.rcParams.update(STYLE)
    one_or_three_scales()
    error_over_q()
    protocol_parts()
    from_scratch()
    small_filters()
