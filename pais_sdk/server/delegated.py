"""What a request says of the delegation that it is a part of: its headers, as options of its run."""

from __future__ import annotations

import math
from urllib.parse import unquote

from starlette.requests import Request

from .._delegation_wire import CHAIN_HEADER, LONGEST_AGENT_ID, TIMEOUT_HEADER, is_agent_id
from ..runtime import RunOptions
from .errors import WireError, invalid

_MAX_IDS = 64


def delegated_options(request: Request) -> RunOptions:
    """Return the chain of agents that a task comes from, and the time that it has; nothing where nothing is said.

    Raises:
        WireError: A header makes no sense; the text names it.
    """
    options: RunOptions = {}
    chain = request.headers.getlist(CHAIN_HEADER)
    if chain:
        options["chain"] = _chain(",".join(chain))
    timeout = request.headers.get(TIMEOUT_HEADER)
    if timeout is not None:
        options["timeout_s"] = _timeout_s(timeout)
    return options


def _chain(text: str) -> list[str]:
    ids = [unquote(item.strip()) for item in text.split(",")]
    fits = all(map(is_agent_id, ids))
    if len(ids) > _MAX_IDS or not fits:
        raise _wrong(
            CHAIN_HEADER,
            f"at most {_MAX_IDS} ids of 1 to {LONGEST_AGENT_ID} printable characters, separated by commas, and "
            "percent-encoded where they have a comma, `%` or what is no ASCII",
        )
    return ids


def _timeout_s(text: str) -> float:
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = 0
    if not 0 < timeout_s < math.inf:
        raise _wrong(TIMEOUT_HEADER, "a number of seconds, more than 0 and finite")
    return timeout_s


def _wrong(header: str, wanted: str) -> WireError:
    return invalid(f"the header {header} must be {wanted}", param=header)
