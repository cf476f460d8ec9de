"""What a request may take, how many runs there are at once, and what gives a place free again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from anyio import fail_after
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo

from pais_sdk import Settings, serve

from .agents import GatedModel, Pieces, calls_then, echo_agent, last_user_text, model_of
from .http_agents import CHAT, Served, body, content_of, error_of, served, until, user

pytestmark = pytest.mark.anyio

ALICE, BOB = {"X-API-Key": "key-of-alice"}, {"X-API-Key": "key-of-bob"}
KEYS: dict[str, Any] = {"agent_api_keys": "alice=key-of-alice,alice=other-key-of-alice,bob=key-of-bob"}

plain_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


async def test_a_request_may_bring_so_many_messages_and_no_more() -> None:
    with fail_after(5):
        async with served(echo_agent(), settings=Settings(agent_max_messages=3)) as here:
            for count, status in ((3, 200), (4, 400)):
                answer = await here.http.post(CHAT, json={"messages": user("hi") * count})
                assert answer.status_code == status
    assert error_of(answer)["param"] == "messages"
    assert "more than 3" in error_of(answer)["message"]


@plain_and_streamed
async def test_a_body_may_have_so_many_bytes_and_no_more(stream: bool) -> None:
    request = json.dumps(body("hi", stream=stream))
    with fail_after(5):
        async with served(echo_agent(), settings=Settings(agent_max_body_bytes=len(request))) as here:
            for text, status in ((request, 200), (f"{request} ", 413)):
                assert (await here.http.post(CHAT, content=text)).status_code == status

            async def pieces() -> AsyncGenerator[bytes]:  # without a Content-Length
                for piece in (request[:9], request[9:], " "):
                    yield piece.encode()

            assert (await here.http.post(CHAT, content=pieces())).status_code == 413


@plain_and_streamed
async def test_one_key_may_have_so_many_runs_and_another_is_served(stream: bool) -> None:
    gated = GatedModel()
    settings = Settings(**KEYS, max_runs_per_scope=2)
    with fail_after(5):
        async with served(Agent(gated.model), settings=settings) as here:
            asked: list[asyncio.Task[httpx.Response]] = []
            for headers in (ALICE, {"X-API-Key": "other-key-of-alice"}):
                request = here.http.post(CHAT, json=body("hi", session_id="s"), headers=headers)  # the second waits
                asked.append(asyncio.create_task(request))
            await until(lambda: here.runtime.admission.active + here.runtime.admission.waiting == 2)
            for headers in (ALICE, {"X-API-Key": "other-key-of-alice"}):
                refused = await here.http.post(CHAT, json=body("hi", stream=stream), headers=headers)
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
                assert error_of(refused)["code"] == "rate_limit_exceeded"
            asked.append(asyncio.create_task(here.http.post(CHAT, json=body("hi", stream=stream), headers=BOB)))
            await until(lambda: gated.requests == 2)
            gated.gate.set()
            assert [(await answer).status_code for answer in asked] == [200, 200, 200]
            assert (await here.http.post(CHAT, json=body("hi"), headers=ALICE)).status_code == 200


async def test_without_keys_there_is_no_limit_for_each() -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model), settings=Settings(max_runs_per_scope=1)) as here:
            asked = [asyncio.create_task(here.ask("hi")) for _ in range(3)]
            await until(lambda: gated.requests == 3)
            gated.gate.set()
            assert [(await answer).status_code for answer in asked] == [200] * 3


async def test_a_full_queue_refuses_before_the_body_is_looked_at_and_serves_those_in_it() -> None:
    gated = GatedModel()
    settings = Settings(max_active_runs=1, max_queued_runs=2)
    with fail_after(5):
        async with served(Agent(gated.model), settings=settings) as here:
            asked = [asyncio.create_task(here.ask(str(n))) for n in range(3)]
            await until(lambda: here.runtime.admission.waiting == 2)
            for content in (b"{", b"", b"x" * 17_000_000, json.dumps(body("hi", stream=True)).encode()):
                refused = await here.http.post(CHAT, content=content)
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
                assert error_of(refused)["message"].startswith("Too many runs are active")
            for path in ("/health", "/ready", "/memory/events", "/tools"):
                assert (await here.http.get(path)).status_code == 200
            gated.gate.set()
            assert [content_of(await answer) for answer in asked] == ["one two"] * 3
    assert gated.requests == 3


async def test_three_times_what_fits_is_served_or_refused_and_then_all_is_as_before() -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model), settings=Settings(max_active_runs=4, max_queued_runs=4)) as here:
            asked = [asyncio.create_task(here.ask("hi", stream=n % 2 == 0)) for n in range(24)]
            while sum(task.done() for task in asked) < 16:
                await asyncio.wait([task for task in asked if not task.done()], return_when=asyncio.FIRST_COMPLETED)
            assert {task.result().status_code for task in asked if task.done()} == {429}
            gated.gate.set()
            assert Counter([(await task).status_code for task in asked]) == {200: 8, 429: 16}
            assert gated.requests == 8
            assert (await here.ask("hi")).status_code == 200


class Ending:
    """A model that ends as it is told; where it waits, until it is cancelled."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.agent = Agent(model_of(self._stream))

    async def _stream(self, messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        said = last_user_text(messages)
        yield "one "
        self.began.set()
        if said == "upstream error":
            raise ModelHTTPError(500, "m")
        if said == "failure":
            raise RuntimeError
        if said in ("delete", "hang up", "cancel", "time out"):
            await anyio.sleep_forever()


@asynccontextmanager
async def hung_up(here: Served, request: dict[str, Any]) -> AsyncGenerator[None]:
    async with httpx.AsyncClient(base_url=here.url, headers=ALICE, timeout=5) as client:
        task = asyncio.create_task(client.post(CHAT, json=request))
        yield
        task.cancel()
        await asyncio.wait([task])


@plain_and_streamed
@pytest.mark.parametrize(
    "ending", ["success", "upstream error", "failure", "time out", "delete", "cancel", "hang up", "wrong request"]
)
async def test_a_place_is_free_again_however_its_run_ends(ending: str, stream: bool) -> None:
    model = Ending()
    limits = {"max_active_runs": 1, "max_queued_runs": 0, "max_runs_per_scope": 1}
    settings = Settings(**KEYS, **limits, run_timeout_s=0.1 if ending == "time out" else 0)
    with fail_after(5):
        async with served(model.agent, settings=settings) as here:
            request = body(ending, session_id="s", stream=stream)
            if ending == "hang up":
                async with hung_up(here, request):
                    await model.began.wait()
                await until(lambda: here.runtime.admission.active == 0)
            elif ending == "wrong request":
                assert (await here.http.post(CHAT, json={**request, "effort": "no"}, headers=ALICE)).status_code == 400
            else:
                asked = asyncio.create_task(here.http.post(CHAT, json=request, headers=ALICE))
                await model.began.wait()
                if ending == "delete":
                    assert (await here.http.delete("/memory/sessions/s", headers=ALICE)).status_code == 200
                if ending == "cancel":
                    await here.runtime.cancel("s", "alice")
                assert ('"error"' in (await asked).text) == (ending != "success")
            for headers in (ALICE, BOB):
                again = await here.http.post(CHAT, json=body("again"), headers=headers)
                assert content_of(again) == "one "
            assert not here.runtime.admission._of_scope
            assert here.runtime.admission.active == here.runtime.admission.waiting == 0


@plain_and_streamed
async def test_a_run_may_take_so_long(stream: bool) -> None:
    gated = GatedModel([""])
    with fail_after(5):
        async with served(Agent(gated.model), settings=Settings(run_timeout_s=0.05)) as here:
            answer = await here.ask("hi", session_id="s", stream=stream)
            assert (answer.status_code, error_of(answer)["code"]) == (504, "timeout")
            assert (await here.events("s"))[0] == ("user_message", "hi")
            await gated.cancelled.wait()


async def test_a_tool_call_may_take_so_long_and_the_run_goes_on() -> None:
    stopped = asyncio.Event()
    agent = Agent(calls_then("well", ("wait", "{}")))

    @agent.tool_plain
    async def wait() -> None:  # pyright: ignore[reportUnusedFunction]
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    with fail_after(5):
        async with served(agent, settings=Settings(tool_timeout_s=0.05)) as here:
            assert content_of(await here.ask("hi", session_id="s")) == "well"
            assert stopped.is_set()
            results = [content for kind, content in await here.events("s") if kind == "tool_result"]
    assert "took longer than 0.05 s" in str(results)


def test_nought_seconds_are_no_limit() -> None:
    runtime = serve(echo_agent(), settings=Settings(run_timeout_s=0, tool_timeout_s=0)).runtime
    assert runtime._timeout_s is None
    assert runtime.arguments._guard.timeout_s is None
