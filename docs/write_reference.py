"""Write the reference: every command with its options, and every public function, from the code's own texts."""

import inspect
import re
import typing
from pathlib import Path
from typing import Any

from tyro.conf import Positional

import vggnet
from vggnet.api import arguments
from vggnet.cli import COMMANDS
from vggnet.options.flat import flat_fields


def write_reference(folder: Path) -> None:
    """Write commands.md and python.md; a file that would not change stays untouched."""
    folder.mkdir(exist_ok=True)
    for name, text in (("commands.md", commands()), ("python.md", python())):
        file = folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def commands() -> str:
    """Return the page of commands."""
    parts = ["# Commands\n\n`vggnet COMMAND --help` prints the same.\n"]
    for name, (kind, _) in COMMANDS.items():
        for option in subcommands(kind):  # LocalizeTrainOptions, DataPackOptions, ...
            word = option.__name__.removeprefix(name.capitalize()).removesuffix("Options").lower()
            parts.append(command(f"{name} {word}", option))
        if not subcommands(kind):
            parts.append(command(name, kind))
    return "\n".join(parts)


def subcommands(kind: type) -> list[type]:
    """Return the options of the subcommands of a command such as `localize`; none of another command."""
    hint = typing.get_type_hints(kind).get("command")
    return [each for each in typing.get_args(hint) if each]


def command(name: str, kind: type) -> str:
    """Return the part of one command: what it does, and a definition of each option."""
    texts = arguments.texts_of(kind)
    hints = typing.get_type_hints(kind, include_extras=True)
    lines = [f"## `vggnet {name}`", "", _paragraph(inspect.getdoc(kind) or ""), ""]
    for field, (hint, default) in flat_fields(kind).items():
        text, when = texts[field]
        positional = Positional in typing.get_args(hints.get(field))
        flag = field.upper() if positional else f"--{field.replace('_', '-')}"
        values = _values(hint)
        ending = when or ("" if default is None or default == () else f"(default: {_shown(default)})")
        lines += [f"`{flag}`{values}", f": {_paragraph(f'{text} {ending}'.strip())}", ""]
    return "\n".join(lines)


def _values(hint: Any) -> str:
    """Return the values of an option that has a set of them: one of `stop`, `skip`."""
    choices = [
        each
        for part in (hint, *typing.get_args(hint))
        if typing.get_origin(part) is typing.Literal
        for each in typing.get_args(part)
    ]
    return f" one of {', '.join(f'`{each}`' for each in choices)}" if choices else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _paragraph(text: str) -> str:
    """Return a text with what Markdown would read as markup escaped, outside backticks."""
    parts = text.split("`")
    escaped = [part if place % 2 else re.sub(r"([<>\[\]*_|])", r"\\\1", part) for place, part in enumerate(parts)]
    return "`".join(escaped)


def python() -> str:
    """Return the page of public functions."""
    parts = ["# Python\n", _paragraph(inspect.cleandoc(vggnet.__doc__ or "").split("\n\n>>>")[0]), ""]
    for name in vggnet.__all__:
        if name == "__version__":
            continue
        found = getattr(vggnet, name)
        if inspect.ismodule(found):
            functions = inspect.getmembers(found, inspect.isfunction)
            own = [(each, one) for each, one in functions if one.__module__ == found.__name__ and each[0] != "_"]
            parts += [entry(f"{name}.{each}", one) for each, one in own]
        else:
            parts.append(entry(name, found))
    return "\n".join(parts)


def entry(name: str, found: Any) -> str:
    """Return the part of one function or class: its signature, and its docstring's sections."""
    heading = f"## `vggnet.{name}`\n"
    if inspect.isclass(found) and issubclass(found, Exception):
        return f"{heading}\n{_sections(inspect.getdoc(found) or '')}\n"
    signature = inspect.signature(found)
    plain = signature.replace(
        parameters=[each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()],
        return_annotation=inspect.Signature.empty,
    )
    return f"{heading}\n```python\nvggnet.{name}{plain}\n```\n\n{_sections(inspect.getdoc(found) or '')}\n"


def _sections(text: str) -> str:
    """Return a docstring as Markdown: paragraphs, a list for each of Args, Returns and Raises, code for Example."""
    lines: list[str] = []
    section = ""
    for line in text.splitlines():
        if re.fullmatch(r"(Args|Returns|Raises|Example|Examples):", line):
            if section.startswith("Example"):
                lines.append("```")
            section = line[:-1]
            lines += ["", f"**{section}**", "", *(["```python"] if section.startswith("Example") else [])]
        elif section.startswith("Example"):
            lines.append(line.removeprefix("    "))
        elif section and (item := re.match(r"    (\w+): (.*)", line)):
            lines.append(f"- `{item[1]}`: {_paragraph(item[2])}")
        elif section:
            lines.append(f"  {_paragraph(line.strip())}" if line.strip() else "")
        else:
            lines.append(_paragraph(line))
    return "\n".join([*lines, *(["```"] if section.startswith("Example") else [])])
