"""GET /openapi.json and GET /docs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from ..answers.common import ApiDocument
from ..public_url import public_url

if TYPE_CHECKING:
    from ..app import AgentServer

_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class DescriptionEndpoints:
    """Both are made from one document, and that when it is first asked for: most servers never are."""

    def __init__(self, server: AgentServer) -> None:
        self._server = server

    async def document(self, request: Request) -> JSONResponse:
        """Give the OpenAPI document."""
        return JSONResponse(self._at(request))

    async def page(self, request: Request) -> HTMLResponse:
        """Give it as a page to be read."""
        from .page import reference_page

        return HTMLResponse(reference_page(self._at(request)), headers=_PAGE_HEADERS)

    def _at(self, request: Request) -> ApiDocument:
        return {**self._document, "servers": [{"url": public_url(request, self._server.settings)}]}

    @cached_property
    def _document(self) -> ApiDocument:
        from .document import document_of

        return document_of(self._server)
