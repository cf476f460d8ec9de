"""JSON Schemas in words, as HTML. All text is escaped here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_BOUNDS = {
    "minimum": "{} or more",
    "maximum": "{} or less",
    "minItems": "{} or more",
    "maxItems": "{} or fewer",
    "format": "{}",
    "default": "{} by default",
}


def paragraphs(text: str) -> str:
    """Return text as paragraphs."""
    return "".join(f"<p>{words(part)}</p>" for part in re.split(r"\n\s*\n", text) if part.strip())


def words(text: str) -> str:
    """Return text as HTML, with what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def code(value: object) -> str:
    """Return text as code, and any other value as its JSON."""
    return f"<code>{escape(value if isinstance(value, str) else json.dumps(value))}</code>"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of cells that are HTML; nothing where there are no rows."""
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    return f'<div class="wide"><table><tr>{titles}</tr>{lines}</table></div>' if lines else ""


def fields(schema: Mapping[str, Any]) -> str:
    """Return the fields of an object as a table."""
    required: list[str] = schema.get("required", [])
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    return table(
        ("field", "value", "about"),
        ((marked(name, name in required), shape(field), words(_about(field))) for name, field in properties.items()),
    )


def marked(name: str, required: bool) -> str:
    """Return the name of a field or parameter."""
    return code(name) + ("<br><small>required</small>" if required else "")


def shape(schema: Mapping[str, Any]) -> str:
    """Return which values a schema allows."""
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(shape, schema["anyOf"]))
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return ", ".join(code(json.dumps(value)) for value in schema["enum"])
    bounds = ", ".join(_bounds(schema))
    return f"{_kind(schema)} ({bounds})" if bounds else _kind(schema)


def _kind(schema: Mapping[str, Any]) -> str:
    kind: str = schema.get("type", "anything")
    if kind == "array":
        return f"list of {shape(schema.get('items', {}))}"
    if "contentSchema" in schema:
        return f"{shape(schema['contentSchema'])} as text in JSON"
    inner: Any = schema.get("additionalProperties", True)
    return escape(kind) if isinstance(inner, bool) else f"object of {shape(inner)}"


def _bounds(schema: Mapping[str, Any]) -> list[str]:
    said = [escape(text.format(schema[name])) for name, text in _BOUNDS.items() if name in schema]
    return [*said, f"like {code(schema['pattern'])}"] if "pattern" in schema else said


def _about(schema: Mapping[str, Any]) -> str:
    return schema.get("description", "")
