"""Describe the JSON API as a page for people, from its OpenAPI description. Nothing is loaded from another host."""

from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup, escape

Schema = dict[str, Any]


def description_page(api: Schema) -> str:
    """Return the page (HTML) for an OpenAPI description."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((files("vggnet.serving") / "page" / "docs.html").read_text(encoding="utf-8"))
    return template.render(api=api, kind=_kind, fields=lambda schema: _fields(api, schema), coded=_coded)


def _coded(text: str) -> Markup:
    """Return a text as HTML, with what stands in backticks as code."""
    parts = (escape(part) for part in text.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def _kind(schema: Schema) -> str:
    """Return a value's type in words: list of integer, center or dense, text or nothing."""
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if "items" in schema else f"{schema.get('maxItems', '')} numbers"
    return str(schema.get("type", "bytes"))


def _fields(api: Schema, schema: Schema) -> list[tuple[str, str, str]]:
    """Return (name, type, text) of each field of an answer, and of the objects in its lists."""
    if schema.get("type") == "array":
        schema = schema.get("items", {})  # a tuple of numbers has none
    if "$ref" not in schema:
        return []
    properties = _resolved(api, schema).get("properties", {})
    found = []
    for name, field in properties.items():
        found.append((name, _kind(field), _text(api, field)))
        inner = field.get("items", field)
        found += [(f"{name}.{below}", kind, text) for below, kind, text in _fields(api, inner)]
    return found


def _text(api: Schema, field: Schema) -> str:
    if "description" in field:
        return str(field["description"])
    inner = field.get("items", field)
    return str(_resolved(api, inner).get("description", "")) if "$ref" in inner else ""


def _resolved(api: Schema, schema: Schema) -> Schema:
    found: Schema = api["components"]["schemas"][_kind(schema)]
    return found
