"""Find what to serve: a target as it is written on a command line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ConfigurationError

_FORMS = "write it as file.py, file.py:attribute or module:attribute"


def find_target(target: str | None, kinds: Sequence[type]) -> Any:
    """Import and return what a target names.

    Args:
        target: `file.py`, `file.py:attribute` or `module:attribute`. None looks for `server.py`, then `agent.py`, in
            the working directory.
        kinds: The types that can be served. Where a file has objects of several, those of the first type win.

    Returns:
        The object; None where there is no target and neither file exists.

    Raises:
        ConfigurationError: The target does not exist, or it is not clear which object is meant.
    """
    if target is None:
        here = next((name for name in ("server.py", "agent.py") if Path(name).is_file()), None)
        return None if here is None else find_target(here, kinds)
    place, separator, attribute = target.rpartition(":")
    if not separator or attribute.endswith(".py"):  # the second: a colon in a path
        place, attribute = target, ""
    if place.endswith(".py"):
        module = _load_file(Path(place))
    elif attribute:
        module = _load_module(place)
    else:
        raise ConfigurationError(f"target {target!r} names neither a file nor an attribute; {_FORMS}")
    return _attribute(module, attribute, target, kinds) if attribute else _only_one(module, target, kinds)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigurationError(f"there is no file {str(path)!r}; {_FORMS}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # so that the file can import its neighbours, as when it is run itself
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and something that it imports is not
        raise ConfigurationError(f"there is no module {name!r}; {_FORMS}") from None


def _attribute(module: ModuleType, name: str, target: str, kinds: Sequence[type]) -> Any:
    if not hasattr(module, name):
        raise ConfigurationError(f"target {target!r} has no attribute {name!r}; {_FORMS}")
    found: Any = getattr(module, name)
    kind: type[Any] = found.__class__
    if not issubclass(kind, tuple(kinds)):
        raise ConfigurationError(f"target {target!r} is {_a(kind)}; it must be {_one_of(kinds)}")
    return found


def _only_one(module: ModuleType, target: str, kinds: Sequence[type]) -> Any:
    for kind in kinds:
        found = {name: value for name, value in vars(module).items() if isinstance(value, kind) and name[0] != "_"}
        if len({id(value) for value in found.values()}) > 1:
            names = ", ".join(sorted(found))
            raise ConfigurationError(f"{target!r} has several to serve ({names}); write {target}:NAME for one of them")
        if found:
            return next(iter(found.values()))
    raise ConfigurationError(f"{target!r} has nothing to serve; it must define {_one_of(kinds)}")


def _a(kind: type[Any]) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOUaeiou' else 'a'} {kind.__name__}"


def _one_of(kinds: Sequence[type]) -> str:
    names = [_a(kind).replace("AbstractAgent", "Agent") for kind in kinds]
    return f"{', '.join(names[:-1])} or {names[-1]}"
