"""A task in the form in which it is kept."""

from __future__ import annotations

from a2a.types.a2a_pb2 import Artifact, Message, Part, Task

from .task_states import ENDED

PROGRESS = "progress"
"""The key of a task's metadata under which the newest of its run's progress is."""


def as_stored(task: Task) -> None:
    """Bring a task into the form in which it is kept, in place.

    Pieces of text become one part, because readers take a part for a paragraph; and what a run does on its way is of
    no interest when it has ended.
    """
    for artifact in task.artifacts:
        _join_texts(artifact)
    if task.status.state in ENDED and PROGRESS in task.metadata:
        del task.metadata[PROGRESS]


def _join_texts(artifact: Artifact) -> None:
    if len(artifact.parts) < 2:
        return
    joined: list[Part] = []
    texts: list[str] = []
    for part in artifact.parts:
        if _is_plain_text(part):
            if not texts:
                joined.append(part)
            texts.append(part.text)
        elif part.WhichOneof("content") is not None:
            _close(joined, texts)
            joined.append(part)
    _close(joined, texts)
    kept = [Part.FromString(part.SerializeToString()) for part in joined]
    del artifact.parts[:]
    artifact.parts.extend(kept)


def _close(joined: list[Part], texts: list[str]) -> None:
    if texts:
        joined[-1].text = "".join(texts)
        texts.clear()


def _is_plain_text(part: Part) -> bool:
    return part.WhichOneof("content") == "text" and not part.HasField("metadata")


def without_files(message: Message) -> Message:
    """Return a message as a task's history keeps it: of files their names and types, for each save writes it again."""
    kept = Message()
    kept.CopyFrom(message)
    for part in kept.parts:
        if part.WhichOneof("content") == "raw":
            part.raw = b""
    return kept
