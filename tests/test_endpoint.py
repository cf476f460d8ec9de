"""The endpoint of the environment: which one it is, whose key it gets, its names, its one client, and Retry-After."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from anyio import fail_after
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError, ModelQuotaExceededError, ModelRequestTimeout
from pydantic_ai.settings import ModelSettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pais_sdk import (
    AgentRuntime,
    ConfigurationError,
    RunCancelledError,
    RunFailedError,
    RunTimeoutError,
    Settings,
    mock_model,
    serve,
)
from pais_sdk._listen import listening
from pais_sdk.compose import create_agent, create_runtime
from pais_sdk.models import (
    AutoModeModel,
    Endpoint,
    RetryAfterModel,
    endpoint_model,
    resolve_model,
    resolve_models,
    wait_asked_for,
)
from pais_sdk.testing.mock_llm import MockLLM

from .http_agents import content_of, served

pytestmark = pytest.mark.anyio

MODEL, LLM, VLLM, OLLAMA = (f"http://{name}.test" for name in ("model", "llm", "vllm", "ollama"))


def model_of(settings: Settings) -> Any:
    """Return the OpenAI model inside what the environment asks for."""
    model: Any = resolve_model(settings)
    while hasattr(model, "wrapped"):
        model = model.wrapped
    return model


@asynccontextmanager
async def asking(model_name: str = "echo", **settings: Any) -> AsyncGenerator[tuple[MockLLM, AgentRuntime[Any]]]:
    """Open a runtime whose model is one of a mock endpoint's; gives both."""
    mock = MockLLM()
    async with mock.running() as url:
        environment = Settings(model_api_url=url, model_name=model_name, **settings)
        async with create_runtime(Agent(), settings=environment) as runtime:
            yield mock, runtime


async def said(runtime: AgentRuntime[Any], *, streaming: bool) -> str:
    """Return the text of one run; raises its error, streamed or not."""
    if not streaming:
        return (await runtime.run("hello there")).text
    async with runtime.stream("hello there") as run:
        async for _ in run:
            pass
    assert run.outcome is not None
    if run.outcome.error is not None:
        raise run.outcome.error
    return run.outcome.text


# Which endpoint


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://localhost:1", "http://localhost:1/v1/"),
        ("http://localhost:1/", "http://localhost:1/v1/"),
        ("http://localhost:1/v1", "http://localhost:1/v1/"),
        ("http://localhost:1/v1//", "http://localhost:1/v1/"),
        ("http://gw/ns/modelapi/x", "http://gw/ns/modelapi/x/v1/"),
        ("http://gw/ns/modelapi/v1x/", "http://gw/ns/modelapi/v1x/v1/"),
        (" http://[::1]:8000 ", "http://[::1]:8000/v1/"),
        ("HTTP://Localhost:1", "http://localhost:1/v1/"),
        ("http://localhost:1\n", "http://localhost:1/v1/"),
    ],
)
def test_an_endpoints_path_is_appended_once(url: str, base: str) -> None:
    assert str(endpoint_model(url, "m").base_url) == base
    assert str(model_of(Settings(model_api_url=url, model_name="m")).base_url) == base


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        *((url, "have a host") for url in ("http://", "http:///v1", "http://[::1", "https://?x=1", "http://a b")),
        *((f"http://h:{port}", "have a host, and a valid port") for port in ("x", "-1", "65536")),
        *((f"http://{host}", "have a host") for host in ("999.1.1.1", "\u2603.test", "h\x00")),
        ("http://user:hidden@h", "hold no user and no password"),
        ("http://hidden@h/v1", "hold no user and no password"),
        ("http://h/v1?api-key=hidden", "end with its path"),
        ("http://h/#v1", "end with its path"),
    ],
)
def test_a_url_that_cannot_be_an_endpoint_stops_the_start(url: str, problem: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"MODEL_API_URL cannot be used: an endpoint's URL must {problem}"
    ) as told:
        resolve_models(Settings(model_api_url=url, model_name="m"))
    assert "hidden" not in str(told.value)


# Whose key


