"""What a chat completion says, whole or in chunks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._whole_text import whole_text
from .failures import Failures
from .json_values import id_in, list_in, mapping_in, text_in
from .progress import progress_in_text, read_progress
from .reply import MAX_ANSWER_BYTES
from .task_story import TooLongError
from .usage import read_usage
from .values import RemoteAnswer, RemoteEvent, RemoteText, RemoteUsage

_PER_PIECE = 64
_KAOS_SESSION = "session_"  # KAOS's agents give the session as the id of the completion, and nowhere else


class ChatStory:
    """Puts the answer together.

    Args:
        failures: The words for what goes wrong.
        session_id: The session, where it is known otherwise.
    """

    def __init__(self, failures: Failures, session_id: str | None) -> None:
        self._failures = failures
        self._session_id = session_id
        self._usage = RemoteUsage()
        self._texts: list[str] = []
        self._size = 0
        self._finished = False

    def whole(self, completion: Any) -> list[RemoteEvent]:
        """Return what an answer that is no stream tells."""
        completion = self._checked(completion)
        choice = next(map(mapping_in, list_in(completion.get("choices"))), mapping_in(None))
        message = mapping_in(choice.get("message"))
        if "content" not in message:
            raise self._failures.unreadable()
        content = message["content"]
        parts = [text_in(mapping_in(part).get("text")) for part in list_in(content)]
        text = text_in(content) or "".join(parts)
        self._about(completion)
        self.finish()
        events: list[RemoteEvent] = [] if not text else [self._text(text)]
        return [*events, self.answer()]

    def take(self, chunk: Any) -> list[RemoteEvent]:
        """Return what a chunk of a stream tells.

        Raises:
            RemoteAgentError: It is an error.
        """
        chunk = self._checked(chunk)
        self._about(chunk)
        events: list[RemoteEvent] = []
        progress = read_progress(mapping_in(chunk.get("progress")))
        if progress is not None:
            events.append(progress)
        for choice in map(mapping_in, list_in(chunk.get("choices"))[:1]):
            text = text_in(mapping_in(choice.get("delta")).get("content"))
            if text:
                events.append(progress_in_text(text) or self._text(text))
            self._finished = self._finished or choice.get("finish_reason") is not None
        return events

    def finish(self) -> None:
        """Take note that the answer is complete."""
        self._finished = True

    def answer(self) -> RemoteAnswer:
        """Return the answer.

        Raises:
            RemoteAgentError: It is not complete.
        """
        if not self._finished:
            raise self._failures.broken_off()
        text = whole_text("".join(self._texts))
        return RemoteAnswer(text=text, protocol="chat", session_id=self._session_id, usage=self._usage)

    def _text(self, text: str) -> RemoteText:
        self._size += len(text) + _PER_PIECE
        if self._size > MAX_ANSWER_BYTES:
            raise TooLongError
        self._texts.append(text)
        return RemoteText(text)

    def _about(self, said: Mapping[str, Any]) -> None:
        self._usage = read_usage(said.get("usage")) or self._usage
        if self._session_id is None:
            completion_id = id_in(said.get("id"))
            kaos_session = completion_id if completion_id.startswith(_KAOS_SESSION) else ""
            self._session_id = id_in(said.get("session_id")) or kaos_session or None

    def _checked(self, said: Any) -> Mapping[str, Any]:
        said = mapping_in(said)
        if said.get("error"):
            raise self._failures.of_error(said["error"])
        if not isinstance(said.get("choices"), list):
            raise self._failures.unreadable()
        return said
