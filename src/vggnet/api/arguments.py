"""Turn the arguments of a public function into the options of its command, with the checks and the texts of its help.

So an argument has the name, the default, the range and the description of the option, each written once.
"""

import ast
import dataclasses
import inspect
import os
import re
import textwrap
import typing
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import Any, Literal, ParamSpec, TypeVar

from vggnet.errors import UserError
from vggnet.options.ranges import check_numbers
from vggnet.pretrained.resolving import with_folders

P = ParamSpec("P")
R = TypeVar("R")
Options = TypeVar("Options")
WIDTH = 100  # characters of a line of the arguments' descriptions


def options_of(kind: type[Options], arguments: dict[str, Any], **more: Any) -> Options:
    """Return the options of a command from a function's arguments, by name; arguments that are no options are ignored.

    A path may be a string, several values may be any sequence or a single value. Raises UserError for a value that the
    option does not take.

    Args:
        kind: the dataclass of the options; options in a group within it are arguments as the others.
        arguments: the values by name, such as `locals()`.
        more: values that take precedence.
    """
    options = _filled(kind, arguments | more)
    check_numbers(options)
    return with_folders(options)


def several(values: Any) -> list[Any]:
    """Return the values of a sequence as a list, and a single value as a list of one."""
    return [values] if isinstance(values, (str, os.PathLike)) or not isinstance(values, Sequence) else list(values)


def like_command(kind: type, **texts: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator for the public function of a command: it describes the arguments in the docstring.

    The text of each option becomes the description of the argument.

    Args:
        kind: the dataclass of the command's options.
        texts: descriptions of arguments that the command does not have, or describes for the command line alone.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        function.__doc__ = _described(function, kind, texts)
        return function

    return decorate


def with_arguments(text: str) -> str:
    """Return a help text of the command line with its flags as arguments in backticks: --test-scale, `test_scale`.

    A whole command in backticks stays as it is.
    """

    def argument(found: re.Match[str]) -> str:
        if found["flag"] is None:
            return found[0]
        name = found["flag"].replace("-", "_")
        return "`mirror` False" if name == "no_mirror" else f"`{name}`"

    return re.sub(r"`vggnet [^`]*`|(?<![\w-])`?--(?P<flag>[a-z][a-z0-9-]*)`?", argument, text)


def _filled(kind: Any, values: dict[str, Any]) -> Any:
    """Return an instance of the dataclass `kind`; what has no value is left at its default."""
    hints = typing.get_type_hints(kind)
    own = {}
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            own[field.name] = _filled(hint, values)
        elif field.name in values:
            own[field.name] = _as_option(field.name, values[field.name], hint)
    return kind(**own)


def _as_option(name: str, value: Any, hint: Any) -> Any:
    """Return an argument's value as the type of the option."""
    kinds = typing.get_args(hint) if NoneType in typing.get_args(hint) else (hint,)
    if value is None and (NoneType in kinds or typing.get_origin(hint) is tuple):
        return None if NoneType in kinds else ()
    (kind,) = (each for each in kinds if each is not NoneType)
    if typing.get_origin(kind) is not tuple:
        return _as_value(name, value, kind)
    many, parts = _as_list(value), typing.get_args(kind)
    if parts[-1] is Ellipsis:
        return tuple(_as_value(name, each, parts[0]) for each in many)
    if len(many) != len(parts):
        raise UserError(f"`{name}` {value!r}: give {len(parts)} values")
    return tuple(_as_value(name, each, part) for each, part in zip(many, parts, strict=True))


def _as_list(value: Any) -> list[Any]:
    """Return the values of anything that can be iterated over, and a single value as a list of one."""
    if isinstance(value, (str, os.PathLike)) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)


def _as_value(name: str, value: Any, kind: Any) -> Any:
    """Return one value as an option's type: a choice, a truth value, a number, a path or a text."""
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise UserError(f"`{name}` {value!r}: give one of {', '.join(map(repr, choices))}")
        return value
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if kind is int and whole:
        return int(value)
    if kind is float and (whole or isinstance(value, Real)):
        return float(value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind in (str, Path) and isinstance(value, (str, os.PathLike)):
        return kind(os.fspath(value))
    wanted = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", Path: "a path"}
    raise UserError(f"`{name}` {value!r}: give {wanted[kind]}")


def texts_of(kind: type) -> dict[str, tuple[str, str]]:
    """Return the help text of each option, and in words its default, where that is not its value."""
    hints = typing.get_type_hints(kind, include_extras=True)
    plain = typing.get_type_hints(kind)
    below = _texts_below_fields(kind)
    found: dict[str, tuple[str, str]] = {}
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(plain[field.name]):
            found |= texts_of(plain[field.name])
            continue
        text, default = below.get(field.name, ""), ""
        for each in getattr(hints[field.name], "__metadata__", ()):
            text = getattr(each, "help", None) or text
            default = getattr(each, "help_behavior_hint", None) or default
        found[field.name] = text, default
    return found


def _texts_below_fields(kind: type) -> dict[str, str]:
    """Return the docstring below each field of a class, which the command line shows as the option's help."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def _described(function: Callable[..., Any], kind: type, texts: dict[str, str]) -> str:
    """Return the function's docstring with the description of each argument before its part "Returns"."""
    options = texts_of(kind)
    lines = ["Args:"]
    for name, parameter in inspect.signature(function).parameters.items():
        text, default = options.get(name, ("", ""))
        if name in texts:
            text = texts[name]
        elif default and parameter.default is not inspect.Parameter.empty:
            text += f" {default}"
        assert text, f"{function.__name__}: no description of the argument {name}"
        described = f"{name}: {with_arguments(text)}"
        lines += textwrap.wrap(described, WIDTH, initial_indent="    ", subsequent_indent=" " * 8)
    before, returns, after = inspect.cleandoc(function.__doc__ or "Returns:").partition("Returns:")
    return before + "\n".join(lines) + "\n\n" + returns + after
