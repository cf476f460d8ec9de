"""What every memory promises, also one that keeps nothing."""

from __future__ import annotations

import asyncio

import pytest
from pydantic_ai import Agent, RunContext
from pydantic_ai.conversation import Conversation
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RunUsage

from ...errors import InvalidRequestError, InvalidSessionIdError
from ..base import Memory
from .conversation_store import Suite
from .exchanges import append, echo_agent, exchange, history, said


class MemoryContract(Suite):
    """For every `Memory`, also one that keeps nothing: every call works.

    A subclass gives the fixture `memory`: an empty memory.
    """

    async def test_every_call_works(self, memory: Memory) -> None:
        async with memory:
            assert memory
            await memory.check()
            session_id = await memory.create_session()
            await append(memory, session_id, exchange("hi"), usage=RunUsage(requests=1), ttl_s=60)
            event = await memory.add_event(session_id, "note", {"a": 1}, {"by": "me"})
            await memory.store_event(session_id, memory.create_event("note", "b"))
            assert set(event.to_dict()) == {"event_id", "timestamp", "event_type", "content", "metadata"}
            for limit in (0, 1, None):
                assert isinstance(await history(memory, session_id, limit), list)
            assert isinstance(await memory.get_events(session_id, types=["note"], limit=1), list)
            assert isinstance(await memory.get_events(), list)
            page = await memory.list_sessions(limit=1)
            assert isinstance(page, list)
            assert len(page.used) in (0, len(page))
            assert isinstance(await memory.build_conversation_context(session_id), str)
            await memory.delete_session(session_id)
            assert await memory.get_events(session_id) == []

    async def test_it_can_be_used_without_being_opened_and_after_it_was_closed(self, memory: Memory) -> None:
        await memory.create_session("s")
        await memory.close()
        async with memory:
            await memory.open()
            async with memory:
                await append(memory, "s", exchange("hi"))
            await append(memory, "s", exchange("hi again"))
        assert isinstance(await memory.get_events("s"), list)
        await memory.close()
        await memory.close()

    async def test_pydantic_ai_can_load_run_and_save(self, memory: Memory) -> None:
        conversation = await memory.load("c") or Conversation(conversation_id="c")
        result = await echo_agent().run("hello", conversation=conversation)
        await memory.save(result)
        assert result.output == "hello (1)"

    async def test_pydantic_ai_can_fork_branch_list_and_delete(self, memory: Memory) -> None:
        conversation = Conversation(conversation_id="c", messages=exchange("hello"))
        await memory.save(conversation)
        fork = await memory.fork("c", new_conversation_id="f")
        assert fork.conversation_id == "f"
        branched = await memory.branch("c", at=0, expected_revision=conversation.revision)
        assert branched.messages == []
        assert isinstance(await memory.list_conversations(limit=1), list)
        await memory.delete("c")
        assert await memory.load("c") is None
        assert await memory.load_entries("c", limit=1) is None

    async def test_an_unknown_session_has_nothing(self, memory: Memory) -> None:
        assert await memory.get_events("nobody") == []
        assert await memory.get_events("nobody", limit=0) == []
        assert await memory.build_conversation_context("nobody") == ""
        assert await memory.read_log("nobody") is None
        assert not await memory.delete_session("nobody")
        async with memory.open_session("nobody") as session:
            assert (session.session_id, session.history, session.exists) == ("nobody", [], False)

    @pytest.mark.parametrize("session_id", ["no/slash", "", "x" * 129, "no space", "é", "a\n"])
    async def test_an_invalid_session_id_is_refused(self, memory: Memory, session_id: str) -> None:
        for call in (memory.create_session, memory.delete_session, memory.get_events):
            with pytest.raises(InvalidSessionIdError):
                await call(session_id)
        with pytest.raises(InvalidSessionIdError):
            await memory.add_event(session_id, "note", "x")

    async def test_wrong_arguments_are_refused(self, memory: Memory) -> None:
        with pytest.raises(InvalidRequestError, match="limit"):
            await memory.get_events(limit=-1)
        with pytest.raises(InvalidRequestError, match="limit"):
            await memory.list_sessions(limit=0)
        with pytest.raises(InvalidRequestError, match="begin"):
            await memory.get_events("s", before="no such event")
        with pytest.raises(InvalidRequestError, match="begin"):
            await memory.get_events(before="no such event")

    async def test_sessions_at_once_do_not_disturb_each_other(self, memory: Memory) -> None:
        async def run(number: int) -> None:
            async with memory.open_session(f"s{number}", limit=10) as session:
                assert session.session_id == f"s{number}"
                await session.append(exchange(f"m{number}"), [memory.create_event("note", number)])
            assert await said(memory, f"s{number}") in ([], [f"m{number}"])

        async with asyncio.timeout(20):
            await asyncio.gather(*(run(number) for number in range(50)))

    async def test_a_tool_can_recall_the_conversation(self, memory: Memory) -> None:
        async def calls_then_answers(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            recalled = messages[-1].parts[0]
            if isinstance(recalled, ToolReturnPart):
                return ModelResponse([TextPart(recalled.model_response_str())])
            return ModelResponse([ToolCallPart("recall_conversation", {"query": "hi"})])

        agent = Agent(FunctionModel(calls_then_answers), deps_type=Memory)

        @agent.tool
        async def recall_conversation(ctx: RunContext[Memory], query: str) -> str:
            if not ctx.deps:
                return "Memory not available."
            context = await ctx.deps.build_conversation_context("s", max_events=10)
            return f"Here: {context}" if context else "No prior conversations found."

        await append(memory, "s", exchange("hi"))
        expected = "Here: User: hi\nAgent: re: hi" if await said(memory, "s") else "No prior conversations found."
        assert (await agent.run("what did I say?", deps=memory)).output == expected
