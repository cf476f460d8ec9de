"""What all tests share: the event loop, and an environment that says nothing."""

from __future__ import annotations

import os

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

# Logfire's plugin for Pydantic would load OpenTelemetry's SDK into every process, and slow every validation down.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
# As a server does it; here tests may import a2a first, and that is when it looks.
os.environ.setdefault("OTEL_INSTRUMENTATION_A2A_SDK_ENABLED", "false")

from pais_sdk import Settings


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _leave_no_trace(  # pyright: ignore[reportUnusedFunction]
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture(autouse=True)
def _silent_environment(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    """No variable of the machine reaches a test, and no key of a real provider."""
    for field in Settings.model_fields.values():
        for name in getattr(field.validation_alias, "choices", ()):
            monkeypatch.delenv(str(name).upper(), raising=False)
    for name in [name for name in os.environ if name.endswith("_API_KEY") or name.startswith("MCP_SERVER_")]:
        monkeypatch.delenv(name)
