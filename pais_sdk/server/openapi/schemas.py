"""The schemas of the description of the API, generated from the types that the handlers read and return."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from ..answers.chat import ChatCompletionChunk
from ..answers.common import Error
from ..chat_request import REFUSED, ChatMessage, ChatRequest
from .content import MESSAGE_KINDS, MessageKind

Schema: TypeAlias = dict[str, Any]
SESSION_ID: Schema = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
STREAM_EVENT = "StreamEvent"
_NULL: Schema = {"type": "null"}


def ref(name: str) -> Schema:
    """Return the reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def stream_of(held: Schema, *last: Schema) -> Schema:
    """Return the schema of a server-sent event that holds JSON data, or, as the last one, something else."""
    data: Schema = {"type": "string", "contentMediaType": "application/json", "contentSchema": held}
    fields: dict[str, Schema] = {"data": {"anyOf": [*last, data]} if last else data}
    return {"type": "object", "properties": fields, "required": ["data"]}


def schemas(
    answers: Iterable[Any], bodies: Iterable[Any], *, max_messages: int, efforts: list[str]
) -> dict[str, Schema]:
    """Return the schemas of the requests and of the answers, and of what they are made of, by name.

    Args:
        answers: The types that handlers return.
        bodies: The types that they read.
        max_messages: The most messages that one request may have.
        efforts: What the agent takes as `effort`.
    """
    types: list[tuple[str, Literal["validation", "serialization"], Any]] = [
        *((body.__name__, "validation", body) for body in bodies),
        *((kind.name, "validation", kind.content) for kind in MESSAGE_KINDS),
        *((answer.__name__, "serialization", answer) for answer in (*answers, Error, ChatCompletionChunk)),
    ]
    made, definitions = TypeAdapter.json_schemas(
        [(name, mode, TypeAdapter(kind)) for name, mode, kind in types],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Terse,
    )
    found: dict[str, Schema] = definitions["$defs"]
    message = found.pop(ChatMessage.__name__)
    found |= {kind.name: _of_role(message, kind, made[kind.name, "validation"]) for kind in MESSAGE_KINDS}
    fields: dict[str, Schema] = found[ChatRequest.__name__]["properties"]
    fields["messages"] |= {"items": {"anyOf": [ref(kind.name) for kind in MESSAGE_KINDS]}, "maxItems": max_messages}
    fields["session_id"] |= _or_null(SESSION_ID)
    if efforts:
        fields["effort"] |= _or_null({"type": "string", "enum": efforts})
    else:
        fields["effort"] = {**_NULL, "description": "This agent has no levels of effort."}
    for name, (harmless, reason) in REFUSED.items():
        why = f"Other values are refused with the code `unsupported_parameter`: {reason}."
        about = fields.get(name, {}).get("description", "")
        fields[name] = {"enum": list(harmless), "description": f"{about} {why}".lstrip()}
    found[STREAM_EVENT] = _stream_event()
    return dict(sorted(found.items()))


def _stream_event() -> Schema:
    held = {"anyOf": [ref(ChatCompletionChunk.__name__), ref(Error.__name__)]}
    about = (
        "One of the server-sent events of a stream. The last is `[DONE]`; a run that fails after the headers were sent "
        "ends with an Error in place of it. Comment lines keep the connection alive."
    )
    return {"title": STREAM_EVENT, "description": about, **stream_of(held, {"const": "[DONE]"})}


def _of_role(message: Schema, kind: MessageKind, content: Schema) -> Schema:
    fields: dict[str, Schema] = {
        **message["properties"],
        "role": {"type": "string", "enum": [*kind.roles]},
        "content": content,
    }
    for name in kind.required:
        fields[name] = {**fields[name], "anyOf": [one for one in fields[name]["anyOf"] if one != _NULL]}
    required = ["role", *kind.required]
    return {**message, "title": kind.name, "description": kind.about, "properties": fields, "required": required}


def _or_null(*allowed: Schema) -> Schema:
    return {"anyOf": [*allowed, _NULL]}


class _Terse(GenerateJsonSchema):
    """Leaves out what says nothing: titles that repeat a field's name, and null as the default of what may be null."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        generated = super().default_schema(schema)
        if "default" in generated and generated["default"] is None:
            del generated["default"]
        return generated