@pytest.mark.parametrize("field", ["MODEL_API_KEY", "FALLBACK_MODEL_API_KEY"])
def test_the_line_break_at_the_end_of_a_secret_is_no_part_of_it(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"MODEL_API_URL": MODEL, "MODEL_NAME": "m", "FALLBACK_MODEL_API_URL": LLM, "FALLBACK_MODEL_NAME": "n"}
    for name, value in {**values, field: "k"}.items():
        monkeypatch.setenv(name, f" {value}\r\n")
    model: Any = resolve_models(Settings()).model
    keys = [(one.model_name, str(one.base_url), one.provider.client.api_key) for one in model.models]
    assert ("m" if field == "MODEL_API_KEY" else "n", f"{MODEL if field == 'MODEL_API_KEY' else LLM}/v1/", "k") in keys


def test_a_blank_variable_of_models_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODEL_API_URL", "MODEL_NAME", "LLM_API_KEY", "FALLBACK_MODEL_NAME", "EFFORT_QUICK_MODEL"):
        monkeypatch.setenv(name, " \n")
    assert resolve_models(Settings()).model is None


@pytest.mark.parametrize("key", ["hidd\u00e9n", "hid\nden"])
def test_a_key_that_no_header_can_hold_stops_the_start_and_is_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match="MODEL_API_URL cannot be used: its key has a character") as told:
        resolve_models(Settings(model_api_url=MODEL, model_name="m", model_api_key=key))  # pyright: ignore[reportArgumentType]
    assert "hid" not in str(told.value)


async def test_nothing_of_openais_environment_is_sent_to_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", "of-openai")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer of-openai\nX-Mine: of-openai")
    asked: list[Request] = []

    async def chat(request: Request) -> Response:
        asked.append(request)
        return Response(status_code=401)

    with fail_after(5):
        async with (
            listening(Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])) as url,
            create_runtime(Agent(), settings=Settings(model_api_url=url, model_name="m")) as runtime,
        ):
            with pytest.raises(RunFailedError):
                await runtime.run("x")
    assert asked[0].headers["authorization"] == "Bearer not-needed"
    assert "of-openai" not in str(asked[0].headers)


KEYS: dict[str, Any] = {"model_api_key": "of-model", "llm_api_key": "of-llm", "vllm_api_key": "of-vllm"}


@pytest.mark.parametrize(
    ("set_too", "url", "key"),
    [
        ({"model_api_url": MODEL}, MODEL, "of-model"),
        ({"llm_endpoint": LLM}, LLM, "of-llm"),
        ({"vllm_endpoint": VLLM}, VLLM, "of-vllm"),
        ({"ollama_endpoint": OLLAMA}, OLLAMA, "not-needed"),
        ({"use_ollama": True}, "http://localhost:11434", "not-needed"),
    ],
    ids=["model", "llm", "vllm", "ollama", "use"],
)
def test_the_first_endpoint_holds_and_gets_its_own_key_alone(
    set_too: dict[str, Any], url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "openais")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://openais.test")
    order = ["model_api_url", "llm_endpoint", "vllm_endpoint", "ollama_endpoint", "use_ollama"]
    below = dict(zip(order, [MODEL, LLM, VLLM, OLLAMA, True], strict=True))
    below = {name: value for name, value in below.items() if order.index(name) > order.index(next(iter(set_too)))}
    model = model_of(Settings(model_name="m", **KEYS, **below, **set_too))
    assert (str(model.base_url), model.client.api_key) == (f"{url}/v1/", key)
    assert model.model_name == "m"
    assert model.client.max_retries == 0


@pytest.mark.parametrize("name", ["model_api_url", "llm_endpoint", "vllm_endpoint", "ollama_endpoint"])
def test_openais_key_never_goes_to_an_endpoint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "openais")
    values: Any = {name: "http://localhost:1"}
    assert model_of(Settings(model_name="m", **values)).client.api_key == "not-needed"


def test_a_key_of_another_endpoint_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    resolve_models(Settings(vllm_endpoint=VLLM, model_name="m", model_api_key="x", vllm_api_key="y"))
    resolve_models(Settings(model_name="m"), own="test")
    assert [record.getMessage() for record in caplog.records] == [
        "MODEL_API_KEY has no effect: the endpoint is that of VLLM_ENDPOINT",
        "MODEL_NAME has no effect: no endpoint is set",
    ]


