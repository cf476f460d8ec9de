"""What OpenTelemetry's exporters log of themselves, taken out of the log where somebody else says it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

_EXPORTERS = "opentelemetry.exporter"
_QUEUES = "opentelemetry.sdk._shared_internal"
_SELDOM_S = 60.0

_reasons: ContextVar[list[str] | None] = ContextVar("pais_sdk_export_reasons", default=None)
_guard = threading.Lock()


@contextmanager
def heard_reasons() -> Generator[list[str]]:
    """Give the list of what exporters complain of while the block runs; none of it gets into the log."""
    reasons: list[str] = []
    token = _reasons.set(reasons)
    try:
        yield reasons
    finally:
        _reasons.reset(token)


def quiet_exporters() -> None:
    """Make this process able to hear reasons; what is logged outside of `heard_reasons` is once a minute."""
    logger = logging.getLogger(_EXPORTERS)
    with _guard:
        if not any(isinstance(handler, _Reasons) for handler in logger.handlers):
            logger.addHandler(_Reasons())
            logger.propagate = False
            logging.getLogger(_QUEUES).addFilter(Seldom())


class _Reasons(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom()

    def emit(self, record: logging.LogRecord) -> None:
        reasons = _reasons.get()
        if reasons is not None and record.levelno >= logging.WARNING:
            reasons.append(record.getMessage())
            return
        above = logging.getLogger(_EXPORTERS).parent
        if above is not None and self._seldom.filter(record):
            above.handle(record)


class Seldom(logging.Filter):
    """Lets each message through once a minute, such as that a queue is full."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._until: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        if now < self._until.get(str(record.msg), now):
            return False
        self._until[str(record.msg)] = now + _SELDOM_S
        return True
