"""Where results go that a command was asked to write."""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from vggnet.files import write_result


def aside(path: Path | None) -> AbstractContextManager[Any]:
    """Within it, all that is said goes to standard error where standard output is for JSON alone (`path` is -)."""
    return redirect_stdout(sys.stderr) if str(path) == "-" else nullcontext()


def report(path: Path | None, content: Any, tell: Callable[[], None]) -> None:
    """Results for people (`tell`), and as JSON where `path` asks for it; on standard output JSON stands alone."""
    if path is not None:
        write_json(path, content)
    if str(path) != "-":
        tell()


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON to a file, or with - to standard output."""
    text = json.dumps(content, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    write_result(path, text, option="--json")
