"""MCP servers in the environment: names in one variable, and the URL of each in one of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from .._http_url import is_http_url
from ..errors import ConfigurationError
from .lists import items_of

_NOT_IN_VARIABLES = re.compile(r"[^A-Z0-9_]")


def listed_names(names: str | None, variable: str) -> list[str]:
    """Return names from a list as `one,two` or `[one,two]`, in its order.

    Raises:
        ConfigurationError: A name is there twice.
    """
    found = items_of(names)
    for name in found:
        if found.count(name) > 1:
            raise ConfigurationError(f"{variable} cannot be used: it names {name!r} twice")
    return found


def mcp_server_urls(names: str | None) -> dict[str, str]:
    """Return the URLs of the servers that MCP_SERVERS names, each with `/mcp` at the end of its path.

    The URL of `echo-tools` is in MCP_SERVER_echo-tools_URL, as KAOS's operator writes it, else in
    MCP_SERVER_ECHO_TOOLS_URL.

    Raises:
        ConfigurationError: A name is there twice, or a URL is missing or cannot be used.
    """
    return {name: _url_of(name) for name in listed_names(names, "MCP_SERVERS")}


def mcp_config_environment() -> Mapping[str, str]:
    """Return what `${VAR}` in the file of MCP_CONFIG stands for."""
    return dict(os.environ)


def _url_of(name: str) -> str:
    variables = [f"MCP_SERVER_{name}_URL", f"MCP_SERVER_{_NOT_IN_VARIABLES.sub('_', name.upper())}_URL"]
    variable = next((variable for variable in variables if os.environ.get(variable, "").strip()), None)
    if variable is None:
        spellings = " or ".join(dict.fromkeys(variables))
        raise ConfigurationError(f"MCP_SERVERS names {name!r}, and its URL is missing: set {spellings}")
    url = os.environ[variable].strip()
    if not is_http_url(url):
        raise ConfigurationError(f"{variable} cannot be used: it must begin with http:// or https:// and name a host")
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith("/mcp") else f"{path}/mcp"))
