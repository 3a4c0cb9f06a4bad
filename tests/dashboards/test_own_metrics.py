"""Panels over Tidegauge's own metrics: what grew, also across restarts and processes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegauge import instruments
from tidegauge.dashboards.boards import BOARDS, own_metrics
from tidegauge.store import Store

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = {"start": START, "end": START + timedelta(hours=1), "step": 600}


def counted(minute: int, value: float, *, process: str = "a", reason: str = "x", since: int = -60) -> dict[str, Any]:
    return {
        "ServiceName": "tidegauge",
        "MetricName": "refused_total",
        "ResourceAttributes": {"service.instance.id": process},
        "Attributes": {"reason": reason},
        "StartTimeUnix": START + timedelta(minutes=since),
        "TimeUnix": START + timedelta(minutes=minute),
        "Value": value,
    }


def series(store: Store, sql: str) -> list[tuple[int, str, float]]:
    return [((row["time"] - START).seconds // 60, row["series"], row["value"]) for row in store.rows(sql, HOUR)]


def test_a_counter_shows_what_it_grew_by_in_each_bucket_added_over_processes(store: Store) -> None:
    values = [(1, 100, "a"), (5, 104, "a"), (12, 110, "a"), (2, 7, "b"), (14, 9, "b")]
    store.insert("otel_metrics_sum", [counted(minute, value, process=process) for minute, value, process in values])

    grown = series(store, own_metrics.increase(("refused_total",), "Attributes['reason']"))

    assert grown == [(0, "x", 4.0), (10, "x", 8.0)]
    assert store.value(own_metrics.grown(("refused_total",)), HOUR) == 12


def test_a_restarted_counter_grew_by_its_new_value_and_a_new_process_began_at_nothing(store: Store) -> None:
    values = [(1, 100, "a", -60), (5, 3, "a", 4), (12, 6, "b", 11)]
    rows = [counted(minute, value, process=process, since=since) for minute, value, process, since in values]
    store.insert("otel_metrics_sum", rows)

    grown = series(store, own_metrics.increase(("refused_total",), "Attributes['reason']"))

    assert grown == [(0, "x", 3.0), (10, "x", 6.0)]


def test_a_gauge_shows_the_last_value_of_each_process_in_a_bucket(store: Store) -> None:
    values = [(1, 5, "a"), (2, 8, "a"), (3, 2, "b"), (11, 1, "a")]
    store.insert("otel_metrics_gauge", [counted(minute, value, process=name) for minute, value, name in values])

    assert series(store, own_metrics.gauge(("refused_total",), "''")) == [(0, "", 10.0), (10, "", 1.0)]
    assert series(store, own_metrics.gauge(("refused_total",), "''", "max")) == [(0, "", 8.0), (10, "", 1.0)]


def test_a_histogram_shows_the_mean_of_what_was_observed(store: Store) -> None:
    def observed(minute: int, count: int, total: float) -> dict[str, Any]:
        row = counted(minute, 0)
        del row["Value"]
        return row | {"Count": count, "Sum": total}

    store.insert("otel_metrics_histogram", [observed(1, 10, 5.0), observed(4, 14, 6.0), observed(30, 14, 6.0)])

    assert series(store, own_metrics.mean("refused_total", "''")) == [(0, "", 0.25)]


def test_metrics_of_other_services_and_of_other_times_are_not_mixed_in(store: Store) -> None:
    other = counted(1, 50) | {"ServiceName": "shop"}
    store.insert("otel_metrics_sum", [other, counted(-5, 10), counted(65, 90)])

    assert series(store, own_metrics.increase(("refused_total",), "''")) == []


def test_every_own_metric_that_a_panel_reads_is_one_that_tidegauge_has() -> None:
    families = list(instruments.REGISTRY.collect())
    known = {f"{each.name}_total" if each.type == "counter" else each.name for each in families}

    read = {name for board in BOARDS for panel in board.panels for name in re.findall(r"'(tidegauge_\w+)'", panel.sql)}

    assert len(read) > 10
    assert read <= known
