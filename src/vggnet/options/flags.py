"""Write the names of arguments in a message as the command line spells them.

Rooms that a Python caller uses name an argument in backticks: "`batch` 0: a batch needs at least one image". Python
callers read it so. The command line replaces the names that are options: "--batch 0: ...".
"""

import dataclasses
import re
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from tyro.conf import Positional

_ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*)`")


def with_flags(message: str, options: Any, others: Iterable[type] = ()) -> str:
    """Return `message` with each argument in backticks as its flag; `micro_batch`: --micro-batch.

    A positional argument becomes its name in capitals. Other words in backticks stay.

    Args:
        options: the options of the command that runs (a dataclass), or None before they are parsed.
        others: the options of other commands, whose arguments a message may name, too.
    """
    if "`" not in message:
        return message
    flags = {name: flag for kind in (*others, type(options)) for name, flag in _flags(kind)}
    return _ARGUMENT.sub(lambda found: flags.get(found[1], found[0]), message)


def _flags(kind: Any) -> Iterator[tuple[str, str]]:
    """Yield (argument, flag) for each field of a dataclass, and of the option groups and subcommands in it."""
    if not dataclasses.is_dataclass(kind):
        return  # no options yet
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        groups = list(_dataclasses_in(hints[field.name]))
        for group in groups:
            yield from _flags(group)
        if not groups:
            positional = Positional in typing.get_args(hints[field.name])
            yield field.name, field.name.upper() if positional else "--" + field.name.replace("_", "-")


def _dataclasses_in(hint: Any) -> Iterator[Any]:
    """Yield the dataclasses of a type: itself, or the members of a union."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from _dataclasses_in(part)
