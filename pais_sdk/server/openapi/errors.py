"""The statuses of failed requests, as the description of the API tells them; the errors are in `server/errors.py`."""

from __future__ import annotations

from typing import Any

from ..answers.common import Error
from .schemas import SESSION_ID, ref

HEADERS: dict[str, dict[str, Any]] = {
    "X-Session-ID": {
        "description": "The session of the run.",
        "schema": SESSION_ID,
    },
    "Retry-After": {"description": "Seconds to wait for.", "schema": {"type": "integer", "minimum": 0}},
    "x-should-retry": {
        "description": "Tells clients of OpenAI's API not to try again by themselves: a second try would be paid for, "
        "or would wait in vain once more.",
        "schema": {"type": "string", "enum": ["false"]},
    },
    "WWW-Authenticate": {"required": True, "schema": {"type": "string", "enum": ["Bearer"]}},
    "ETag": {"description": "For `If-None-Match`.", "required": True, "schema": {"type": "string"}},
    "Last-Modified": {"description": "For `If-Modified-Since`.", "required": True, "schema": {"type": "string"}},
    "Cache-Control": {"required": True, "schema": {"type": "string"}},
    "Vary": {"description": "The headers of the request that its URLs depend on.", "schema": {"type": "string"}},
    "Allow": {
        "description": "The methods that the path takes.",
        "required": True,
        "schema": {"type": "string"},
    },
}

KEPT_HEADERS = ("ETag", "Last-Modified", "Cache-Control", "Vary")
"""Those of an answer that clients may keep."""

# What a status means where a route does not say it more exactly, and the headers that may come with it.
_ERRORS: dict[int, tuple[str, tuple[str, ...]]] = {
    400: ("The request is wrong: `message` says how, and `param` names the field or parameter.", ()),
    401: ("`authentication_error`: a valid key is missing.", ("WWW-Authenticate",)),
    403: ("`origin_not_allowed` or `host_not_allowed`: a web page that may not call the agent.", ()),
    404: ("There is nothing at this path.", ()),
    405: ("The path does not take the method of the request; `Allow` names those it does.", ("Allow",)),
    409: ("`session_busy`: another run holds the session.", ("x-should-retry",)),
    413: ("The body is too large.", ()),
    422: ("`max_steps`: the agent reached its limit of model requests before it had an answer.", ("x-should-retry",)),
    429: (
        "`rate_limit_exceeded`: too many runs are active, or the model's provider limits the rate of requests.",
        ("Retry-After",),
    ),
    500: ("`server_error`: the agent failed.", ("x-should-retry",)),
    502: ("`upstream_error`: the model's provider refused, failed or could not be reached.", ("x-should-retry",)),
    503: (
        "`memory_unavailable`: the memory does not answer.",
        ("Retry-After", "x-should-retry"),
    ),
    504: ("`timeout`: the run took longer than it may.", ("x-should-retry",)),
}

_BEFORE_THE_SESSION = (401, 403, 405)


def error_response_of(status: int, description: str | None, *, of_run: bool) -> dict[str, Any]:
    """Return the description of one failure of one route.

    Args:
        status: The HTTP status.
        description: What it means there, in place of the common text.
        of_run: Whether the route makes runs, which tell their session also where they fail.
    """
    common, headers = _ERRORS[status]
    if of_run and status not in _BEFORE_THE_SESSION:
        headers = ("X-Session-ID", *headers)
    response: dict[str, Any] = {"description": description or common}
    if headers:
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    response["content"] = {"application/json": {"schema": ref(Error.__name__)}}
    return response
