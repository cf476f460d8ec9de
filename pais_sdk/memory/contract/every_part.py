"""One of every part that a message can have."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    BinaryImage,
    CachePoint,
    CompactionPart,
    DocumentUrl,
    FilePart,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    NativeToolCallPart,
    NativeToolReturnPart,
    RetryFeedbackPart,
    RetryInfo,
    SystemPromptPart,
    TextContent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UploadedFile,
    UserPromptPart,
    VideoUrl,
)
from pydantic_ai.usage import RequestUsage

_AT = datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
_PIXEL = BinaryImage(bytes(range(256)) * 4, media_type="image/png", vendor_metadata={"detail": "low"})
_ODD = "grüße 🦉 \u0000 \u2028 \\u0041 'quoted' \"twice\" \\ ' ; -- %s $1 {x} \r\n\t \x7f"


def every_part() -> dict[str, ModelMessage]:
    """Return messages by a name of what is particular to each."""
    return {
        "text": ModelRequest([UserPromptPart("hello", timestamp=_AT)], run_id="run"),
        "no run": ModelRequest([UserPromptPart("hello", timestamp=_AT)]),
        "nothing": ModelResponse([], timestamp=_AT),
        "odd characters": ModelRequest([UserPromptPart(_ODD, timestamp=_AT)], instructions=_ODD, metadata={_ODD: _ODD}),
        "a megabyte": ModelResponse([TextPart("x" * 1_000_000)], timestamp=_AT),
        "an empty text": ModelResponse([TextPart("")], timestamp=_AT),
        "prompts": ModelRequest(
            [
                SystemPromptPart("be brief", timestamp=_AT, dynamic_ref="ref"),
                UserPromptPart("hello", timestamp=_AT),
            ],
            instructions="and polite",
            metadata={"a": [1, 2.5, None, True, {"b": "c"}]},
            state="interrupted",
            run_id="run",
            conversation_id="conversation",
            timestamp=_AT,
        ),
        "files": ModelRequest(
            [
                UserPromptPart(
                    [
                        "look",
                        _PIXEL,
                        BinaryContent(b"%PDF\x00\xff", media_type="application/pdf"),
                        ImageUrl("https://example.com/a.png", force_download=True),
                        AudioUrl("https://example.com/a.mp3", vendor_metadata={"a": 1}),
                        VideoUrl("https://example.com/a.mp4"),
                        DocumentUrl("https://example.com/a", media_type="application/pdf"),
                        UploadedFile("file-1", "openai", media_type="text/plain"),
                        TextContent("more", metadata={"a": 1}),
                        CachePoint(ttl="1h"),
                    ],
                    timestamp=_AT,
                )
            ]
        ),
        "tool results": ModelRequest(
            [
                ToolReturnPart("t", {"y": [1, {"z": None}]}, "call-1", metadata={"source": "x"}, timestamp=_AT),
                ToolReturnPart("t", "text", "call-2", outcome="failed", timestamp=_AT),
                ToolReturnPart("t", ["text", _PIXEL], "call-3", outcome="denied", timestamp=_AT),
                ToolReturnPart("t", None, "call-4", outcome="interrupted", timestamp=_AT),
                ToolReturnPart("t", "no", "call-5", outcome="retried", retry=RetryInfo("model_retry"), timestamp=_AT),
                RetryFeedbackPart(
                    [{"type": "missing", "loc": ("a", 0), "msg": "Field required", "input": {"b": 1}}],
                    retry=RetryInfo("validation_error", attempt=1, max_retries=2),
                    timestamp=_AT,
                ),
                RetryFeedbackPart("say something", retry=RetryInfo("no_output"), timestamp=_AT),
            ],
            run_id="run",
            conversation_id="conversation",
            timestamp=_AT,
        ),
        "an answer": ModelResponse(
            [
                ThinkingPart("hm", id="t1", signature="c2ln", provider_name="p", provider_details={"a": 1}),
                TextPart("ok", id="x1", provider_details={"b": [2]}),
                ToolCallPart("t", '{"x": 1}', "call-1", provider_details={"c": 3}),
                ToolCallPart("t", {"x": {"y": [1, 2]}}, "call-2"),
                ToolCallPart("t", None, "call-3"),
                ToolCallPart("t", "{not json", "call-4"),
                NativeToolCallPart("web_search", {"q": "x"}, "call-5", provider_name="p", provider_details={"d": 4}),
                NativeToolReturnPart("web_search", {"hits": [1]}, "call-5", provider_name="p", timestamp=_AT),
                FilePart(_PIXEL, id="f1", provider_details={"e": 5}),
                CompactionPart("earlier", id="k1", provider_name="p", metadata={"f": 6}),
            ],
            usage=RequestUsage(input_tokens=1, output_tokens=2, cache_read_tokens=3, details={"reasoning": 4}),
            model_name="m",
            provider_name="p",
            provider_url="https://example.com",
            provider_details={"finish_reason": "STOP", "at": "now"},
            provider_response_id="id",
            finish_reason="tool_call",
            metadata={"g": 7},
            state="interrupted",
            run_id="run",
            conversation_id="conversation",
            timestamp=_AT,
        ),
    }
