"""The signal and the gradient through the layers of a net (`vggnet diagnose`), drawn."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter

from vggnet.options.flags import with_flags
from vggnet.options.training import DiagnoseOptions
from vggnet.reporting.contents import Grid, Text
from vggnet.reporting.style import Plot, colour, mark, new_plot, styled

DIAGNOSED_IMAGES = 8
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


def signal_explained(diagnoses: Sequence[tuple[str, dict[str, Any]]]) -> list[Text]:
    """Explain the figure of new weights: what it is for, how they are drawn, what to see left and right."""
    purpose = (
        f"Can this net learn from new random weights? One forward and one backward pass with {DIAGNOSED_IMAGES} "
        "training images show it. There are three ways to draw the weights. gaussian: one deviation for all layers, as "
        "in the paper; glorot, he: a larger deviation where a unit has fewer connections."
    )
    left_and_right = (
        "Left: how much a layer's output differs between images. Right: the gradient of the loss by the layer's "
        "output. Where the left line falls to nothing, the last layer cannot tell images apart."
    )
    texts = [purpose, left_and_right]
    if any(name == "gaussian" and content.get("verdict") == "vanishes" for name, content in diagnoses):
        texts.append(
            "With gaussian weights the signal of this net vanishes. So the paper trained net A first, and started the "
            "deeper nets from its layers."
        )
    return [Text(text) for text in texts]


def verdict_in_words(diagnosis: dict[str, Any]) -> str:
    """Return the verdict of a diagnosis, in which options are spelled as on the command line."""
    return with_flags(str(diagnosis.get("words", "")), None, (DiagnoseOptions,))


def _drawable(value: Any) -> float:
    """Return a number above 0, or not a number, which leaves a gap."""
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else math.nan


def signal_table(name: str, layers: Sequence[dict[str, Any]]) -> Grid:
    """Return the numbers behind the figure."""
    rows = tuple((str(layer.get("name")), *(_shown(layer.get(field)) for field in COLUMNS)) for layer in layers)
    return Grid(f"Root mean squares by layer: {name}", ("layer", *COLUMNS.values()), rows, folded=True)


def _shown(value: Any) -> str:
    return f"{value:.2e}" if isinstance(value, int | float) else "-"
