"""What a report holds: sections of texts, figures, tables and pictures. `page` makes HTML of it.

All texts are plain and are escaped by the page. Only `Chart.svg` is markup: `style.svg` makes it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph. `quiet` ones are notes in smaller letters."""

    kind: ClassVar[str] = "text"
    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure: SVG, a text for those who cannot see it, and what to see in it.

    `says` is empty where the numbers do not carry a sentence.
    """

    kind: ClassVar[str] = "chart"
    svg: str
    alt: str
    says: str = ""


@dataclass(frozen=True)
class Grid:
    """A table. The first column heads its row. With `sortable` a click on a column's head sorts the rows.

    `folded` tables are shown on demand.
    """

    kind: ClassVar[str] = "grid"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sortable: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with a text for those who cannot see it, and a label below."""

    uri: str
    alt: str
    label: str = ""


@dataclass(frozen=True)
class Card:
    """Pictures of one image side by side, with lines of text. `mark` is "right", "wrong" or empty."""

    pictures: tuple[Picture, ...]
    title: str
    lines: tuple[str, ...] = ()
    mark: str = ""


@dataclass(frozen=True)
class Gallery:
    """Cards under a caption. `says`: what to see in them."""

    kind: ClassVar[str] = "gallery"
    caption: str
    cards: tuple[Card, ...]
    says: str = ""


@dataclass(frozen=True)
class Commands:
    """Lines to type, each with what it does."""

    kind: ClassVar[str] = "commands"
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Facts:
    """Names with values."""

    kind: ClassVar[str] = "facts"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Folded:
    """Parts that are shown on demand."""

    kind: ClassVar[str] = "folded"
    title: str
    parts: tuple["Part", ...]


@dataclass(frozen=True)
class Preformatted:
    """Text whose lines stay as they are."""

    kind: ClassVar[str] = "preformatted"
    text: str


Part = Text | Chart | Grid | Gallery | Commands | Facts | Folded | Preformatted


@dataclass(frozen=True)
class Section:
    """A part of a report with its title."""

    title: str
    parts: tuple[Part, ...]

    @property
    def anchor(self) -> str:
        """Return the section's name in links."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def section(title: str, parts: Sequence[Part | None]) -> Section | None:
    """Return a section of the parts that there are; None where there is none."""
    found = tuple(part for part in parts if part is not None)
    return Section(title, found) if found else None


def shortened(text: str, most: int = 28) -> str:
    """Return `text` with at most `most` characters, for labels in figures."""
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
