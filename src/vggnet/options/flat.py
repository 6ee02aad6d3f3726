"""Options by name, whatever group they are in: config.json and the command line know no groups."""

import dataclasses
from typing import Any, TypeVar, get_type_hints

Options = TypeVar("Options")


def flat(options: Any) -> dict[str, Any]:
    """Return the value of each option by its name, in the order of the fields."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        values |= flat(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return values


def flat_fields(kind: Any) -> dict[str, tuple[Any, Any]]:
    """Return the type and the default of each option of a dataclass by name; None is the default of a required one."""
    found: dict[str, tuple[Any, Any]] = {}
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            found |= flat_fields(hints[field.name])
        else:
            found[field.name] = hints[field.name], None if field.default is dataclasses.MISSING else field.default
    return found


def changed(options: Options, **values: Any) -> Options:
    """Return options with other values, given by name. Raises TypeError for a name that no option has."""
    own: dict[str, Any] = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        group = getattr(options, field.name)
        if dataclasses.is_dataclass(group):
            inner = {each.name: values.pop(each.name) for each in dataclasses.fields(group) if each.name in values}
            own[field.name] = changed(group, **inner)
    return dataclasses.replace(options, **own | values)  # type: ignore[type-var]
