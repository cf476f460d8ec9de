"""Read a request's body, up to a limit."""

from __future__ import annotations

import anyio
from starlette.requests import ClientDisconnect, Request

from .errors import WireError, invalid

_DISCARD_BYTES = 64 * 1024 * 1024
_DISCARD_S = 5.0


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body.

    Raises:
        WireError: It is larger than `max_bytes`.
        ClientDisconnect: The client hung up meanwhile.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > _DISCARD_BYTES + max_bytes:
        raise _too_large(max_bytes)  # nobody should send all of that first
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        piece, more = await _next_piece(request)
        size += len(piece)
        if size > max_bytes:
            pieces.clear()
            if more:
                await discard_body(request)
            raise _too_large(max_bytes)
        pieces.append(piece)
    return b"".join(pieces)


def _too_large(max_bytes: int) -> WireError:
    return invalid(f"the body is larger than {max_bytes} bytes", status=413)


async def discard_body(request: Request) -> None:
    """Read on for a while what nobody wants: most clients send all of a body before they read the answer."""
    size, more = 0, True
    with anyio.move_on_after(_DISCARD_S):
        while more and size < _DISCARD_BYTES:
            piece, more = await _next_piece(request)
            size += len(piece)


async def _next_piece(request: Request) -> tuple[bytes, bool]:
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)
