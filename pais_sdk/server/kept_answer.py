"""Answers that clients keep for a while and then ask about: 304 where they are as they were."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


def kept_answer(
    request: Request, answer: Response, *, changed_at: float, cache_control: str, vary: tuple[str, ...]
) -> Response:
    """Return the answer with its validators, or a 304 in its place for a client that has it.

    Args:
        request: Its If-None-Match counts; where it has none, its If-Modified-Since.
        answer: Complete, not a stream.
        changed_at: When what it says changed last, in seconds since 1970.
        cache_control: How long it may be kept.
        vary: The headers of the request that it depends on.
    """
    # Weak, because whatever compresses the answer on its way makes other bytes of it.
    tag = f'"{sha256(bytes(answer.body)).hexdigest()[:32]}"'
    changed = datetime.fromtimestamp(int(changed_at), UTC)
    headers = {
        "ETag": f"W/{tag}",
        "Last-Modified": format_datetime(changed, usegmt=True),
        "Cache-Control": cache_control,
    }
    if vary:
        headers["Vary"] = ", ".join(vary)
    if _is_known(request, tag, changed):
        return Response(status_code=304, headers=headers)
    answer.headers.update(headers)
    return answer


def _is_known(request: Request, tag: str, changed: datetime) -> bool:
    asked = request.headers.getlist("if-none-match")
    if asked:
        return any(value.strip() == "*" or tag in _ENTITY_TAG.findall(value) for value in asked)
    since = _date(request.headers.get("if-modified-since", ""))
    return since is not None and changed <= since


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None  # a date that cannot be read counts as none
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
