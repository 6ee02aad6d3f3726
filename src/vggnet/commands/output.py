"""Where results go that a command was asked to write."""

import json
import sys
from pathlib import Path
from typing import Any

from vggnet.errors import UserError


def write_json(path: Path, content: Any) -> None:
    """To a file, or with - to standard output."""
    text = json.dumps(content, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--json {path}: cannot be written ({error.strerror})") from error
