"""What an A2A agent says about a task, read alike in all dialects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .json_values import id_in, list_in, mapping_in, text_in, writable
from .usage import read_usage
from .values import RemoteUsage

RUNNING = frozenset({"", "submitted", "working"})
"""States of tasks that are not over."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """What parts hold."""

    text: str = ""
    other: str = ""
    """What is no text: data as JSON, files by name and URL."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of an artifact."""

    artifact_id: str
    content: Content
    append: bool


@dataclass(frozen=True, kw_only=True)
class TaskNews:
    """One thing that was said; what it does not say is empty."""

    task_id: str = ""
    session_id: str = ""
    state: str = ""
    """In lower case with hyphens, as 0.3 writes them."""

    words: str = ""
    """The message about the state."""

    error_type: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict[str, Any])
    usage: RemoteUsage | None = None
    piece: Piece | None = None
    artifacts: Mapping[str, Content] | None = None
    """All there are; None where they are not what this is about."""

    last_said: str = ""
    """The agent's last message in the task's history."""

    output: str = ""
    """KAOS's field for the answer."""

    answer: str | None = None
    """The whole answer, of an agent that answers without a task."""


def read_news(result: Any) -> TaskNews | None:
    """Return what a result of JSON-RPC says, plain or in a stream; None where it makes no sense."""
    outer = mapping_in(result)
    kind = text_in(outer.get("kind"))
    for name, kinds, read in (
        ("task", "task", _task),
        ("message", "message", _message),
        ("statusUpdate", "status-update", _status_update),
        ("artifactUpdate", "artifact-update", _artifact_update),
    ):
        if kind == kinds:
            return read(outer)
        if not kind and isinstance(outer.get(name), dict):
            return read(mapping_in(outer[name]))
    return _task(outer) if isinstance(outer.get("status"), dict) else None


def _task(task: Mapping[str, Any]) -> TaskNews:
    artifacts = map(mapping_in, list_in(task.get("artifacts")))
    said = [
        _joined_text(message.get("parts"), "\n")
        for message in map(mapping_in, list_in(task.get("history")))
        if text_in(message.get("role")).lower() in ("agent", "role_agent", "assistant")
    ]
    return TaskNews(
        task_id=id_in(task.get("id")),
        session_id=id_in(task.get("contextId")) or id_in(task.get("sessionId")),
        artifacts={id_in(item.get("artifactId")) or str(place): _content(item) for place, item in enumerate(artifacts)},
        last_said=said[-1] if said else "",
        output=text_in(task.get("output")),
        **_about_state(task),
    )


def _status_update(update: Mapping[str, Any]) -> TaskNews:
    return TaskNews(
        task_id=id_in(update.get("taskId")), session_id=id_in(update.get("contextId")), **_about_state(update)
    )


def _artifact_update(update: Mapping[str, Any]) -> TaskNews:
    artifact = mapping_in(update.get("artifact"))
    piece = Piece(
        artifact_id=id_in(artifact.get("artifactId")), content=_content(artifact), append=update.get("append") is True
    )
    return TaskNews(task_id=id_in(update.get("taskId")), session_id=id_in(update.get("contextId")), piece=piece)


def _message(message: Mapping[str, Any]) -> TaskNews:
    return TaskNews(
        task_id=id_in(message.get("taskId")),
        session_id=id_in(message.get("contextId")),
        usage=_usage(mapping_in(message.get("metadata"))),
        state="completed",
        answer=_joined_text(message.get("parts"), "\n"),
    )


def _about_state(said: Mapping[str, Any]) -> dict[str, Any]:
    status = mapping_in(said.get("status"))
    metadata = mapping_in(said.get("metadata"))
    message = status.get("message")
    words = text_in(message) or _joined_text(mapping_in(message).get("parts"), "\n")
    return {
        "state": text_in(status.get("state")).removeprefix("TASK_STATE_").replace("_", "-").lower(),
        "words": words,
        "progress": mapping_in(metadata.get("progress")),
        "usage": _usage(metadata),
        "error_type": text_in(mapping_in(metadata.get("error")).get("type")),
    }


def _usage(metadata: Mapping[str, Any]) -> RemoteUsage | None:
    return read_usage(metadata.get("usage"))


def _joined_text(parts: Any, between: str) -> str:
    return between.join(_texts(map(mapping_in, list_in(parts))))


def _texts(parts: Iterable[Mapping[str, Any]]) -> list[str]:
    return [text for part in parts if (text := text_in(part.get("text")))]


def _content(artifact: Mapping[str, Any]) -> Content:
    parts = [mapping_in(part) for part in list_in(artifact.get("parts"))]
    # Nothing between texts: a text that came in pieces is kept as so many parts.
    return Content(text="".join(_texts(parts)), other="\n".join(filter(None, map(_other, parts))))


def _other(part: Mapping[str, Any]) -> str:
    if "data" in part:
        return json.dumps(writable(part["data"]), ensure_ascii=False)
    file = mapping_in(part.get("file")) or part
    name = text_in(file.get("filename")) or text_in(file.get("name"))
    url = text_in(file.get("url")) or text_in(file.get("uri"))
    media_type = text_in(file.get("mediaType")) or text_in(file.get("mimeType"))
    facts = [fact for fact in (name, media_type, url) if fact]
    return f"[file: {', '.join(facts)}]" if url or "raw" in file or "bytes" in file else ""