# Names


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"model_api_url": MODEL}, "MODEL_API_URL is set without MODEL_NAME"),
        ({"model_api_url": MODEL, "use_ollama": True}, "MODEL_API_URL is set without MODEL_NAME"),
        ({"ollama_endpoint": OLLAMA}, "OLLAMA_ENDPOINT is set without MODEL_NAME.* or USE_OLLAMA=true"),
    ],
)
def test_an_endpoint_without_a_model_name_stops_the_start(values: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        serve(Agent("test"), settings=Settings(**values))
    serve(Agent("test"), settings=Settings(debug_mock_responses='["x"]', **values))
    serve(Agent("test"), settings=Settings(**values), model="test")


QWENS = ["Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-32B-Instruct", "Qwen/Qwen2.5-72B-Instruct"]
OLLAMAS = ["qwen2.5:7b", "qwen2.5:32b", "qwen2.5:72b"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"llm_endpoint": LLM}, QWENS),
        ({"vllm_endpoint": VLLM}, QWENS),
        ({"vllm_endpoint": VLLM, "use_ollama": True}, OLLAMAS),
        ({"ollama_endpoint": OLLAMA, "use_ollama": True}, OLLAMAS),
        ({"use_ollama": True}, OLLAMAS),
    ],
)
def test_without_a_name_the_efforts_have_default_models(values: Any, names: list[str]) -> None:
    models = resolve_models(Settings(**values))
    assert [model and model.model_name for model, _ in models.efforts.values()] == names
    assert models.default_effort == "standard"
    assert models.model is models.efforts["standard"][0]
    named = resolve_models(Settings(model_name="m", **values))
    assert [model for model, _ in named.efforts.values()] == [None, None, None]
    assert named.default_effort is None


@pytest.mark.parametrize("name", ["model_api_url", "llm_endpoint", "vllm_endpoint", "ollama_endpoint"])
def test_every_endpoint_makes_an_agent_of_the_environment(name: str) -> None:
    values: Any = {name: "http://localhost:1", "model_name": "m"}
    assert create_agent(Settings(**values)).model is None
    assert create_agent(Settings(use_ollama=True)).model is None
    with pytest.raises(ConfigurationError, match="nothing to serve"):
        create_agent(Settings(model_name="m"))


