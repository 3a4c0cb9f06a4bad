"""Wiring: which parts may run where, and loops that go on after a failed round."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path

import pytest

from tidegauge import instruments
from tidegauge.app import Periodic, Role, Service
from tidegauge.clock import SystemClock
from tidegauge.config import Settings, load
from tidegauge.errors import ConfigError, TidegaugeError
from tidegauge.store import Store


def embedded(store: Store, **sections: object) -> Settings:
    free = {"http_port": 0, "grpc_port": 0}
    base = {"clickhouse": {"dsn": store.dsn, "database": store.database}, "receiver": free, "page": {"port": 0}}
    return Settings.model_validate(base | sections)


def test_a_failed_round_is_counted_and_the_next_one_runs() -> None:
    rounds: list[datetime] = []
    enough = threading.Event()

    def work(now: datetime) -> None:
        rounds.append(now)
        if len(rounds) == 1:
            raise RuntimeError("this round fails")
        enough.set()

    loop = Periodic("test-loop", 0.01, work, SystemClock())
    ran_again = enough.wait(10)
    loop.close()

    assert ran_again
    assert instruments.REGISTRY.get_sample_value("tidegauge_loop_failures_total", {"loop": "test-loop"}) == 1
    assert all(each.tzinfo is not None for each in rounds)


def test_the_whole_service_starts_with_its_timers_and_stops(store: Store) -> None:
    service = Service(embedded(store, detectors={"interval_s": 0.05}, alerting={"interval_s": 0.05}))
    service.close()

    assert service.receiver_url.startswith("http://127.0.0.1:")
    assert service.page_url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("role", [Role.RECEIVER, Role.SINK])
def test_receiver_and_sink_apart_need_kafka_between_them(role: Role, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kafka\.bootstrap_servers"):
        Service(load(environ={"TIDEGAUGE_DATA_DIR": str(tmp_path)}), frozenset({role}))


@pytest.mark.parametrize("role", [Role.WORKER, Role.PAGE])
def test_worker_and_page_apart_need_a_server_because_the_embedded_database_has_one_process(
    role: Role, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="belongs to one process"):
        Service(load(environ={"TIDEGAUGE_DATA_DIR": str(tmp_path)}), frozenset({role}))


def test_a_port_in_use_is_named_and_nothing_stays_behind(store: Store) -> None:
    first = Service(embedded(store, detectors={"enabled": False}, alerting={"enabled": False}))
    taken = int(first.page_url.rpartition(":")[2])
    before = threading.active_count()
    try:
        with pytest.raises(TidegaugeError, match=f"cannot listen on .*{taken}"):
            Service(embedded(store, page={"port": taken}))
    finally:
        left = threading.active_count()
        first.close()

    assert left <= before
