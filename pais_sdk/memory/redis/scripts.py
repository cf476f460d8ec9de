"""The scripts that Redis runs for a memory: each is one round trip, and all or nothing."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, Literal, Protocol, TypeAlias

from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError

ScriptName: TypeAlias = Literal[
    "annotate", "collect", "delete", "find", "history", "log", "page", "record", "release", "renew", "take", "write"
]

_NEEDS: dict[ScriptName, tuple[str, ...]] = {
    "annotate": ("walk", "keep", "family", "annotations", "limits"),
    "collect": ("walk", "keep", "family"),
    "delete": ("walk", "keep", "family"),
    "find": (),
    "history": ("walk",),
    "log": ("walk", "annotations"),
    "page": (),
    "record": (),
    "release": (),
    "renew": ("keep",),
    "take": ("walk", "keep", "family"),
    "write": ("walk", "keep", "family", "annotations", "limits"),
}


class RedisClient(Protocol):
    """What is used of a client: `redis.asyncio.Redis` and `redis.asyncio.RedisCluster` have it."""

    def execute_command(self, *args: Any, **options: Any) -> Awaitable[Any]: ...


@dataclass(frozen=True)
class Script:
    text: bytes
    digest: bytes


@cache
def script(name: ScriptName) -> Script:
    """Return a script; it is read from the package's Lua files when it is first used."""
    folder = files(__name__.rpartition(".")[0]) / "lua"
    text = b"\n".join((folder / f"{part}.lua").read_bytes() for part in ("session", *_NEEDS[name], name))
    return Script(text, sha1(text, usedforsecurity=False).hexdigest().encode())


async def run_script(client: RedisClient, name: ScriptName, key: str, *arguments: str | bytes | int) -> Any:
    """Return what a script answers: bytes, whatever the client decodes.

    Args:
        client: Runs it.
        name: Which one.
        key: One of the keys that it uses; all others are in the same slot of a cluster.
        arguments: `ARGV`.
    """
    found = script(name)
    options: dict[str, Any] = {NEVER_DECODE: []}
    try:
        return await client.execute_command("EVALSHA", found.digest, 1, key, *arguments, **options)
    except NoScriptError:  # the server was started since
        return await client.execute_command("EVAL", found.text, 1, key, *arguments, **options)