def test_variables_of_models_are_reported_for_a_runtime(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    values = {
        "LLM_ENDPOINT": LLM,
        "VLLM_API_KEY": "k",
        "OLLAMA_ENDPOINT": OLLAMA,
        "USE_OLLAMA": "true",
        "FALLBACK_MODEL_NAME": "m",
        "DEFAULT_EFFORT": "quick",
        "EFFORT_QUICK_MODEL": "m",
        "TOOL_CALL_MODE": "string",
        "MODEL_NAME": "m",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    serve(AgentRuntime(Agent("test")))
    [record] = caplog.records
    assert all(name in record.getMessage() for name in values)


# One client


async def test_all_models_of_an_endpoint_share_a_client_that_lives_as_long_as_the_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[httpx2.AsyncClient] = []
    close = httpx2.AsyncClient.aclose

    async def aclose(self: httpx2.AsyncClient) -> None:
        closed.append(self)
        await close(self)

    monkeypatch.setattr(httpx2.AsyncClient, "aclose", aclose)
    mock = MockLLM()
    with fail_after(5):
        async with mock.running() as url:
            settings = Settings(
                model_api_url=url,
                model_name="echo",
                effort_quick_model="hello",
                fallback_model_name="length",
                fallback_model_api_url=f"{url}/v1/",
            )
            runtime = create_runtime(Agent(), settings=settings)
            for openings in (1, 2):
                async with runtime:
                    await runtime.run("x")
                    await runtime.run("x", effort="quick")
                    await runtime.run("x", effort="determined")
                    assert len(closed) == openings - 1
                assert len(closed) == openings
    assert closed[0] is not closed[1]


@pytest.mark.parametrize("where", ["own", "given", "effort"])
async def test_a_model_that_is_given_by_name_keeps_its_client_too(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[httpx2.AsyncClient] = []
    make = httpx2.AsyncClient.__init__

    def init(self: httpx2.AsyncClient, *args: Any, **options: Any) -> None:
        made.append(self)
        make(self, *args, **options)

    monkeypatch.setattr(httpx2.AsyncClient, "__init__", init)
    mock = MockLLM()
    with fail_after(5):
        async with mock.running() as url:
            monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
            monkeypatch.setenv("OPENAI_API_KEY", "k")
            name = "openai-chat:hello"
            runtime: AgentRuntime[Any] = AgentRuntime(
                Agent(name if where == "own" else None, defer_model_check=True),
                model=name if where == "given" else None,
                efforts={"one": name} if where == "effort" else {"one": None},
            )
            async with runtime:
                for _ in range(3):
                    await runtime.run("x", effort="one")
                assert len(made) == 1
                assert not made[0].is_closed
            assert made[0].is_closed
            async with runtime:
                await runtime.run("x", effort="one")
    assert mock.record.finished == 4


async def test_a_name_that_is_no_model_is_the_error_of_the_runs_that_want_it() -> None:
    with fail_after(5):
        async with AgentRuntime(Agent(mock_model(["fine"])), efforts={"bad": "no-such:model"}) as runtime:
            assert (await runtime.run("x")).text == "fine"
            with pytest.raises(RunFailedError, match="no-such"):
                await runtime.run("x", effort="bad")


def test_a_runtime_may_be_opened_again_on_another_loop() -> None:
    texts: list[str] = []
    mock = MockLLM()
    runtimes: list[AgentRuntime[Any]] = []

    async def once(port: int) -> int:
        async with mock.running(port=port) as url:
            if not runtimes:
                runtimes.append(create_runtime(Agent(), settings=Settings(model_api_url=url, model_name="echo")))
            async with runtimes[0] as runtime:
                texts.append((await runtime.run("hello there")).text)
        return int(url.rpartition(":")[2])

    port = asyncio.run(once(0))
    asyncio.run(once(port))
    assert texts == ["hello there", "hello there"]


@pytest.mark.parametrize(
    ("url", "field"),
    [
        (MODEL, "max_tokens"),
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://mine.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("https://notopenai.com", "max_tokens"),
    ],
)
async def test_a_limit_of_tokens_has_the_name_that_the_endpoint_knows(
    url: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []

    async def send(self: httpx2.AsyncClient, request: httpx2.Request, **options: Any) -> httpx2.Response:
        sent.append(request.content)
        return httpx2.Response(401, request=request)

    monkeypatch.setattr(httpx2.AsyncClient, "send", send)
    with pytest.raises(ModelHTTPError):
        await Agent(endpoint_model(url, "m")).run("x", model_settings={"max_tokens": 5})
    assert f'"{field}":5'.encode() in sent[0]
    assert b"max_" not in sent[0].replace(f'"{field}"'.encode(), b"")


# Retry-After


def refusal(**headers: str) -> ModelHTTPError:
    return ModelHTTPError(429, "m", headers=headers)


def test_retry_after_is_read_as_seconds_as_a_date_and_as_litellm_passes_it_on() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert wait_asked_for(refusal(**{"retry-after": "7"})) == 7
    assert wait_asked_for(refusal(**{"llm_provider-retry-after": "7.5"})) == 7.5
    for name in ("retry-after", "llm_provider-retry-after"):
        assert wait_asked_for(refusal(**{name: soon})) == pytest.approx(100, abs=5)  # pyright: ignore[reportUnknownMemberType]
        assert wait_asked_for(refusal(**{name: "Wed, 21 Oct 2015 07:28:00 GMT"})) == 0
        for nothing in ("", "soon", "-1", "nan", "inf"):
            assert wait_asked_for(refusal(**{name: nothing})) is None
    assert wait_asked_for(refusal()) is None


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("status", [429, 503])
async def test_a_refusal_that_says_when_to_come_again_is_asked_again_once(status: int, streaming: bool) -> None:
    with fail_after(5):
        async with asking() as (mock, runtime):
            mock.fail_next(status, retry_after_s=0)
            assert await said(runtime, streaming=streaming) == "hello there"
            assert mock.record.started == 2
            mock.fail_next(status, times=2, retry_after_s=0)
            with pytest.raises((RunFailedError, ModelHTTPError)):
                await said(runtime, streaming=streaming)
            assert mock.record.started == 4


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("status", "retry_after_s"), [(429, None), (503, None), (429, 31), (500, 0), (401, 0)], ids=str
)
async def test_other_refusals_are_not_asked_again(status: int, retry_after_s: float | None, streaming: bool) -> None:
    with fail_after(5):
        async with asking() as (mock, runtime):
            mock.fail_next(status, retry_after_s=retry_after_s)
            with pytest.raises((RunFailedError, ModelHTTPError)):
                await said(runtime, streaming=streaming)
            assert mock.record.started == 1


async def test_what_is_used_up_is_not_waited_for() -> None:
    with fail_after(5):
        async with asking() as (mock, runtime):
            mock.fail_next(429, retry_after_s=0, code="insufficient_quota")
            with pytest.raises(RunFailedError) as raised:
                await runtime.run("x")
            assert isinstance(raised.value.__cause__, ModelQuotaExceededError)
            assert mock.record.started == 1


async def test_nothing_is_asked_again_once_a_stream_has_begun() -> None:
    with fail_after(5):
        async with asking() as (mock, runtime):
            mock.fail_next(429, retry_after_s=0, after_words=1)
            with pytest.raises(ModelHTTPError):
                await said(runtime, streaming=True)
            assert mock.record.started == 1


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
async def test_the_runs_timeout_ends_the_wait(streaming: bool) -> None:
    with fail_after(5):
        async with asking() as (mock, runtime):
            mock.fail_next(429, retry_after_s=29)
            if streaming:
                async with runtime.stream("x", timeout_s=0.2) as run:
                    async for _ in run:
                        pass
                assert run.outcome is not None
                assert run.outcome.stop_reason == "timeout"
            else:
                with pytest.raises(RunTimeoutError):
                    await runtime.run("x", timeout_s=0.2)
            assert mock.record.started == 1


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
async def test_the_timeout_of_the_whole_request_ends_the_wait(streaming: bool) -> None:
    mock = MockLLM()
    with fail_after(5):
        async with mock.running() as url:
            agent = Agent(model_settings=ModelSettings(request_timeout=0.2))
            async with create_runtime(agent, settings=Settings(model_api_url=url, model_name="echo")) as runtime:
                mock.fail_next(429, retry_after_s=29)
                with pytest.raises((RunFailedError, ModelRequestTimeout), match="timed out after"):
                    await said(runtime, streaming=streaming)
                assert mock.record.started == 1


async def test_a_cancel_ends_the_wait() -> None:
    with fail_after(5):
        async with asking() as (mock, runtime):
            mock.fail_next(429, retry_after_s=29)
            run = asyncio.create_task(runtime.run("x", session_id="s"))
            await mock.record.wait(finished=1)
            assert await runtime.cancel("s")
            with pytest.raises(RunCancelledError):
                await run


async def test_a_client_hears_the_second_refusal_and_when_to_come_again() -> None:
    mock = MockLLM()
    with fail_after(5):
        async with (
            mock.running() as url,
            served(Agent(), settings=Settings(model_api_url=url, model_name="echo")) as here,
        ):
            mock.fail_next(429, retry_after_s=0)
            mock.fail_next(429, retry_after_s=12)
            refused = await here.ask("x")
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "12")
            assert mock.record.started == 2
            mock.fail_next(429, retry_after_s=0)
            assert content_of(await here.ask("x")) == "x"


async def test_what_litellm_passes_on_is_waited_for() -> None:
    asked: list[bytes] = []

    async def chat(request: Request) -> Response:
        asked.append(await request.body())
        error = {"error": {"message": "limit", "type": "throttling_error", "param": None, "code": "429"}}
        return JSONResponse(error, 429, headers={"llm_provider-retry-after": "0"})

    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    with fail_after(5):
        async with listening(app) as url, Agent(RetryAfterModel(endpoint_model(url, "m"))) as agent:
            with pytest.raises(ModelHTTPError):
                await agent.run("x")
    assert len(asked) == 2
    assert asked[0] == asked[1]


# What is made of it


def test_a_model_of_the_environment_is_in_auto_mode_unless_native_is_asked_for() -> None:
    settings: Any = {"model_api_url": MODEL, "model_name": "m", "effort_quick_model": "m", "effort_standard_model": "n"}
    models = resolve_models(Settings(**settings))
    assert isinstance(models.model, AutoModeModel)
    assert models.efforts["quick"][0] is models.model  # what it learns about its tools, it learns once
    assert isinstance(models.efforts["standard"][0], AutoModeModel)
    for mode in ("native", "string"):
        assert isinstance(resolve_models(Settings(tool_call_mode=mode, **settings)).model, RetryAfterModel)
    given = mock_model(["x"])
    assert resolve_models(Settings(**settings), given=given).model is given


def test_an_endpoint_is_made_without_a_request_and_its_models_share_the_client() -> None:
    endpoint = Endpoint("http://localhost:1", api_key="k")
    first, second = endpoint.model("a"), endpoint.model("b")
    assert first.provider is second.provider
