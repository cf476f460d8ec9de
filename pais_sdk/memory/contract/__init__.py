"""The promises of a memory as tests, for pytest: point them at a memory or a conversation store of your own.

Make a subclass whose name begins with `Test`, and give it the fixture that its contract asks for:

| contract | for | fixture |
|---|---|---|
| `ConversationStoreContract` | any Pydantic AI `ConversationStore` | `store` |
| `MemoryContract` | any `Memory`, also one that keeps nothing | `memory` |
| `StoringMemoryContract` | a `Memory` that keeps sessions | `create_memory` |
| `SharedMemoryContract` | a `Memory` whose sessions several processes share | `create_memory` |
| `ScopedMemoryContract` | what a `scoped(...)` of your own gives | `create_memory` |

Each of the last three holds the ones above it that apply.

```python
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pais_sdk import Memory, SQLiteMemory
from pais_sdk.memory.contract import SharedMemoryContract


class TestMyMemory(SharedMemoryContract):
    @pytest.fixture
    async def create_memory(self, tmp_path: Path) -> AsyncIterator[Callable[..., Memory]]:
        made: list[Memory] = []

        def create(**options) -> Memory:
            made.append(SQLiteMemory(tmp_path / "chats.db", **options))
            return made[-1]

        yield create
        for memory in made:
            await memory.close()
```

The options are `max_sessions`, `max_session_messages`, `ttl_s`, `stateless_ttl_s` and, for memories that are shared,
`lease_s`, with the meaning that they have for the SDK's own memories. All that `create_memory` returns in one test is
on the same store, which is empty when the test begins.

The tests are async and run by AnyIO's pytest plugin, which comes with the SDK; with pytest-asyncio beside it, leave
that in its strict mode. No test depends on how fast the store is; what has to wait for time waits half a second.
"""

from __future__ import annotations

from pkgutil import iter_modules

try:
    import pytest
except ImportError as error:
    raise ImportError("pais_sdk.memory.contract is a suite for pytest, which is missing: pip install pytest") from error

# Before they are imported, so that a failure says what was compared.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in iter_modules(__path__)))

from .conversation_store import ConversationStoreContract  # noqa: E402
from .every_memory import MemoryContract  # noqa: E402
from .memories import ScopedMemoryContract, SharedMemoryContract, StoringMemoryContract  # noqa: E402

__all__ = [
    "ConversationStoreContract",
    "MemoryContract",
    "ScopedMemoryContract",
    "SharedMemoryContract",
    "StoringMemoryContract",
]
