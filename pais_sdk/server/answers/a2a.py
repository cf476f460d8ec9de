"""The frame of A2A's requests and answers; what is in it, the specification of A2A says."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict

RpcId: TypeAlias = str | int | None


class RpcRequest(TypedDict):
    """A call of JSON-RPC 2.0."""

    jsonrpc: Literal["2.0"]
    id: Annotated[RpcId, Field(description="Comes back with the answer.")]
    method: Annotated[
        str, Field(description="`SendMessage`, `SendStreamingMessage`, `GetTask`, ..., or a method of A2A 0.3 or KAOS.")
    ]
    params: NotRequired[dict[str, Any]]


class RpcAnswer(TypedDict):
    """The result of a call, or what kept it from one."""

    jsonrpc: Literal["2.0"]
    id: RpcId
    result: NotRequired[Any]
    error: NotRequired[RpcError]


class RpcError(TypedDict):
    """What went wrong with a call."""

    code: Annotated[int, Field(description="A code of JSON-RPC or of A2A.")]
    message: Annotated[str, Field(description="A sentence for people.")]
    data: Annotated[Any, Field(description="Details; the first has the `reason`, a word for programs.")]
