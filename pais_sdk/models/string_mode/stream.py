"""The answer of a model in string mode, streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from opentelemetry.trace import Span
from pydantic_ai.messages import (
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.usage import RequestUsage

from .again import counted, gap, note
from .calls import Call, Malformed
from .offer import Offer
from .reading import Reading


class StringModeStream(StreamedResponse):
    """Passes a model's stream on as it comes, with the calls in its text as calls.

    Args:
        model_request_parameters: Those of the run, with its tools.
        inner: The stream of the model.
        offer: What the request offers.
        ask_again: Closes the stream, and opens that of the second request.
        span: Gets told of calls that are none.
    """

    def __init__(
        self,
        model_request_parameters: ModelRequestParameters,
        *,
        inner: StreamedResponse,
        offer: Offer,
        ask_again: Callable[[str, Malformed], Awaitable[StreamedResponse]],
        span: Span,
    ) -> None:
        super().__init__(model_request_parameters)
        self._inner = inner
        self._offer = offer
        self._ask_again = ask_again
        self._span = span
        self._malformed = 0
        self._usage_before: RequestUsage | None = None
        self._told = ""  # the last text that went out
        self._index = 0  # of the part that text comes in
        self._details: TextPart | None = None  # what else there is to tell of that part: its id, its sources
        self._gap = ""  # goes before the next text
        self._take_over()

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        while True:
            reading, self._index, self._details = Reading(self._offer), 0, None
            async for event in self._inner:
                for told in self._read(reading, event):
                    yield told
            if self.cancelled:
                break
            for piece in reading.finish():
                for told in self._tell(piece):
                    yield told
            if reading.malformed is None or not reading.failed or self._inner.state == "suspended":
                break
            self._malformed += 1
            note(self._span, reading.malformed, times=self._malformed)
            if self._usage_before is not None:
                for told in self._tell(reading.surfaced()):
                    yield told
                break
            usage = self._inner.usage
            self._inner = await self._ask_again(reading.said, reading.malformed)
            self._usage_before, self._gap = usage, gap(self._told)
        self._take_over()
        if reading.called:
            self.finish_reason = "tool_call"

    def _read(self, reading: Reading, event: ModelResponseStreamEvent) -> Iterable[ModelResponseStreamEvent]:
        if isinstance(event, PartDeltaEvent):
            source = event.delta
        elif isinstance(event, PartStartEvent):
            source = event.part
        else:  # of parts that end, and of the final result: this stream tells its own
            return ()
        if not isinstance(source, TextPart | TextPartDelta):
            if isinstance(source, ToolCallPart):
                reading.called_otherwise()
            return self._pass_on(event)
        self._index = event.index
        if isinstance(source, TextPart):
            self._details, text = source, source.content
        else:
            text = source.content_delta
            if source.provider_details or source.citations_delta is not None:
                self._details = source.apply(self._details or TextPart(""))
        pieces = reading.feed(text)
        if len(pieces) == 1:
            return self._tell(pieces[0])
        if not pieces and self._details is not None and self._parts_manager.get_part_by_vendor_id(self._key):
            return self._tell("")
        return [told for piece in pieces for told in self._tell(piece)]

    @property
    def _key(self) -> tuple[bool, int]:
        """Which part text goes to: one of the first, or of the second request."""
        return self._usage_before is None, self._index

    def _tell(self, piece: str | Call) -> Iterator[ModelResponseStreamEvent]:
        if isinstance(piece, Call):
            called = self._parts_manager.handle_tool_call_part(
                vendor_part_id=None, tool_name=piece.name, args=piece.arguments
            )
            return iter((called,))
        if self._gap and piece:
            piece, self._gap = self._gap + piece, ""
        self._told = piece or self._told
        details, self._details = self._details, None
        if details is None:
            return self._parts_manager.handle_text_delta(vendor_part_id=self._key, content=piece)
        return self._parts_manager.handle_text_delta(
            vendor_part_id=self._key,
            content=piece,
            id=details.id,
            provider_name=details.provider_name,
            provider_details=details.provider_details,
            citations=details.citations,
        )

    def _pass_on(self, event: PartStartEvent | PartDeltaEvent) -> Iterator[ModelResponseStreamEvent]:
        """Pass on what is no text: thinking, calls that the model makes by itself, files."""
        key = (self._usage_before is None, event.index)
        if isinstance(event, PartStartEvent):
            yield self._parts_manager.handle_part(vendor_part_id=key, part=replace(event.part))
            return
        delta = event.delta
        if isinstance(delta, ThinkingPartDelta):
            yield from self._parts_manager.handle_thinking_delta(
                vendor_part_id=key,
                content=delta.content_delta,
                signature=delta.signature_delta,
                provider_name=delta.provider_name,
                provider_details=delta.provider_details,
            )
        elif isinstance(delta, ToolCallPartDelta):
            yield from self._parts_manager.handle_tool_call_delta_events(
                vendor_part_id=key,
                tool_name=delta.tool_name_delta,
                args=delta.args_delta,
                tool_call_id=delta.tool_call_id,
                provider_name=delta.provider_name,
                provider_details=delta.provider_details,
            )

    def _take_over(self) -> None:
        """Take what the model's stream knows of itself by now."""
        inner = self._inner
        self.provider_response_id = inner.provider_response_id
        self.provider_details = inner.provider_details
        self.canonical_system = inner.canonical_system
        self.finish_reason = inner.finish_reason
        self.state = inner.state
        self.metadata = inner.metadata if self.metadata is None else self.metadata
        self.failed_attempts = inner.failed_attempts if self.failed_attempts is None else self.failed_attempts

    def get(self) -> ModelResponse:
        if not self._finished:
            self._take_over()
        return super().get()

    @property
    def usage(self) -> RequestUsage:
        usage = self._inner.usage
        if self._usage_before is not None:
            usage = self._usage_before + usage
        return counted(usage, self._malformed)

    async def close_stream(self) -> None:
        await self._inner.cancel()

    def get_stream_cancel_errors(self) -> tuple[type[BaseException], ...]:
        return self._inner.get_stream_cancel_errors()

    @property
    def model_name(self) -> str:
        return self._inner.model_name

    @property
    def provider_name(self) -> str | None:
        return self._inner.provider_name

    @property
    def provider_url(self) -> str | None:
        return self._inner.provider_url

    @property
    def timestamp(self) -> datetime:
        return self._inner.timestamp
