"""What the environment says of telemetry."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr, field_validator

from ..errors import ConfigurationError
from .base import EnvironmentSettings
from .variables import env, names_of

_PROTOCOLS = ("grpc", "http/protobuf")
_KNOWN = {
    "otel_protocol": _PROTOCOLS,
    "otel_traces_protocol": _PROTOCOLS,
    "otel_metrics_protocol": _PROTOCOLS,
    "otel_logs_protocol": _PROTOCOLS,
    "otel_traces_exporter": ("otlp", "console", "none"),
    "otel_metrics_exporter": ("otlp", "console", "none"),
    "otel_logs_exporter": ("otlp", "none"),  # they are on stderr already
    "otel_metrics_exemplar_filter": ("always_off", "trace_based", "always_on"),
}


class TelemetrySettings(EnvironmentSettings):
    """The variables of OpenTelemetry that decide something here.

    Those of the exporters (headers, TLS, timeouts, compression), samplers, resource attributes, limits, batches and
    propagators are read by OpenTelemetry's SDK itself.

    Source:
        OpenTelemetry's specification of SDK environment variables; OTEL_ENABLED, OTEL_INCLUDE_HTTP_SERVER,
        OTEL_INCLUDE_HTTP_CLIENT, OTEL_INSTRUMENTATION_VERSION and OTEL_EVENT_MODE are KAOS's.
    """

    agent_name: str | None = env("AGENT_NAME", text="The agent's name; unset, the agent's own, else `agent`.")
    otel_enabled: bool | None = env(
        "OTEL_ENABLED",
        text="Whether traces, metrics and logs are exported; unset, where an endpoint below or LOGFIRE_TOKEN is set.",
    )
    otel_sdk_disabled: bool = env("OTEL_SDK_DISABLED", default=False, text="`true` switches them off, whatever else.")
    otel_service_name: str | None = env(
        "OTEL_SERVICE_NAME",
        text="The service's name; unset, `service.name` of OTEL_RESOURCE_ATTRIBUTES, AGENT_NAME, or the agent's own.",
    )
    otel_endpoint: str | None = env(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        text="The collector, such as `http://localhost:4317` for gRPC or `http://localhost:4318` for HTTP.",
    )
    otel_traces_endpoint: str | None = env(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", text="The full URL for traces, where it is another."
    )
    otel_metrics_endpoint: str | None = env(
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", text="The full URL for metrics, where it is another."
    )
    otel_logs_endpoint: str | None = env(
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", text="The full URL for logs, where it is another."
    )
    otel_protocol: str = env(
        "OTEL_EXPORTER_OTLP_PROTOCOL", default="grpc", text="How the collector is spoken to: `grpc` or `http/protobuf`."
    )
    otel_traces_protocol: str | None = env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", text="The same for traces alone.")
    otel_metrics_protocol: str | None = env("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", text="The same for metrics alone.")
    otel_logs_protocol: str | None = env("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", text="The same for logs alone.")
    otel_traces_exporter: str = env(
        "OTEL_TRACES_EXPORTER", default="otlp", text="Where traces go: `otlp`, `console` (stderr) or `none`."
    )
    otel_metrics_exporter: str = env(
        "OTEL_METRICS_EXPORTER", default="otlp", text="Where metrics go: `otlp`, `console` (stderr) or `none`."
    )
    otel_logs_exporter: str = env(
        "OTEL_LOGS_EXPORTER", default="otlp", text="Where logs go, besides stderr: `otlp` or `none`."
    )
    otel_metrics_exemplar_filter: str = env(
        "OTEL_METRICS_EXEMPLAR_FILTER",
        default="always_off",
        text="Which measurements are exported with the trace they were made in: `always_off` (none), `trace_based` or "
        "`always_on`.",
    )
    otel_capture_content: bool = env(
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
        default=True,
        text="Whether spans hold what was said: prompts, answers, arguments and results of tools. OpenTelemetry's "
        "words `span_only`, `event_only`, `span_and_event` and `no_content` do, too.",
    )
    otel_instrumentation_version: str | None = env(
        "OTEL_INSTRUMENTATION_VERSION",
        text="The format of Pydantic AI's spans: 2 to 6; unset, 5. Another value is told of once, and 5 is used.",
    )
    otel_event_mode: str | None = env(
        "OTEL_EVENT_MODE",
        text="`attributes`, the only mode of Pydantic AI's spans there is; another value is told of once.",
    )
    otel_include_http_server: bool = env(
        "OTEL_INCLUDE_HTTP_SERVER", default=False, text="Whether each request that is answered has a span of its own."
    )
    otel_include_http_client: bool = env(
        "OTEL_INCLUDE_HTTP_CLIENT",
        default=False,
        text="Whether each request that goes out over HTTPX (of models, MCP and delegation) has a span of its own.",
    )
    otel_excluded_urls: str = env(
        "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS",
        "OTEL_PYTHON_EXCLUDED_URLS",
        default="/health,/ready",
        text="Requests without spans and metrics: regular expressions that are searched for in their paths.",
    )
    logfire_token: SecretStr | None = env(
        "LOGFIRE_TOKEN",
        text="Hands telemetry over to Logfire's own package, which must be installed; there is no other exporter then.",
    )

    @field_validator(*_KNOWN, mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("otel_capture_content", mode="before")
    @classmethod
    def _content(cls, value: Any) -> Any:
        word = value.strip().lower() if isinstance(value, str) else value
        return {"no_content": False, "span_only": True, "event_only": True, "span_and_event": True}.get(word, word)

    def check(self) -> None:
        """Refuse what OpenTelemetry has and this package has not, or nobody.

        It matters only where telemetry is set up: a process that is instrumented by somebody else may well have it.

        Raises:
            ConfigurationError: A value cannot be used; the text names the variable.
        """
        for name, known in _KNOWN.items():
            value = getattr(self, name)
            if value is not None and value not in known:
                [variable] = names_of(type(self).model_fields[name])
                raise ConfigurationError(f"{variable}={value[:40]!r} cannot be used; there are {', '.join(known)}")

    @property
    def telemetry_on(self) -> bool:
        """Whether the environment asks for telemetry."""
        if self.otel_sdk_disabled or self.otel_enabled is False:
            return False
        return bool(self.otel_enabled or self.has_endpoint or self.logfire_token is not None)

    @property
    def telemetry_off(self) -> bool:
        """Whether the environment forbids telemetry, also where code asks for it."""
        return self.otel_sdk_disabled or self.otel_enabled is False

    @property
    def has_endpoint(self) -> bool:
        """Whether a collector is named."""
        endpoints = (
            self.otel_endpoint,
            self.otel_traces_endpoint,
            self.otel_metrics_endpoint,
            self.otel_logs_endpoint,
        )
        return any(endpoints)
