"""One method of one path, as the description of the API tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..gate import Admits
from .errors import HEADERS, KEPT_HEADERS, error_response_of
from .schemas import STREAM_EVENT, ref, stream_of

_SESSION_HEADER = {"X-Session-ID": {**HEADERS["X-Session-ID"], "required": True}}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path; what it reads and answers are the types that its handler reads and returns."""

    id: str
    path: str
    tag: str
    summary: str
    answer: Any
    """The type of what comes with 200; a text is a media type."""
    method: str = "get"
    description: str = ""
    parameters: tuple[Mapping[str, Any], ...] = ()
    errors: Mapping[int, str | None] = field(default_factory=dict[int, str | None])
    """Statuses beside those that any route may have, and what they mean here; None for the common text."""
    failed: Any = None
    """The type of what comes with 503, where that is not the error object."""
    body: Any = None
    """The type of what it reads; `example` is one."""
    body_notes: str = "JSON in UTF-8, whatever the request's `Content-Type` is."
    example: Mapping[str, Any] | None = None
    makes_runs: bool = False
    """Whether it runs the agent; then the answer may also be a stream."""
    streams: bool = False
    """Whether the answer may also be a stream of answers."""
    is_a2a: bool = False
    """Whether it is there only where A2A is on."""
    is_kept: bool = False
    """Whether clients may keep the answer, and ask with its validators whether it has changed."""
    is_open: bool = False
    """Whether everyone may ask it, also where the others need a key."""

    @property
    def answers(self) -> set[Any]:
        """The types of its answers, beside the error object."""
        return {kind for kind in (self.answer, self.failed) if isinstance(kind, type)}

    def described(self, admits: Admits) -> dict[str, Any]:
        """Return the operation object of a server that admits these callers."""
        told: dict[str, Any] = {"operationId": self.id, "tags": [self.tag], "summary": self.summary}
        if self.description:
            told["description"] = self.description
        if self.parameters:
            told["parameters"] = [dict(parameter) for parameter in self.parameters]
        if self.body is not None:
            told["requestBody"] = {
                "required": True,
                "description": self.body_notes,
                "content": {"application/json": {"schema": ref(self.body.__name__), "example": self.example}},
            }
        told["responses"] = {"200": self._answered()} | self._unchanged() | self._failures(admits)
        if self.is_open and admits == "keys":
            told["security"] = []
        return told

    def _answered(self) -> dict[str, Any]:
        if isinstance(self.answer, str):
            return {"description": "A page.", "content": {self.answer: {"schema": {"type": "string"}}}}
        content: dict[str, Any] = {"application/json": {"schema": ref(self.answer.__name__)}}
        answered: dict[str, Any] = {"description": self.answer.__doc__, "content": content}
        if self.is_kept:
            answered["headers"] = _references(KEPT_HEADERS)
        if self.streams:
            answered["description"] += " Or, of methods that stream, one for each event."
            content["text/event-stream"] = {"schema": stream_of(ref(self.answer.__name__))}
        if self.makes_runs:
            answered["description"] += " Or, with `stream`, its pieces."
            answered["headers"] = _SESSION_HEADER
            content["text/event-stream"] = {"schema": ref(STREAM_EVENT)}
        return answered

    def _unchanged(self) -> dict[str, Any]:
        if not self.is_kept:
            return {}
        return {"304": {"description": "It is as the client has it.", "headers": _references(KEPT_HEADERS)}}

    def _failures(self, admits: Admits) -> dict[str, Any]:
        errors: dict[int, str | None] = {405: None, 500: None, **self.errors}
        if not self.is_open and admits != "everyone":
            errors[401] = None
        # Where no key is needed, a browser may call for a web page of somebody else's.
        if not self.is_open and admits != "keys":
            errors[403] = None
        failures = {status: error_response_of(status, text, of_run=self.makes_runs) for status, text in errors.items()}
        if self.failed is not None:
            content = {"application/json": {"schema": ref(self.failed.__name__)}}
            failures[503] = {"description": self.failed.__doc__, "content": content}
        return {str(status): failures[status] for status in sorted(failures)}


def _references(headers: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
