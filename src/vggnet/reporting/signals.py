"""The signal and the gradient through the layers of a net (`vggnet diagnose`), drawn."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter

from vggnet.reporting.contents import Grid
from vggnet.reporting.style import Plot, colour, mark, new_plot, styled

FIELDS = {
    "variation_rms": "difference between images",
    "gradient_rms": "gradient of the loss",
}
COLUMNS = {
    "signal_rms": "signal",
    "variation_rms": "between images",
    "gradient_rms": "gradient",
    "relative_update": "first update / weight",
}


def signal(diagnoses: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> Plot:
    """Draw what reaches each layer, for one or several diagnoses: (name, layers as in the JSON of `diagnose`)."""
    with styled():
        plot = new_plot(height=3.4)
        panels = plot.subplots(1, len(FIELDS))
        for axes, (name, title) in zip(panels, FIELDS.items(), strict=True):
            for place, (label, layers) in enumerate(diagnoses):
                values = [_drawable(layer.get(name)) for layer in layers]
                axes.plot(range(len(values)), values, color=colour(place), marker=mark(place), label=label)
            names = [str(layer.get("name")) for layer in diagnoses[0][1]]
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set(title=title)
            if any(math.isfinite(value) for line in axes.lines for value in line.get_ydata()):  # else there is no scale
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
            axes.legend()
    return plot


def _drawable(value: Any) -> float:
    """Return a number above 0, or not a number, which leaves a gap."""
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else math.nan


def signal_table(name: str, layers: Sequence[dict[str, Any]]) -> Grid:
    """Return the numbers behind the figure."""
    rows = tuple((str(layer.get("name")), *(_shown(layer.get(field)) for field in COLUMNS)) for layer in layers)
    return Grid(f"Root mean squares by layer: {name}", ("layer", *COLUMNS.values()), rows, folded=True)


def _shown(value: Any) -> str:
    return f"{value:.2e}" if isinstance(value, int | float) else "-"
