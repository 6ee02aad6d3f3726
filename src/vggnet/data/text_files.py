"""Read text and csv files, whether written by hand, by a script or by Excel.

A byte order mark, Windows' line ends, blank lines and spaces around values are ignored. Errors name file, line and
column.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from vggnet.errors import UserError

_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class Readable(Protocol):
    """A file that is named for people by `str`: a `Path`, or a file in an archive."""

    def read_bytes(self) -> bytes: ...


def read_text(path: Readable) -> str:
    """Return the text of a UTF-8 file, without the byte order mark that Windows puts before it.

    Raises UserError with file, line and column where it is no such text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: this is UTF-16: save it as UTF-8 (in Excel as 'CSV UTF-8')")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise UserError(
            f"{path}:{line}:{column}: the byte {content[error.start]:#04x} is not UTF-8: save the file as UTF-8 (in "
            "Excel as 'CSV UTF-8')"
        ) from error


@dataclass(frozen=True)
class Row:
    """A line of a csv file: `where` is file:line, `values` are by column; "" where a value is empty or missing."""

    where: str
    values: dict[str, str]

    def text(self, column: str) -> str:
        """Return the value of a column. Raises UserError where it is empty."""
        if not self.values[column]:
            raise UserError(f"{self.at(column)}: is empty")
        return self.values[column]

    def at(self, column: str) -> str:
        """Return file, line and column, as messages begin."""
        return f"{self.where}: column {column}"


def read_rows(path: Readable, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the lines of a csv file whose first line names at least `columns`, in any order.

    Raises UserError where a column is missing or a line is malformed.
    """
    lines = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True, strict=True)
    names: list[str] = []
    try:
        for cells in lines:
            cells = [cell.strip() for cell in cells]
            if not any(cells) or (not names and cells[0].lower() == "sep="):  # Excel's own first line
                continue
            where = f"{path}:{lines.line_num}"
            if not names:
                names = _header(cells, columns, where)
            elif any(cells[len(names) :]):
                raise UserError(
                    f"{where}: {len(cells)} values for {len(names)} columns: put a value with a comma in quotes"
                )
            else:
                values = dict(zip(names, cells, strict=False))
                yield Row(where, {column: values.get(column, "") for column in columns})
    except csv.Error as error:
        raise UserError(
            f"{path}:{lines.line_num}: not a csv file ({error}): look for a quote that is left open"
        ) from error
    if not names:
        raise UserError(f"{path}: the file is empty; expected the columns {','.join(columns)}")


def _header(cells: list[str], columns: Sequence[str], where: str) -> list[str]:
    """Return the names in the first line; names of `columns` are matched in any case and returned as spelled there."""
    known = {column.lower(): column for column in columns}
    names = [known.get(cell.lower(), cell) for cell in cells]
    missing = [column for column in columns if column not in names]
    for separator, word in _OTHER_SEPARATORS.items():
        if missing and separator in cells[0]:
            raise UserError(f"{where}: values are separated by {word}: save the file with commas between them")
    if missing:
        raise UserError(f"{where}: no column {', '.join(missing)}; expected {','.join(columns)}")
    return names
