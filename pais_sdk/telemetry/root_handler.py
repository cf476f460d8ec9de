"""RootHandler: a handler of the root logger that changes nothing else."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Callable
from types import ModuleType
from typing import Any

_CONFIGURING: tuple[tuple[ModuleType, str], ...] = (
    (logging, "basicConfig"),
    (logging.config, "dictConfig"),
    (logging.config, "fileConfig"),
)


class RootHandler:
    """Has a handler on the root logger until `end()`, as if none were there.

    With any handler, `logging.basicConfig` does nothing, and warnings are not shown where nobody set logging up; and
    who does set it up takes handlers away that are there already.
    """

    def __init__(self, handler: logging.Handler) -> None:
        self._ours = (handler, _LastResort(handler))
        self._before = {name: getattr(module, name) for module, name in _CONFIGURING}
        self._during = {name: _around(configure, self._ours) for name, configure in self._before.items()}
        for module, name in _CONFIGURING:
            setattr(module, name, self._during[name])
        _add(self._ours)

    def end(self) -> None:
        """Take it away; what is patched over by others stays."""
        _remove(self._ours)
        for module, name in _CONFIGURING:
            if getattr(module, name) is self._during[name]:
                setattr(module, name, self._before[name])


class _LastResort(logging.Handler):
    """Does what logging does for a record that finds no handler, where it finds none but these two."""

    def __init__(self, beside: logging.Handler) -> None:
        super().__init__(logging.WARNING)
        self._ours = (self, beside)

    def emit(self, record: logging.LogRecord) -> None:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(handler not in self._ours for handler in logger.handlers):
                return
            logger = logger.parent
        last = logging.lastResort
        if last is not None and record.levelno >= last.level:
            last.handle(record)


def _around(configure: Callable[..., None], handlers: tuple[logging.Handler, ...]) -> Callable[..., None]:
    def configured(*arguments: Any, **options: Any) -> None:
        are_there = handlers[0] in logging.getLogger().handlers
        _remove(handlers)
        try:
            configure(*arguments, **options)
        finally:
            if are_there:
                _add(handlers)

    return configured


def _add(handlers: tuple[logging.Handler, ...]) -> None:
    for handler in handlers:
        logging.getLogger().addHandler(handler)


def _remove(handlers: tuple[logging.Handler, ...]) -> None:
    for handler in handlers:
        logging.getLogger().removeHandler(handler)
