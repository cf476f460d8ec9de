"""Calls that must be over in time, whatever they wait for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

_log = logging.getLogger("pais_sdk.telemetry")


def all_within(timeout_s: float, calls: Sequence[Callable[[float], bool]]) -> bool:
    """Make calls at the same time, each in a thread of its own; return whether all returned True in time.

    Args:
        timeout_s: Seconds after which those that are not done are left to themselves.
        calls: They get the seconds that they have themselves.
    """
    until = time.monotonic() + timeout_s
    results: list[bool] = []

    def make(call: Callable[[float], bool], left_s: float) -> None:
        try:
            results.append(call(left_s))
        except Exception as error:  # noqa: BLE001 - where a thread ends; exporters fail in ways of their own
            _log.warning("telemetry does not end as it should: %s", error or type(error).__name__)

    threads = [threading.Thread(target=make, args=(call, 0.9 * timeout_s), daemon=True) for call in calls]
    for place, (thread, call) in enumerate(zip(threads, calls, strict=True)):
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, and starts no thread any more
            make(call, max(0.0, until - time.monotonic()) / (len(calls) - place))
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, until - time.monotonic()))
    return results.count(True) == len(calls)
