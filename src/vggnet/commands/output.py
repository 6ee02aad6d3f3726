"""Write the result of a command where its options ask for it: on the terminal, and as JSON.

Every result has `to_dict()` (JSON values; a list where the result is a list) and is printed by its `print()`, or line
by line while the command runs.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from vggnet.console import is_first_rank
from vggnet.files import json_text, write_result


def stdout_for_json(path: Path | None) -> AbstractContextManager[Any]:
    """Send printed lines to standard error within the block, where standard output is for JSON (`path` is -)."""
    return redirect_stdout(sys.stderr) if str(path) == "-" else nullcontext()


def report(path: Path | None, content: Any, show: Callable[[], None]) -> None:
    """Write `content` as JSON where `path` asks for it, and call `show` unless standard output is for JSON."""
    write_json(path, content)
    if str(path) != "-":
        show()


def write_json(path: Path | None, content: Any) -> None:
    """Write `content` as JSON to a file, to standard output (-), or nowhere (None); on the first rank only.

    Raises UserError where the file cannot be written.
    """
    if path is None or not is_first_rank():
        return
    if str(path) == "-":
        sys.stdout.write(json_text(content))
    else:
        write_result(path, json_text(content), option="`json`")
