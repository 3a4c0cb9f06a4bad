"""The container stack, held to what can be seen without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tidegauge.config import load
from tidegauge.model import Signal

DOCKER = Path(__file__).resolve().parents[1] / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = ("Dockerfile", "collector.Dockerfile")
OURS = ("receiver", "sink", "worker", "page")


@pytest.mark.parametrize("name", SERVICES)
def test_every_published_port_is_on_loopback_unless_told_otherwise(name: str) -> None:
    assert [
        each for each in SERVICES[name].get("ports", []) if not each.startswith("${BIND_ADDRESS:-127.0.0.1}:")
    ] == []


def test_every_image_is_pinned_to_a_version() -> None:
    bases = re.findall(r"^FROM (\S+)", "\n".join((DOCKER / name).read_text() for name in DOCKERFILES), re.M)
    images = bases + [each["image"] for each in SERVICES.values() if "image" in each]
    assert [each for each in images if not re.search(r":v?\d+\.\d+", each)] == []


def test_every_service_that_stays_has_a_health_check() -> None:
    staying = {name: each for name, each in SERVICES.items() if each.get("restart") != "no"}
    assert [name for name, each in staying.items() if "test" not in each.get("healthcheck", {})] == []


def test_each_health_check_of_ours_names_its_own_process() -> None:
    assert {name: SERVICES[name]["healthcheck"]["test"][-1] for name in OURS} == {name: name for name in OURS}


def test_every_volume_and_dependency_is_declared() -> None:
    mounts = [each.split(":")[0] for service in SERVICES.values() for each in service.get("volumes", [])]
    wanted = {each for service in SERVICES.values() for each in service.get("depends_on", {})}
    assert {each for each in mounts if not each.startswith(".")} == set(COMPOSE["volumes"])
    assert all((DOCKER / each).exists() for each in mounts if each.startswith("."))
    assert wanted <= SERVICES.keys()


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_the_stack_are_settings_of_tidegauge(name: str) -> None:
    environment = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    settings = load(environ=environment)
    assert settings.kafka.bootstrap_servers == ("kafka:9092",)
    assert settings.dsn.endswith("@clickhouse:8123")


def test_every_variable_that_must_be_set_is_in_the_example() -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?", (DOCKER / "compose.yaml").read_text()))
    given = set(re.findall(r"^(\w+)=", (DOCKER / ".env.example").read_text(), re.M))
    assert wanted <= given


def test_the_collector_writes_what_the_sink_reads() -> None:
    exporter = yaml.safe_load((DOCKER / "otel-collector.yaml").read_text())["exporters"]["kafka"]
    topics = {exporter[kind]["topic"] for kind in ("traces", "logs", "metrics")}
    assert topics == {each.value for each in Signal if each.value.startswith("otlp_")}
    assert {exporter[kind]["encoding"] for kind in ("traces", "logs", "metrics")} == {"otlp_proto"}
    assert exporter["producer"]["required_acks"] == -1
    assert exporter["sending_queue"]["storage"] == "file_storage"


def test_grafana_reads_only_and_cannot_lift_its_limits() -> None:
    users = ElementTree.parse(DOCKER / "clickhouse" / "users.xml").getroot()
    profile = users.find("profiles/tidegauge_reader")
    assert profile is not None
    assert [each.text for each in users.findall("users/grafana/grants/query")] == ["GRANT SELECT ON tidegauge.*"]
    limits = {each.tag for each in profile if each.tag not in ("readonly", "constraints")}
    assert {each.tag for each in profile.findall("constraints/*")} == limits


def test_the_grafana_data_source_is_the_one_that_the_dashboards_name() -> None:
    source = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/tidegauge.yaml").read_text())["datasources"][0]
    assert source["uid"] == load(environ={}).grafana.datasource_uid
    assert source["jsonData"]["username"] == "grafana"
