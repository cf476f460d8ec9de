"""Telemetry: traces, metrics and logs by OpenTelemetry."""
