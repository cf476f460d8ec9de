"""An OpenAI-compatible endpoint: its models share one HTTP client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
from opentelemetry import propagate
from pydantic_ai import RunContext
from pydantic_ai.exceptions import ModelAPIError, UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from ..errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

_NO_KEY = "not-needed"  # the client wants one; endpoints without keys ignore it
_OPENAIS_OWN = (".openai.com", ".openai.azure.com")


class Endpoint:
    """An OpenAI-compatible endpoint.

    Its models share one HTTP client, which is open as long as one of them is. The client never retries by itself, so
    that timeouts mean what they say and nobody pays twice.

    Args:
        url: Where it is; `/v1` is appended where it is missing.
        api_key: Its key; a placeholder goes out where there is none, and nothing of OpenAI's variables ever does.

    Raises:
        ConfigurationError: The URL or the key cannot be used.
    """

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        base = url.strip().rstrip("/")
        self.url = base if base.endswith("/v1") else f"{base}/v1"
        self.api_key = (api_key or "").strip() or _NO_KEY
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ConfigurationError("its key has a character that no HTTP header can have")
        self._host = _host_of(self.url)

    def model(self, name: str) -> Model:
        """Return a model that it serves."""
        provider = self._provider
        from .openai_chat import LenientChatModel

        return _ModelThere(LenientChatModel(name, provider=provider))

    @cached_property
    def _provider(self) -> OpenAICompatibleProvider:
        try:
            from pydantic_ai.profiles.openai import OpenAIModelProfile
            from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
        except ImportError as error:
            raise MissingExtraError("an OpenAI-compatible endpoint", extra="server") from error
        # Only OpenAI's own models want a limit of tokens as `max_completion_tokens`, which Ollama, for one, ignores.
        own = f".{self._host}".endswith(_OPENAIS_OWN)
        provider = OpenAICompatibleProvider(
            "openai-compatible",
            base_url=self.url,
            api_key=self.api_key,
            profile=OpenAIModelProfile(openai_chat_supports_max_completion_tokens=own),
        )
        client = provider.client
        client.max_retries = 0
        # The client takes these from variables of OpenAI's, whose key may be among the headers.
        client.organization = client.project = client.admin_api_key = None
        client._custom_headers = {}  # pyright: ignore[reportPrivateUsage]
        return provider


def endpoint_model(url: str, name: str, *, api_key: str | None = None) -> Model:
    """Return a model behind an OpenAI-compatible endpoint, with an HTTP client of its own.

    Args:
        url: The endpoint; `/v1` is appended where it is missing.
        name: The model's name there.
        api_key: The key of that endpoint.
    """
    return Endpoint(url, api_key=api_key).model(name)


class _ModelThere(WrapperModel):
    """A model whose endpoint may answer with anything; what is no answer is its failure, as a status 500 would be."""

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        with self._answering():
            return await self.wrapped.request(messages, _in_trace(model_settings), model_request_parameters)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        model_settings = _in_trace(model_settings)
        request = self.wrapped.request_stream(messages, model_settings, model_request_parameters, run_context)
        async with AsyncExitStack() as stack:
            with self._answering():
                stream = await stack.enter_async_context(request)
            yield stream

    @contextmanager
    def _answering(self) -> Generator[None]:
        try:
            yield
        except UnexpectedModelBehavior as error:
            if type(error) is not UnexpectedModelBehavior:
                raise  # what its subclasses are about was read
            raise ModelAPIError(self.model_name, f"the endpoint's answer cannot be read: {error.message}") from error


def _in_trace(settings: ModelSettings | None) -> ModelSettings | None:
    """Return settings by which a request carries the trace that it belongs to, and the baggage."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    if not carrier:
        return settings
    settings = settings or {}
    return {**settings, "extra_headers": {**settings.get("extra_headers", {}), **carrier}}


def _host_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading the port checks it
        httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL):
        parts = host = None
    if parts is None or not host or " " in host:
        raise ConfigurationError(
            "an endpoint's URL must have a host, and a valid port, as in http://localhost:11434/v1"
        )
    if "@" in parts.netloc:
        raise ConfigurationError("an endpoint's URL must hold no user and no password; its key has a place of its own")
    if parts.query or parts.fragment:
        raise ConfigurationError("an endpoint's URL must end with its path, without `?` and `#`")
    return host
