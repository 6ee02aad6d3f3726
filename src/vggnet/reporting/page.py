"""Make one self-contained HTML file of a report's sections. Every text is escaped; nothing is loaded from elsewhere."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vggnet.reporting.contents import Section
from vggnet.reporting.style import PALETTE

_TEMPLATES = Path(__file__).with_name("templates")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["variables"] = variables
    for name in ("report.css", "report.js"):
        environment.globals[name.replace(".", "_")] = Markup((_TEMPLATES / name).read_text(encoding="utf-8"))
    environment.filters["svg"] = Markup  # of `style.svg`, in which matplotlib has escaped the texts
    return environment


def variables(dark: bool) -> Markup:
    """Return the colours as declarations of CSS variables."""
    return Markup(" ".join(f"--{name}: {pair[dark]};" for name, pair in PALETTE.items()))


def page(title: str, lead: str, sections: Sequence[Section], footer: str) -> str:
    """Return the HTML of a report.

    Args:
        title: the page's heading.
        lead: the line below it.
        sections: in the order of the page; the first one needs no link.
        footer: the last line.
    """
    template = _environment().get_template("report.html")
    return template.render(title=title, lead=lead, sections=sections, footer=footer)
