"""True and false alarms: precision as a metric, and the weekly digest with the cheapest mend of a bad rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tidegauge import responses
from tidegauge.alerting import AlertLoop, Rule, history
from tidegauge.alerting.digest import Fired, due, mend, week
from tidegauge.alerting.states import Notice, State
from tidegauge.clock import ReplayClock
from tidegauge.config import Alerting
from tidegauge.errors import ConfigError
from tidegauge.metrics import METRICS, observe
from tidegauge.model import Window
from tidegauge.responses import Action, Response
from tidegauge.store import Store

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)  # a Monday
MINUTE = timedelta(minutes=1)
WHO = {"severity": "page", "owner": "o", "runbook": "r", "action": "a"}
RULE = Rule.model_validate({"alert": "R", "metric": "refusal_rate", "above": 0.05, "for": "5m", **WHO})


def fired(decided: float, minutes: float, right: bool | None, samples: int = 100) -> Fired:
    return Fired("R", decided, samples, minutes * MINUTE, right)


@pytest.mark.parametrize(
    ("alerts", "words"),
    [
        (
            [fired(0.07, 4, False), fired(0.08, 6, False), fired(0.09, 3, False), fired(0.08, 50, True)],
            "for: 12m (now 5m) would have kept 3 of 3 false alarms away and every true one",
        ),
        (
            [fired(0.06, 90, False), fired(0.061, 80, False), fired(0.07, 70, False), fired(0.3, 10, True)],
            "above: 0.07 (7 %, now 0.05) would have kept 3 of 3 false",
        ),
        (
            [fired(0.3, 90, False, 31), fired(0.4, 80, False, 35), fired(0.2, 10, True, 900)],
            "min_samples: 36 (now 30) would have kept 2 of 2 false",
        ),
        (
            [fired(0.3, 90, False), fired(0.4, 80, False), fired(0.5, 70, False), fired(0.2, 10, True)],
            "no single change tells its right alerts from its wrong ones",
        ),
        (
            [fired(0.06, 3, False), fired(0.07, 4, False), fired(0.06, 9, False)],
            "for: 15m (now 5m) would have kept 3 of 3",
        ),
    ],
)
def test_the_cheapest_mend_keeps_every_true_alarm(alerts: Sequence[Fired], words: str) -> None:
    assert mend(RULE, alerts).startswith(words)


def fill(store: Store, make_alert: Any, marks: Sequence[bool | None]) -> None:
    """One alert an hour for four minutes each, with its mark."""
    for i, mark in enumerate(marks):
        at = NOW - timedelta(hours=len(marks) - i)
        alert = make_alert(rule="R", labels={}, at=at, since=at)
        over = replace(alert, at=at + 4 * MINUTE, notice=Notice.RESOLVE, state=State.RESOLVED, open=False)
        history.append(store, [alert, over])
        if mark is not None:
            action = Action.TRUE if mark else Action.FALSE
            responses.write(store, Response(at + MINUTE, "R", alert.fingerprint, {}, at, action, "ann"))


def test_precision_is_a_metric_and_the_last_answer_counts(store: Store, make_alert: Any) -> None:
    fill(store, make_alert, [True, False, False, None])
    (wrong,) = [each for each in responses.read(store, NOW - timedelta(days=1)) if each.action is Action.TRUE]
    span = Window(NOW - timedelta(days=1), NOW)

    (before,) = observe(store, METRICS["alert_precision"], ["rule"], span)
    responses.write(store, replace(wrong, action=Action.FALSE, written_at=NOW))
    (after,) = observe(store, METRICS["alert_precision"], ["rule"], span)

    assert before.value == pytest.approx(1 / 3)
    assert (before.samples, before.labels) == (3, {"rule": "R"})
    assert after.value == 0


def test_a_week_counts_and_names_what_is_mostly_wrong_with_its_mend(store: Store, make_alert: Any) -> None:
    fill(store, make_alert, [False, False, False, True, None])

    (line,) = week(store, [RULE], NOW - timedelta(days=7), NOW)

    assert (line.rule, line.fired, line.right, line.wrong, line.mostly_wrong) == ("R", 5, 1, 3, True)
    assert line.mend.startswith("no single change")


def test_the_digest_goes_out_once_a_week_over_restarts_to_those_who_want_it(
    store: Store, make_alert: Any, receiver: Any, rng: np.random.Generator
) -> None:
    fill(store, make_alert, [False, False, False, False])
    receivers = [{"kind": "webhook", "name": "chat", "url": receiver.url}]
    values = {"receivers": receivers, "allow_internal_addresses": True, "digest": ["chat"]}
    quiet = [RULE.model_copy(update={"alert": "R"})]

    for days in (0, 0.1, 6.9, 7, 7.5):
        loop = AlertLoop(
            store, Alerting.model_validate(values), rules=quiet, rng=rng, clock=ReplayClock(NOW, frozen=True)
        )
        loop.run(NOW + timedelta(days=days))
        assert loop.flush(5)
        loop.close()

    got = [each for one in receiver.got for each in one.json["alerts"]]
    assert [each["notice"] for each in got] == ["digest", "digest"]
    assert got[0]["summary"] == "4 alerts in seven days: 0 called true, 4 false, 0 not answered"
    assert got[0]["reason"].startswith("R: 4 of 4 were false; for: 10m (now 5m) would have kept 4 of 4")
    assert not due(store, NOW + timedelta(days=8))


def test_a_digest_cannot_go_to_a_pager_or_to_nobody(store: Store) -> None:
    for name in ("nobody", "pd"):
        values = {"receivers": [{"kind": "pagerduty", "name": "pd", "routing_key": "k"}], "digest": [name]}
        with pytest.raises(ConfigError, match="is no receiver that a digest can go to"):
            AlertLoop(store, Alerting.model_validate(values), rules=[RULE])
