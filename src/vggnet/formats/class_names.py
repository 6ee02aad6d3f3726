"""Read class names from text, JSON lists and class indices."""

import json
import re
from pathlib import Path
from typing import Any

from vggnet.console import counted
from vggnet.errors import UserError
from vggnet.paper.imagenet import imagenet_classes

IMAGENET = "imagenet"  # in place of a file
Names = tuple[tuple[str, ...], tuple[str, ...]]  # (names, titles); titles are () where names are no codes


def read_classes(path: str | Path, outputs: int) -> Names:
    """Return (names, titles) from a file, in the order of the outputs; "imagenet" are those of ILSVRC-2012.

    One class on each line, possibly as `n01440764 tench` (ImageNet's codes); a JSON list of these; or Keras's class
    index, {"0": ["n01440764", "tench"], ...}. Raises UserError where their number is not `outputs`, or a name occurs
    twice.
    """
    imagenet = str(path) == IMAGENET and not Path(path).is_file()
    names, titles = imagenet_classes() if imagenet else coded_names(_lines(path))
    return check_names(f"`classes` {path}", names, titles, outputs)


def check_names(source: str, names: tuple[str, ...], titles: tuple[str, ...], outputs: int) -> Names:
    """Return the names and titles. Raises UserError where they do not name `outputs` outputs, each its own."""
    if not outputs:
        raise UserError(f"{source}: a net of convolutions only has no classes to name")
    if len(names) != outputs:
        raise UserError(f"{source}: {counted(len(names), 'name')} for {counted(outputs, 'output')}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{source}: {twice!r} occurs twice; titles that repeat need ImageNet's codes")
    return names, titles


def _lines(path: str | Path) -> list[str]:
    """Return the names in a file, one for each class."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"`classes` {path}: cannot be read as text ({error})") from error
    if not text.lstrip().startswith(("[", "{")):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        return _listed(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"`classes` {path}: neither a JSON list of names nor a class index from 0 on ({error})"
        ) from error


def _listed(content: Any) -> list[str]:
    """Return the names in a JSON list, or in a class index in the order of its numbers."""
    if isinstance(content, dict):
        content = [content[str(place)] for place in range(len(content))]
    return [" ".join(map(str, entry)) if isinstance(entry, list) else str(entry) for entry in content]


def coded_names(lines: list[str]) -> Names:
    """Return (names, titles) of lines such as `n01440764 tench`; where not all have a code, the lines are the names."""
    coded = [re.fullmatch(r"(n\d{8})[\s,]+(.+)", line) for line in lines]
    if lines and all(coded):
        return tuple(found[1] for found in coded if found), tuple(found[2] for found in coded if found)
    return tuple(lines), ()


def classes_beside(file: Path | None, outputs: int) -> tuple[str, ...]:
    """Return the names in timm's config.json (`label_names`) or our preprocessing.json; () where they do not fit."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig")) if file is not None else {}
        found = content.get("label_names") or content.get("pretrained_cfg", {}).get("label_names")
        names = tuple(map(str, found or content.get("classes") or ()))
    except (OSError, ValueError, AttributeError, TypeError):
        return ()
    return names if len(names) == outputs == len(set(names)) else ()
