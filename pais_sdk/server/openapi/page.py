"""The description of the API as one page for people; it loads nothing: no script, no font, no style sheet."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ..answers.common import ApiDocument
from .page_schema import code, fields, marked, paragraphs, shape, table, words

_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #f3f5f7; --link: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --line: #3a4149; --soft: #1d2228; --link: #8ab4f8; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
a { color: var(--link); }
code { background: var(--soft); padding: .1em .3em; border-radius: 4px; overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; padding-top: .5rem; border-top: 1px solid var(--line); }
h2 code { background: none; padding: 0; }
.wide, pre { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
nav li { list-style: none; } nav ul { padding: 0; }
"""


def reference_page(document: ApiDocument) -> str:
    """Return an OpenAPI document as an HTML page."""
    title = escape(document["info"]["title"])
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: HTTP API</title><style>{_STYLE}</style></head><body>\n"
        f"{_head(document)}\n<nav><ul>{''.join(_link(*operation) for operation in operations)}"
        '<li><a href="#schemas">Schemas</a></li></ul></nav>\n<main>\n'
        f"{''.join(_route(name, operation, schemas) for name, operation in operations)}"
        f'<h2 id="schemas">Schemas</h2>\n{"".join(_schema(name, schema) for name, schema in schemas.items())}'
        "</main></body></html>\n"
    )


def _head(document: ApiDocument) -> str:
    info = document["info"]
    where = ", ".join(code(server["url"]) for server in document["servers"])
    schemes: Mapping[str, Any] = document["components"].get("securitySchemes", {})
    keys = "; or ".join(words(scheme["description"]) for scheme in schemes.values())
    return (
        f"<header><h1>{escape(info['title'])}</h1>{paragraphs(info['description'])}"
        f'<p>At {where}. <a href="openapi.json">openapi.json</a> says the same to programs '
        f"(OpenAPI {escape(document['openapi'])}, pais_sdk {escape(info['version'])}).</p>"
        f"{f'<p>Needs a key: {keys}</p>' if keys else ''}</header>"
    )


def _link(name: str, operation: Mapping[str, Any]) -> str:
    return f'<li><a href="#{escape(operation["operationId"])}">{code(name)}</a> {words(operation["summary"])}</li>'


def _route(name: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [
        f'<section id="{escape(operation["operationId"])}"><h2>{code(name)}</h2>',
        f"<p>{words(operation['summary'])}.</p>{paragraphs(operation.get('description', ''))}",
    ]
    if operation.get("security") == []:
        parts.append("<p>Needs no key.</p>")
    if "parameters" in operation:
        rows = (
            (marked(one["name"], one.get("required", False)), escape(one["in"]), shape(one["schema"]), _about(one))
            for one in operation["parameters"]
        )
        parts += ["<h3>Parameters</h3>", table(("name", "in", "value", "about"), rows)]
    if "requestBody" in operation:
        body: Mapping[str, Any] = operation["requestBody"]
        parts += ["<h3>Request</h3>", f"<p>{_content(body)}</p>{paragraphs(body['description'])}"]
        for media in body["content"].values():
            parts.append(f"<pre>{code(media['example'])}</pre>")
            parts.append(fields(schemas[media["schema"]["$ref"].rpartition("/")[2]]))
    parts += ["<h3>Answers</h3>", _answers(operation["responses"]), "</section>\n"]
    return "".join(parts)


def _answers(responses: Mapping[str, Mapping[str, Any]]) -> str:
    return table(
        ("status", "content", "headers", "about"),
        (
            (code(status), _content(response), ", ".join(map(code, response.get("headers", {}))), _about(response))
            for status, response in responses.items()
        ),
    )


def _content(described: Mapping[str, Any]) -> str:
    kinds = (f"{code(kind)}: {shape(media['schema'])}" for kind, media in described.get("content", {}).items())
    return "<br>".join(kinds)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    return (
        f'<section id="schema-{escape(name)}"><h3>{code(name)}</h3><p>{_about(schema)}</p>{fields(schema)}</section>\n'
    )


def _about(described: Mapping[str, Any]) -> str:
    return words(described.get("description", ""))
