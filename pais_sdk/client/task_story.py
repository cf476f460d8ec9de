"""What is known of an A2A task, from all that was said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .._whole_text import whole_text
from .a2a_news import RUNNING, Content, Piece, TaskNews
from .progress import read_progress
from .reply import MAX_ANSWER_BYTES
from .values import RemoteAnswer, RemoteEvent, RemoteProgress, RemoteProtocol, RemoteText, RemoteUsage

_PER_PIECE = 64  # what a piece takes beside its characters


class TooLongError(Exception):
    """An answer is longer than anybody wants to hold."""


class TaskStory:
    """Puts news together, and says what of them the caller hears.

    Args:
        protocol: How the agent is spoken to.
        agent: Its name.
    """

    def __init__(self, protocol: RemoteProtocol, agent: str) -> None:
        self._protocol: RemoteProtocol = protocol
        self._agent = agent
        self.task_id = ""
        self.state = ""
        self.words = ""
        self.error_type = ""
        self._session_id = ""
        self._usage = RemoteUsage()
        self._artifacts: dict[str, _Artifact] = {}
        self._answer: str | None = None
        self._last_said = ""
        self._output = ""
        self._told: list[str] = []
        self._told_in_order = True
        self._size = 0
        self._status_told = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes by itself."""
        return self.state not in RUNNING

    def take(self, news: TaskNews) -> list[RemoteEvent]:
        """Take note of news and return what the caller hears of them.

        Raises:
            TooLongError: It is too much.
        """
        self.task_id = self.task_id or news.task_id
        self._session_id = news.session_id or self._session_id
        self._usage = news.usage or self._usage
        self._answer = news.answer if news.answer is not None else self._answer
        self._last_said = news.last_said or self._last_said
        self._output = news.output or self._output
        if news.state:
            self.state, self.words, self.error_type = news.state, news.words, news.error_type
        events: list[RemoteEvent] = []
        if (progress := read_progress(news.progress)) is not None:
            events.append(progress)
        elif news.words and not self.ended and news.words != self._status_told:
            self._status_told = news.words
            events.append(RemoteProgress("status", self._agent, {"text": whole_text(news.words)}))
        if news.artifacts:
            self._replace(news.artifacts)
        if news.piece is not None:
            events += self._add(news.piece)
        return [*events, *self._rest()] if news.artifacts else events

    def answer(self) -> list[RemoteEvent]:
        """Return what is left to tell when the task has ended: the rest of the text, and the answer."""
        text = self._text() if self.state == "completed" else self._question()
        rest = self._rest(text) if self.state == "completed" else []
        answer = RemoteAnswer(
            text=whole_text(text),
            protocol=self._protocol,
            session_id=self._session_id or None,
            task_id=self.task_id or None,
            usage=self._usage,
        )
        return [*rest, answer]

    def _replace(self, artifacts: Mapping[str, Content]) -> None:
        self._artifacts, self._size = {}, 0
        for artifact_id, content in artifacts.items():
            self._put(artifact_id, content)

    def _add(self, piece: Piece) -> list[RemoteEvent]:
        known = self._artifacts.get(piece.artifact_id)
        if known is not None and not piece.append:
            self._told_in_order = False  # what was told of it is not true any more
            known.texts, known.others = [], []
        begins = known is None and bool(self._told)
        self._put(piece.artifact_id, piece.content)
        is_last = next(reversed(self._artifacts)) == piece.artifact_id
        if not piece.content.text:
            return []
        if not (is_last and self._told_in_order):
            self._told_in_order = False
            return []
        return [self._tell(f"\n\n{piece.content.text}" if begins else piece.content.text)]

    def _put(self, artifact_id: str, content: Content) -> None:
        self._size += len(artifact_id) + len(content.text) + len(content.other) + _PER_PIECE
        if self._size > MAX_ANSWER_BYTES:
            raise TooLongError
        artifact = self._artifacts.setdefault(artifact_id, _Artifact())
        artifact.texts.append(content.text)
        artifact.others.append(content.other)

    def _tell(self, text: str) -> RemoteText:
        self._told.append(text)
        return RemoteText(text)

    def _rest(self, text: str | None = None) -> list[RemoteEvent]:
        """Return what of the text the caller has not heard, where it follows what it has heard."""
        text = self._artifact_text() if text is None else text
        told = "".join(self._told)
        if not text.startswith(told):
            self._told_in_order = False
            return []
        self._told = [told]
        self._told_in_order = True
        return [self._tell(text[len(told) :])] if len(text) > len(told) else []

    def _artifact_text(self) -> str:
        return "\n\n".join(filter(None, ("".join(artifact.texts) for artifact in self._artifacts.values())))

    def _other(self) -> str:
        others = (other for artifact in self._artifacts.values() for other in artifact.others)
        return "\n".join(filter(None, others))

    def _text(self) -> str:
        # KAOS's agents say how it went in words of the status, and the answer elsewhere.
        said = [self.words, self._last_said, self._output]
        if self._protocol == "a2a-kaos":
            said.reverse()
        texts = [self._answer, self._artifact_text(), self._other(), *said]
        return next(filter(None, texts), "")

    def _question(self) -> str:
        asked = self.words or self._last_said or self._artifact_text()
        return f"The agent asks for more before it goes on: {asked}" if asked else "The agent asks for more, not what."


@dataclass
class _Artifact:
    texts: list[str] = field(default_factory=list[str])
    others: list[str] = field(default_factory=list[str])
