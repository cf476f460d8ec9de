"""The messages of a request, role by role, as the description of the API tells them.

`server/content.py` reads them; it takes them apart by hand, to name the part that is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict

_BASE64 = "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_DATA_URL = f"data:[^,]*;base64,{_BASE64}"


class TextPart(TypedDict):
    """Text."""

    type: Literal["text"]
    text: Annotated[str, Field(min_length=1)]


class RefusalPart(TypedDict):
    """Why an assistant did not answer."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(TypedDict):
    """Where a picture is."""

    url: Annotated[str, Field(pattern=f"^(https?://|{_DATA_URL})", description="An http, https or data URL.")]


class ImagePart(TypedDict):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Audio(TypedDict):
    """A recording."""

    data: Annotated[str, Field(pattern=f"^{_BASE64}", description="Base64.")]
    format: Literal["wav", "mp3"]


class AudioPart(TypedDict):
    """Speech, or another sound."""

    type: Literal["input_audio"]
    input_audio: Audio


class FileData(TypedDict):
    """A file as such; ids of files are not supported."""

    file_data: Annotated[str, Field(pattern=f"^{_DATA_URL}", description="`data:<media type>;base64,<data>`.")]


class FilePart(TypedDict):
    """A file."""

    type: Literal["file"]
    file: FileData


@dataclass(frozen=True)
class MessageKind:
    """What `ChatMessage` means in some roles."""

    name: str
    about: str
    roles: tuple[str, ...]
    content: Any
    """The type of its content."""
    required: tuple[str, ...] = ()
    """The fields that it must have, beside its role."""


_UserPart: TypeAlias = TextPart | ImagePart | AudioPart | FilePart

MESSAGE_KINDS = (
    MessageKind(
        "UserMessage",
        "Input; several after the last assistant message are joined by blank lines.",
        ("user", "task-delegation"),
        Annotated[str, Field(min_length=1)] | Annotated[list[_UserPart], Field(min_length=1)],
        required=("content",),
    ),
    MessageKind(
        "InstructionMessage",
        "Instructions of this run, added to the agent's, wherever they stand.",
        ("system", "developer"),
        str | list[TextPart] | None,
    ),
    MessageKind(
        "AssistantMessage",
        "History. Tools that it called are not called again.",
        ("assistant",),
        str | list[TextPart | RefusalPart] | None,
    ),
    MessageKind(
        "ToolMessage",
        "The result of a tool call of an assistant message before it.",
        ("tool",),
        str | list[TextPart] | None,
        required=("tool_call_id",),
    ),
)
