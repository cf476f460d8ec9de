"""The parts of an A2A message as what an agent is asked."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from a2a.types.a2a_pb2 import Message, Part
from a2a.utils.errors import ContentTypeNotSupportedError, InvalidParamsError
from google.protobuf.json_format import MessageToDict
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    UserContent,
    VideoUrl,
)

from ..._delegation_wire import CONTEXT_ROLE
from ..._http_url import is_http_url
from .media_types import DOCUMENTS, FAMILIES, TEXTS
from .numbers import whole_numbers

_URL_KINDS: dict[str, type[ImageUrl | AudioUrl | VideoUrl]] = {"image": ImageUrl, "audio": AudioUrl, "video": VideoUrl}


@dataclass(frozen=True)
class Question:
    """What one message asks of the agent."""

    prompt: str | Sequence[UserContent]
    instructions: str | None
    """The texts that came as context of the task and are not the task."""
    store: bool
    """Whether the run is kept."""


def read_question(message: Message) -> Question:
    """Return what a message asks.

    Raises:
        InvalidParamsError: It has nothing for the agent, or a part makes no sense; the text names it.
        ContentTypeNotSupportedError: A file is of a kind that no model takes.
    """
    instructions: list[str] = []
    content: list[UserContent] = []
    for index, part in enumerate(message.parts):
        kind = part.WhichOneof("content")
        if kind == "text" and _is_context(part):
            instructions.append(part.text)
        elif kind == "text":
            content.append(part.text)
        elif kind == "data":
            # Sorted, because Protobuf keeps no order, and equal messages should be equal prompts.
            content.append(json.dumps(whole_numbers(MessageToDict(part.data)), ensure_ascii=False, sort_keys=True))
        elif kind is not None:
            content.append(_file(part, f"message.parts[{index}]"))
    content = [item for item in content if item != ""]
    if not content:
        raise InvalidParamsError("message.parts has nothing for the agent; send text, data or a file")
    texts = [item for item in content if isinstance(item, str)]
    prompt = "\n".join(texts) if len(texts) == len(content) else content
    store = "store" not in message.metadata or message.metadata["store"] is not False
    return Question(prompt, "\n\n".join(filter(None, instructions)) or None, store)


def _is_context(part: Part) -> bool:
    return "role" in part.metadata and part.metadata["role"] == CONTEXT_ROLE


def _file(part: Part, where: str) -> UserContent:
    path = part.filename
    if part.WhichOneof("content") == "url":
        if not is_http_url(part.url):
            raise InvalidParamsError(f"{where}.url must be an http or https URL")
        path = path or urlsplit(part.url).path
    stated = part.media_type.partition(";")[0].strip().lower()
    media_type = stated or mimetypes.guess_type(path)[0]
    if media_type is None:
        raise ContentTypeNotSupportedError(f"{where} needs a mediaType: its name does not tell one")
    family = media_type.partition("/")[0]
    if family not in FAMILIES and media_type not in TEXTS | DOCUMENTS:
        raise ContentTypeNotSupportedError(
            f"{where} is of media type {media_type[:100]!r}; the agent takes text, images, audio, video, JSON, XML, "
            "YAML, PDF and documents of Word and Excel"
        )
    if part.WhichOneof("content") == "url":
        return _URL_KINDS.get(family, DocumentUrl)(part.url, media_type=media_type)
    return BinaryContent(part.raw, media_type=media_type)
