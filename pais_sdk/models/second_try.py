"""A model that may be asked once more where its answer is an error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ModelAPIError
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings


class SecondTryModel(WrapperModel, ABC):
    """Sends a request a second time, only before anything of the answer was there; the second failure is the error."""

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        asked = self.wrapped
        try:
            return await asked.request(messages, model_settings, model_request_parameters)
        except ModelAPIError as error:
            second = await self._second(asked, error, model_request_parameters)
            if second is None:
                raise
        response = await second.request(messages, model_settings, model_request_parameters)
        self._answered(asked, second)
        return response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        request = (messages, model_settings, model_request_parameters, run_context)
        asked, second, stream = self.wrapped, None, None
        async with AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(asked.request_stream(*request))
            except ModelAPIError as error:
                second = await self._second(asked, error, model_request_parameters)
                if second is None:
                    raise
            if second is not None:
                stream = await stack.enter_async_context(second.request_stream(*request))
                self._answered(asked, second)
            assert stream is not None
            yield stream

    @abstractmethod
    async def _second(self, asked: Model, error: ModelAPIError, parameters: ModelRequestParameters) -> Model | None:
        """Return whom to ask after an error, when it is time; None where the error stands."""

    def _answered(self, asked: Model, second: Model) -> None:
        """Take note of a second request that was answered; of a stream, that it was opened."""
