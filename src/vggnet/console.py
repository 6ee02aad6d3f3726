"""Print lines, notes and progress.

On a terminal, progress is a moving bar; in a notebook, a bar below the cell. Elsewhere it is a line on standard error
from time to time. In a distributed run only the first rank prints.

Where standard output cannot be written to (`| head`, a full disk), `say` raises OutputLost. Where standard error cannot
be written to, its lines are dropped.
"""

import html
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vggnet.errors import OutputLost

PLAIN_INTERVAL_S = 20.0
NOTEBOOK_INTERVAL_S = 0.2
PLAIN_WIDTH = 160


def is_first_rank() -> bool:
    """Return whether this process is the one that prints: rank 0, or the only process."""
    return os.environ.get("RANK", "0") == "0"


_spellings: list[Callable[[str], str]] = []


@contextmanager
def spelled(spelling: Callable[[str], str]) -> Iterator[None]:
    """Apply `spelling` to each line that is printed within the block; the command line writes arguments as flags."""
    _spellings.append(spelling)
    try:
        yield
    finally:
        _spellings.pop()


def _spelled(text: str) -> str:
    return visible(_spellings[-1](text) if _spellings else text)


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def visible(text: str) -> str:
    """Return `text` with control characters escaped. Unescaped, a file's name could rewrite what a terminal shows."""
    return text.translate(_CONTROLS)


def say(text: str = "") -> None:
    """Print a line to standard output without formatting. Raises OutputLost where it cannot be written."""
    if not is_first_rank():
        return
    try:
        print(_spelled(text), flush=True)
    except OSError as error:
        raise OutputLost(error.strerror or str(error)) from error


def warn(text: str) -> None:
    """Print a line to standard error; drop it where that cannot be written to."""
    if is_first_rank():
        with suppress(OSError):
            print(_spelled(text), file=sys.stderr, flush=True)


_noted: set[str] = set()


def note(text: str) -> None:
    """Print a line to standard error, each different line once."""
    if text not in _noted:
        _noted.add(text)
        warn(text)


def rich_console() -> Console:
    """Return a console for tables on standard output; in a file or a pipe, lines have PLAIN_WIDTH characters."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(file=sys.stdout, quiet=not is_first_rank(), highlight=False, width=width)


def html_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """Return a table as HTML for a notebook; every text is escaped."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    below = "".join(f"<div>{html.escape(note)}</div>" for note in notes)
    caption = f"<caption>{html.escape(title)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 image, 2,000 images, 3 classes, 4 batches."""
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x", "tch")) else "s"
    return f"{number:,} {noun}{ending}"


def duration(seconds: float) -> str:
    """Return a time in words: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Ticker:
    """A progress display. Call it with (done, total, text) after each piece of work."""

    def __init__(self, title: str, bar: Progress | None, interval_s: float) -> None:
        self._title = title
        self._interval_s = interval_s
        self._bar = bar
        self._task = bar.add_task(title, total=None, text="") if bar else None
        self._started = self._printed = time.monotonic()

    def __call__(self, done: int, total: int, text: str = "") -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, text=text)
            return
        now = time.monotonic()
        if now - self._printed >= self._interval_s and 0 < done < total:
            self._printed = now
            left = (now - self._started) / done * (total - done)
            line = f"{self._title}: {done}/{total}" + (f" {text}" if text else "")
            warn(f"{line}, about {duration(left)} left")


class NotebookTicker(Ticker):
    """A progress bar below the cell of a notebook: one output, which is replaced at most every `interval_s` seconds."""

    def __init__(self, title: str, interval_s: float = NOTEBOOK_INTERVAL_S) -> None:
        super().__init__(title, None, interval_s)
        self._output: Any = None

    def __call__(self, done: int, total: int, text: str = "") -> None:
        now = time.monotonic()
        if self._output is not None and now - self._printed < self._interval_s:
            return
        self._printed = now
        left = f", about {duration((now - self._started) / done * (total - done))} left" if 0 < done < total else ""
        label = html.escape(visible(f"{self._title}: {done}/{total} {text}".rstrip() + left))
        self._show(f'<progress value="{done}" max="{total}"></progress> {label}')

    def close(self) -> None:
        """Remove the bar."""
        if self._output is not None:
            self._show("")

    def _show(self, content: str) -> None:
        from IPython.display import HTML, display

        if self._output is None:
            self._output = display(HTML(content), display_id=True)
        else:
            self._output.update(HTML(content))


def _in_notebook() -> bool:
    """Return whether a kernel of Jupyter runs this process; IPython in a terminal has none."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@contextmanager
def progress(title: str, interval_s: float = PLAIN_INTERVAL_S) -> Iterator[Ticker]:
    """Show progress under `title` until the block ends.

    Where there is neither a terminal nor a notebook, print a line each `interval_s` seconds.
    """
    if _in_notebook() and is_first_rank():
        bar = NotebookTicker(title)
        try:
            yield bar
        finally:
            bar.close()
        return
    console = rich_console()
    if not console.is_terminal or not is_first_rank():
        yield Ticker(title, None, interval_s)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as moving:
        yield Ticker(title, moving, interval_s)


def named(names: Sequence[str], at_most: int = 5) -> str:
    """Return the first names in quotes: 'a', 'b' and 3 more."""
    shown = ", ".join(repr(name) for name in names[:at_most])
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"
