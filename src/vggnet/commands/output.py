"""Where results go that a command was asked to write."""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from vggnet.errors import UserError
from vggnet.files import write_whole


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
    """To a file, or with - to standard output."""
    text = json.dumps(content, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a pipe, a device
            path.write_text(text, encoding="utf-8")
        else:
            write_whole(path, text)
    except OSError as error:
        raise UserError(f"--json {path}: cannot be written ({error.strerror}); give another file") from error
