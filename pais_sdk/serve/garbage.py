"""Garbage collection of a process that only serves."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager

_MORE_OBJECTS = 10_000


@contextmanager
def collected_seldom() -> Generator[Callable[[], None]]:
    """Collect nothing while a process starts; call what it gives when it has started.

    What is there then, libraries above all, stays: it is left out of every later collection. With Pydantic AI loaded
    a full one takes about 90 ms, in which no request is answered. For the same reason there is none before: a start
    leaves little garbage. A run makes some thousand objects that mostly go by themselves, so that collections pay
    more rarely than after Python's 700.
    """
    gc.disable()

    def started() -> None:
        gc.freeze()
        gc.set_threshold(_MORE_OBJECTS)
        gc.enable()

    try:
        yield started
    finally:
        gc.enable()
