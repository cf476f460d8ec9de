"""The configuration of MCP servers, as other programs' `mcpServers` files have it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from .._http_url import is_http_url
from ..errors import ConfigurationError
from .config import HttpServer, MCPServerConfig, StdioServer

_log = logging.getLogger("pais_sdk.mcp")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_KEYS = ("command", "args", "env", "cwd", "url", "headers", "type", "transport", "disabled")
_TYPES = {
    "stdio": "command",
    "http": "url",
    "streamable-http": "url",
    "streamable_http": "url",
    "streamableHttp": "url",
}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?|")


def parse_server(name: str, data: Mapping[str, Any]) -> MCPServerConfig:
    """Return what one entry of `mcpServers` says; keys that are not known are ignored.

    Args:
        name: What the server is called, for errors.
        data: `command`, `args`, `env` and `cwd`, or `url` and `headers`; `type` may say which (`stdio`, `http` or
            `streamable-http`).

    Raises:
        ConfigurationError: It cannot be used; the text names the server and the key, and no value.
    """
    if unknown := sorted(set(data) - set(_KEYS)):
        _log.debug("MCP server %r: %s is not known and ignored", name, ", ".join(unknown))
    kind = _kind(name, data)
    if kind == "command":
        cwd = _text(name, data, "cwd")
        return StdioServer(
            command=_text(name, data, "command") or "",
            args=tuple(_texts(name, data)),
            env=_pairs(name, data, "env"),
            cwd=None if cwd is None else Path(cwd),
        )
    return HttpServer(url=_url(name, _text(name, data, "url") or ""), headers=_headers(name, data))


def read_mcp_config(path: str | Path, environment: Mapping[str, str] | None = None) -> dict[str, MCPServerConfig]:
    """Return the servers of a file in the common `mcpServers` JSON, without those that are `disabled`.

    Args:
        path: The file.
        environment: For `${VAR}` and `${VAR:-default}`, which may stand in every value; None for none.

    Raises:
        ConfigurationError: The file cannot be read or used; the text names the file and the server, and no value.
    """
    path = Path(path)
    servers: dict[str, MCPServerConfig] = {}
    for name, data in _entries(path).items():
        if not isinstance(data, dict):
            raise ConfigurationError(f"MCP server {name!r} in {str(path)!r} must be an object")
        entry = cast("dict[str, Any]", data)
        if entry.get("disabled") is True:
            continue
        try:
            servers[name] = parse_server(name, _filled_in(name, entry, environment or {}))
        except ConfigurationError as error:
            raise ConfigurationError(f"{str(path)!r}: {error}") from None
    return servers


def _entries(path: Path) -> dict[str, Any]:
    try:
        data: Any = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=lambda pairs: _without_twins(path, pairs))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{str(path)!r} is no JSON: {error.msg}, line {error.lineno}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{str(path)!r} is no JSON: it is not UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    entries: Any = cast("dict[str, Any]", data).get("mcpServers") if isinstance(data, dict) else None
    if not isinstance(entries, dict):
        raise ConfigurationError(f"{str(path)!r} must be an object with an object `mcpServers`")
    return cast("dict[str, Any]", entries)


def _without_twins(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    for key, _ in pairs if len(keys) < len(pairs) else ():
        if sum(key == other for other, _ in pairs) > 1:
            raise ConfigurationError(f"{str(path)!r} has the key {key!r} twice in one object; remove or rename one")
    return keys


def _filled_in(name: str, value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _value_of(name, found, environment), value)
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _filled_in(name, item, environment) for key, item in items}
    if isinstance(value, list):
        return [_filled_in(name, item, environment) for item in cast("list[Any]", value)]
    return value


def _value_of(name: str, found: re.Match[str], environment: Mapping[str, str]) -> str:
    variable, default = found[1], found[2]
    value = environment.get(variable)
    if default is not None:
        return value or default  # as shells do: an empty one counts as not set
    if value is None:
        raise ConfigurationError(f"MCP server {name!r} needs {variable}, which is not set; set it, or write a default")
    return value


def _kind(name: str, data: Mapping[str, Any]) -> str:
    has = [key for key in ("command", "url") if data.get(key) is not None]
    said = _text(name, data, "type") or _text(name, data, "transport")
    if said == "sse":
        raise ConfigurationError(
            f"MCP server {name!r} is of type sse, which is not supported; use its URL for streamable HTTP and type http"
        )
    if said is not None:
        if said not in _TYPES:
            raise ConfigurationError(f"MCP server {name!r} has a type that is not known; use stdio or http")
        if _TYPES[said] not in has:
            raise ConfigurationError(f"MCP server {name!r} is of type {said} and needs `{_TYPES[said]}`")
        return _TYPES[said]
    if len(has) != 1:
        raise ConfigurationError(f"MCP server {name!r} needs either `command` or `url`")
    return has[0]


def _text(name: str, data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ConfigurationError(f"MCP server {name!r}: `{key}` must be a text that is not empty")
    return value


def _texts(name: str, data: Mapping[str, Any]) -> list[str]:
    value: Any = data.get("args")
    if value is None:
        return []
    items = cast("list[Any]", value)
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and "\0" not in item for item in items):
        raise ConfigurationError(f"MCP server {name!r}: `args` must be a list of texts")
    return list(items)


def _pairs(name: str, data: Mapping[str, Any], key: str) -> dict[str, str]:
    value: Any = data.get(key)
    if value is None:
        return {}
    pairs = cast("Mapping[Any, Any]", value)
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for pair in pairs.items() for item in pair):
        raise ConfigurationError(f"MCP server {name!r}: `{key}` must be an object of texts")
    return dict(pairs)


def _headers(name: str, data: Mapping[str, Any]) -> dict[str, str]:
    headers = _pairs(name, data, "headers")
    for header, value in headers.items():
        if not _HEADER_NAME.fullmatch(header) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigurationError(
                f"MCP server {name!r}: `headers` cannot be sent: {header!r} has a character that no header can have, "
                "such as the end of a line"
            )
    return headers


def _url(name: str, url: str) -> str:
    if not is_http_url(url):
        raise ConfigurationError(f"MCP server {name!r}: `url` must begin with http:// or https:// and name a host")
    return url
