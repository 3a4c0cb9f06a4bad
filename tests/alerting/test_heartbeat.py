"""The sign of life: sent while rules can be evaluated, and only then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegauge.alerting import AlertLoop, Rule
from tidegauge.alerting.heartbeat import heartbeat
from tidegauge.config import Alerting
from tidegauge.errors import ConfigError, StoreError
from tidegauge.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WHO = {"severity": "page", "owner": "team", "runbook": "r", "action": "a"}
RULE = Rule.model_validate({"alert": "Refusals", "metric": "refusal_rate", "above": 0.05, **WHO})


def settings(url: str, **changes: Any) -> Alerting:
    return Alerting.model_validate({"heartbeat_url": url, "allow_internal_addresses": True, "timeout_s": 5} | changes)


def rounds(loop: AlertLoop, *seconds: int) -> None:
    for each in seconds:
        loop.run(NOW + timedelta(seconds=each))
        assert loop._heartbeat
        loop._heartbeat.flush(10)


def test_it_beats_once_in_each_interval(store: Store, receiver: Any) -> None:
    loop = AlertLoop(store, settings(receiver.url), rules=[RULE])

    rounds(loop, 0, 30, 59, 60, 90, 121)
    loop.close()

    assert [each.json["at"][11:19] for each in receiver.got] == ["12:00:00", "12:01:00", "12:02:01"]
    assert receiver.got[0].json["rules"] == 1


def test_it_stops_while_a_rule_cannot_be_evaluated(
    store: Store, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = AlertLoop(store, settings(receiver.url), rules=[RULE])
    rows = store.rows

    def failing(sql: str, params: Any = None) -> Any:
        if "metric_samples" in sql:
            raise StoreError("gone")
        return rows(sql, params)

    rounds(loop, 0)
    monkeypatch.setattr(store, "rows", failing)
    rounds(loop, 60, 120)
    monkeypatch.undo()
    rounds(loop, 180)
    loop.close()

    assert [each.json["at"][11:19] for each in receiver.got] == ["12:00:00", "12:03:00"]


def test_an_address_that_could_never_be_allowed_is_refused_on_start() -> None:
    with pytest.raises(ConfigError, match="heartbeat_url"):
        heartbeat(settings("file:///etc/passwd"))


def test_without_an_address_there_is_none() -> None:
    assert heartbeat(Alerting()) is None
