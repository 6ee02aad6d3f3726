"""Write the names of arguments in a message as the command line spells them.

Rooms that a Python caller uses name an argument in backticks: "`batch` 0: a batch needs at least one image". Python
callers read it so. The command line replaces the names that are options of the command: "--batch 0: ...".
"""

import dataclasses
import re
import typing
from collections.abc import Iterator
from typing import Any

from tyro.conf import Positional

_ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*)`")


def with_flags(message: str, options: Any) -> str:
    """Return `message` with each argument in backticks that `options` has as its flag; `micro_batch`: --micro-batch.

    A positional argument becomes its name in capitals. Other words in backticks stay.

    Args:
        options: the options of the command that runs (a dataclass), or None before they are parsed.
    """
    flags = dict(_flags(options))
    return _ARGUMENT.sub(lambda found: flags.get(found[1], found[0]), message)


def _flags(options: Any) -> Iterator[tuple[str, str]]:
    """Yield (argument, flag) for each field of `options` and of the option groups in it."""
    if not dataclasses.is_dataclass(options):
        return
    hints = typing.get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        if dataclasses.is_dataclass(value := getattr(options, field.name)):
            yield from _flags(value)
            continue
        positional = Positional in typing.get_args(hints[field.name])
        yield field.name, field.name.upper() if positional else "--" + field.name.replace("_", "-")
