"""Replace names of models in a command's options: `vgg16` becomes the folder of that model in the cache.

Which options hold models is marked at their types (`Models`), for the command line and for Python alike.
"""

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Options = TypeVar("Options")
Resolve = Callable[[Any], Any]


@dataclass(frozen=True)
class Models:
    """Mark an option whose values stand for models: a name such as vgg16 is as good there as a path.

    `which` of several values they are; the words in `but` are no models.
    """

    which: Literal["each", "first", "all but last"] = "each"
    but: tuple[str, ...] = ()


def with_models(options: Options, resolve: Resolve) -> Options:
    """Return the options with `resolve` applied to every value that stands for a model; a value keeps its type."""
    changed: dict[str, Any] = {}
    hints = typing.get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            replaced: Any = with_models(value, resolve)
        else:
            mark = next(
                (each for each in getattr(hints[field.name], "__metadata__", ()) if isinstance(each, Models)), None
            )
            replaced = value if mark is None else _resolved(value, mark, resolve)
        if replaced is not value:
            changed[field.name] = replaced
    return dataclasses.replace(options, **changed) if changed else options  # type: ignore[type-var]


def images_of(options: Any) -> tuple[str, ...]:
    """Return the values that name images: DATA, and what follows the models on the command line."""
    hints = typing.get_type_hints(type(options), include_extras=True)
    found: list[str] = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        marks = [each for each in getattr(hints[field.name], "__metadata__", ()) if isinstance(each, Models)]
        if field.name == "data" and isinstance(value, str):
            found.append(value)
        elif marks and isinstance(value, tuple):
            found += value[_models_among(value, marks[0]) :]
    return tuple(found)


def _models_among(values: tuple[Any, ...], mark: Models) -> int:
    """Return how many of the first values are models."""
    return {"each": len(values), "first": 1, "all but last": len(values) - 1}[mark.which]


def _resolved(value: Any, mark: Models, resolve: Resolve) -> Any:
    if not isinstance(value, tuple):
        return value if value is None or value in mark.but else _like(value, resolve)
    last = _models_among(value, mark)
    found = tuple(
        _like(each, resolve) if place < last and each not in mark.but else each for place, each in enumerate(value)
    )
    return value if found == value else found


def _like(value: Any, resolve: Resolve) -> Any:
    """Return what `value` resolves to, as a text or a path like `value`; the same object where nothing changes."""
    found = resolve(value)
    return value if found == value else type(value)(found)
