"""deploy/observability: its files agree with each other and with the docs. The images themselves are not run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy/observability"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
COLLECTORS = sorted(name for name, service in SERVICES.items() if "otel/" in service["image"])
BACKENDS = sorted(set(SERVICES) - set(COLLECTORS))


def config_of(collector: str) -> dict[str, Any]:
    """Return the configuration that a collector runs with."""
    service = SERVICES[collector]
    (volume,) = service["volumes"]
    host, inside, mode = volume.split(":")
    assert mode == "ro"
    assert service["command"] == [f"--config={inside}"]
    return yaml.safe_load((FOLDER / host).read_text())


def ports_of(service: str) -> dict[str, str]:
    """Return the ports of a service, from those of the host to its own."""
    ports = [re.fullmatch(r"127\.0\.0\.1:(\d+):(\d+)", port) for port in SERVICES[service].get("ports", [])]
    return {port[1]: port[2] for port in ports if port}


def test_there_is_a_collector_for_each_backend() -> None:
    assert BACKENDS == ["grafana", "jaeger"]
    assert [f"{backend}-collector" for backend in BACKENDS] == COLLECTORS
    for backend in BACKENDS:
        assert SERVICES[backend]["profiles"] == SERVICES[f"{backend}-collector"]["profiles"] == [backend]
        assert SERVICES[f"{backend}-collector"]["depends_on"] == [backend]


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_pinned_and_ports_are_on_the_loopback_address(service: str) -> None:
    assert re.fullmatch(r"[\w/-]+:\d+\.\d+\.\d+", SERVICES[service]["image"])
    assert len(ports_of(service)) == len(SERVICES[service]["ports"])


@pytest.mark.parametrize("service", SERVICES)
def test_volumes_are_files_that_are_there_or_named(service: str) -> None:
    for volume in SERVICES[service].get("volumes", []):
        source = volume.split(":")[0]
        assert (FOLDER / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]


@pytest.mark.parametrize("collector", COLLECTORS)
def test_pipelines_take_all_signals_and_name_what_is_defined(collector: str) -> None:
    config = config_of(collector)
    pipelines = config["service"]["pipelines"]
    assert set(pipelines) == {"traces", "metrics", "logs"}
    for kind in ("receivers", "processors", "exporters"):
        used = [name for pipeline in pipelines.values() for name in pipeline[kind]]
        assert set(used) == set(config[kind])
        assert all(pipeline[kind] for pipeline in pipelines.values())


@pytest.mark.parametrize("collector", COLLECTORS)
def test_the_collector_sends_to_the_backend_of_its_profile(collector: str) -> None:
    exporters = config_of(collector)["exporters"]
    assert not {"logging", "otlp", "otlphttp"} & {name.partition("/")[0] for name in exporters}  # their former names
    endpoints = [exporter["endpoint"] for exporter in exporters.values() if exporter and "endpoint" in exporter]
    (backend,) = SERVICES[collector]["depends_on"]
    assert endpoints == [f"{backend}:4317"]
    assert config_of(collector)["service"]["pipelines"]["traces"]["exporters"] == [f"otlp_grpc/{backend}"]


@pytest.mark.parametrize("collector", COLLECTORS)
def test_the_collector_listens_where_its_ports_lead(collector: str) -> None:
    protocols = config_of(collector)["receivers"]["otlp"]["protocols"]
    inside = {name: protocol["endpoint"].rpartition(":")[2] for name, protocol in protocols.items()}
    assert inside == {"grpc": "4317", "http": "4318"}
    assert ports_of(collector) == {"4317": "4317", "4318": "4318"}
    assert all(protocol["endpoint"].startswith("0.0.0.0:") for protocol in protocols.values())


@pytest.mark.parametrize("page", ["deploy/observability/README.md", "docs/telemetry.md"])
def test_the_pages_name_the_commands_and_the_ports(page: str) -> None:
    text = (ROOT / page).read_text()
    for backend in BACKENDS:
        assert f"docker compose --profile {backend} up -d" in text
        for port in ports_of(backend):
            assert f"http://127.0.0.1:{port}" in text
    for port in ports_of(COLLECTORS[0]):
        assert f"http://127.0.0.1:{port}" in text


def test_the_relative_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)\s:]+)\)", (FOLDER / "README.md").read_text()):
        assert (FOLDER / target).exists(), target
