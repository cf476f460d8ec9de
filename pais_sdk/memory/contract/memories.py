"""The contracts of memories that keep sessions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic_ai.conversation_store import ConversationConflict, ConversationStore

from ..base import Memory
from .broken_off import BrokenOff
from .conversation_scopes import ConversationScopes
from .conversation_store import ConversationSuite
from .conversations import recorded
from .events import Events
from .every_memory import MemoryContract
from .exchanges import append, exchange, save, user_texts
from .holds import Holds
from .limits import Limits
from .lists import Lists
from .sessions import Sessions
from .shared import Shared


class ScopedMemoryContract(Sessions, Events, Lists, Holds, Limits, BrokenOff, ConversationSuite, MemoryContract):
    """For the view of a storing memory that `scoped(...)` gives: all but what `scope=` means, for it has a scope.

    A subclass gives the fixture `create_memory`, as for `StoringMemoryContract`.
    """

    @pytest.fixture
    def memory(self, create_memory: Callable[..., Memory]) -> Memory:
        return create_memory()

    @pytest.fixture
    def store(self, memory: Memory) -> ConversationStore:
        return memory


class StoringMemoryContract(ConversationScopes, ScopedMemoryContract):
    """For a `Memory` that keeps sessions; it is a `ConversationStore` too, and all that is promised of one holds.

    A subclass gives the fixture `create_memory`: called with any of the keywords `max_sessions`,
    `max_session_messages`, `ttl_s` and `stateless_ttl_s`, it returns a memory on a store that was empty when the test
    began. It need not be open.
    """

    async def test_a_run_leaves_the_scope_of_a_conversation_as_it_is(self, memory: Memory) -> None:
        await save(memory, "s", "one", scope="team")
        await append(memory, "s", exchange("two"))
        await memory.add_event("s", "note", "x")
        assert (await recorded(memory, "s")).scope == "team"
        conversation = await memory.load("s", scope="team")
        assert conversation is not None
        assert user_texts(conversation.messages) == ["one", "two"]
        assert [record.conversation_id for record in await memory.list_conversations(scope="team")] == ["s"]

    async def test_a_view_lists_its_own_among_conversations_that_only_say_its_scope(self, memory: Memory) -> None:
        view = memory.scoped("alice")
        await save(view, "own", "one")
        for number in range(8):
            await save(memory, f"c{number}", "one", scope="alice")
        for limit in (None, 1, 3):
            for scope in (None, "alice"):
                listed = await view.list_conversations(scope=scope, limit=limit)
                assert [record.conversation_id for record in listed] == ["own"]
        assert await view.list_conversations(scope="bob") == []
        assert await view.list_sessions() == ["own"]
        assert await view.load("c0") is None
        with pytest.raises(ConversationConflict):
            await save(view, "own", "two", scope="bob")
        assert len(await memory.list_sessions()) == 8


class SharedMemoryContract(Shared, StoringMemoryContract):
    """For a `Memory` whose sessions several processes share.

    A subclass gives the fixture `create_memory`, as `StoringMemoryContract` says. In one test it returns, each time,
    another memory object on the same store, and takes the keyword `lease_s` too: the seconds after which a session is
    free again whose holder died.
    """
