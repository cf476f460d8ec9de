"""What telemetry says of where it comes from."""

from __future__ import annotations

from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource

from ..settings import TelemetrySettings


def resource_of(service_name: str | None, settings: TelemetrySettings, *, otherwise: str | None = None) -> Resource:
    """Return the resource of this process, with a `service.instance.id` of its own.

    Args:
        service_name: Its name, in place of what the environment says.
        settings: Name it, where OTEL_RESOURCE_ATTRIBUTES does not.
        otherwise: Its name where nothing else names it; None for `agent`.
    """
    name = service_name or settings.otel_service_name or _named_in_attributes() or settings.agent_name or otherwise
    return Resource.create({SERVICE_NAME: name or "agent"})


def _named_in_attributes() -> str | None:
    name = OTELResourceDetector().detect().attributes.get(SERVICE_NAME)
    return str(name) if name else None
