"""The contract of any store of Pydantic AI's conversations."""

from __future__ import annotations

import pytest
from pydantic_ai.conversation_store import ConversationStore

from .conversation_scopes import ConversationScopes
from .conversations import Conversations
from .random_operations import compare_with_pydantic_ai


class Suite:
    """Tests on asyncio, each with a time limit of its own where it could hang."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"


class ConversationSuite(Conversations, Suite):
    """What a store promises that is the same in a scoped view of it."""

    @pytest.mark.parametrize("seed", [1, 2, 3])
    async def test_anything_done_is_as_in_pydantic_ai(self, store: ConversationStore, seed: int) -> None:
        await compare_with_pydantic_ai(store, seed=seed, operations=80)


class ConversationStoreContract(ConversationScopes, ConversationSuite):
    """For any `ConversationStore`: what Pydantic AI promises of one.

    A subclass gives the fixture `store`: an empty store.
    """
