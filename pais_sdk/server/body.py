"""Read a request's body, up to a limit."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from .errors import WireError, invalid


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body.

    Raises:
        WireError: It is larger than `max_bytes`; told by its length before it is read, where that was sent.
        ClientDisconnect: The client hung up meanwhile.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _too_large(max_bytes: int) -> WireError:
    return invalid(f"the body is larger than {max_bytes} bytes", status=413)
