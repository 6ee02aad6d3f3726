"""The one style of all figures, in a report and in a notebook, and their SVG.

Notable:
- The colours of lines are told apart by people with any colour vision (Okabe and Ito's, darkened until each has a
  contrast of 3 to 1 with white), and every line has a mark of its own, too.
- In a report, colours are CSS variables, which the page sets for light and for dark. Those here are the light ones.
- Texts stay texts in the SVG, without mathematics: a class may be called `$x$`.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER = "#1b1f24", "#59626d", "#d5dae1", "#fdfdfe"
SERIES = ("#0b62a4", "#b8500a", "#0a7a57", "#93357f", "#6b5900", "#2d6f8e")
MARKS = ("o", "s", "^", "D", "v", "P")
# name of the CSS variable: (light, dark)
PALETTE = {
    "ink": (INK, "#e9edf2"),
    "muted": (MUTED, "#a6b0bc"),
    "rule": (RULE, "#3a424c"),
    "paper": (PAPER, "#14181d"),
    "shade": ("#b4bcc6", "#4a545f"),
    "c1": (SERIES[0], "#62b3ef"),
    "c2": (SERIES[1], "#f79a54"),
    "c3": (SERIES[2], "#46cfa3"),
    "c4": (SERIES[3], "#e394d1"),
    "c5": (SERIES[4], "#d9c35c"),
    "c6": (SERIES[5], "#8cc4dc"),
}
WIDE, HALF, HEIGHT = 7.6, 4.2, 3.1  # inches; 72 points each

_SETTINGS: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "legend.edgecolor": RULE,
    "legend.facecolor": PAPER,
    "legend.fontsize": 9,
    "legend.framealpha": 0.85,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "svg.hashsalt": "vggnet",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9,
}


class Plot(Figure):
    """A figure of matplotlib in this style, which a notebook shows as it stands."""

    def _repr_svg_(self) -> str:
        with styled():
            return _drawn(self)


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the block in the style of this module, whatever the user's own settings are."""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the browser has other fonts
        yield


def new_plot(width: float = WIDE, height: float = HEIGHT) -> Plot:
    """Return an empty figure of `width` x `height` inches. Draw on it within `styled()`."""
    return Plot(figsize=(width, height))


def colour(place: int) -> str:
    """Return the colour of line number `place`."""
    return SERIES[place % len(SERIES)]


def mark(place: int) -> str:
    """Return the mark of line number `place`."""
    return MARKS[place % len(MARKS)]


def svg(plot: Plot) -> str:
    """Return a figure as SVG for a page: colours as CSS variables, ids unlike those of other figures."""
    with styled():
        text = _drawn(plot)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    used = set(re.findall(r"""(?:xlink:href="|url\()#([\w.:-]+)""", text))
    prefix = "f" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]

    def named(found: re.Match[str]) -> str:
        return f' id="{prefix}-{found[1]}"' if found[1] in used else ""

    text = re.sub(r' id="([^"]*)"', named, text)
    text = re.sub(r"""(xlink:href="|url\()#""", rf"\1#{prefix}-", text)
    names = {light: name for name, (light, _) in PALETTE.items()}
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: f"var(--{names[found[0]]})" if found[0] in names else found[0], text)
    wide, high = (72 * inches for inches in plot.get_size_inches())
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    size = f'viewBox="0 0 {wide:g} {high:g}" style="max-width: {4 * wide / 3:.0f}px"'  # 96 px an inch
    kind = ' class="wide"' if plot.get_figwidth() >= WIDE else ""
    head = f"<svg {spaces} {size}{kind}>"
    text = re.sub("<svg [^>]*>", head, text, count=1)
    return text.strip()


def _drawn(plot: Plot) -> str:
    stream = io.StringIO()
    # not savefig, which draws everything twice where a figure has a layout
    FigureCanvasSVG(plot).print_svg(stream, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return stream.getvalue()
