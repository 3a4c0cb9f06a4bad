"""The whole loop on an embedded database: from rows to states, events and messages, through restarts and faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from genai_calls import insert_calls

from tidegauge.alerting import AlertLoop, Rule, State, check_rules, outcomes, replay
from tidegauge.alerting.worker import Patience
from tidegauge.clock import ReplayClock
from tidegauge.config import Alerting
from tidegauge.errors import ConfigError, StoreError
from tidegauge.model import Window
from tidegauge.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WHO = {"severity": "page", "owner": "team", "runbook": "https://example.org/r", "action": "roll back"}
COST_UP = {
    "alert": "Cost",
    "metric": "cost_usd",
    "window": "1d",
    "compare": {"offset": "7d", "above_ratio": 1.2},
    **WHO,
}
QUICK = Patience(give_up_after_s=30, first_s=0.01, longest_s=0.05)
Start = Callable[..., AlertLoop]


def refusal_rule(**changes: Any) -> Rule:
    values = {"alert": "Refusals", "metric": "refusal_rate", "by": ["service"], "window": "5m", "above": 0.05, **WHO}
    return Rule.model_validate(values | changes)


def calls(store: Store, refused: int, of: int, at: datetime = NOW - MINUTE, service: str = "shop") -> None:
    rows = [
        {"timestamp": at, "trace_id": f"{at.timestamp()}{i}", "service": service, "kind": "llm", "refused": i < refused}
        for i in range(of)
    ]
    insert_calls(store, rows)


def settings(*urls: str, **changes: Any) -> Alerting:
    receivers = [{"kind": "webhook", "name": f"hook{i}", "url": url} for i, url in enumerate(urls)]
    return Alerting.model_validate({"receivers": receivers, "allow_internal_addresses": True, "timeout_s": 5} | changes)


@pytest.fixture
def start(store: Store, rng: np.random.Generator) -> Iterator[Start]:
    loops: list[AlertLoop] = []

    def build(config: Alerting | None = None, *rules: Rule) -> AlertLoop:
        loop = AlertLoop(
            store, config or settings(), rules=rules or [refusal_rule()], rng=rng, patience=QUICK,
            clock=ReplayClock(NOW, frozen=True),
        )  # fmt: skip
        loops.append(loop)
        return loop

    yield build
    for loop in loops:
        loop.close()


def sent(receiver: Any) -> list[tuple[str, str]]:
    return [(each["notice"], each["dedup_key"]) for got in receiver.got for each in got.json["alerts"]]


def test_a_breach_fires_is_stored_and_arrives_and_its_end_resolves(store: Store, start: Start, receiver: Any) -> None:
    calls(store, 20, 100)
    calls(store, 0, 100, service="quiet")
    loop = start(settings(receiver.url))

    (fired,) = loop.run(NOW)
    calls(store, 0, 100, NOW + 5 * MINUTE)
    (resolved,) = [each for each in loop.run(NOW + 6 * MINUTE) if each.notice]

    assert loop.flush(5)
    assert (fired.state, fired.labels, fired.samples) == (State.FIRING, {"service": "shop"}, 100)
    assert "20 % of 100" in fired.reason
    assert store.rows("SELECT state, value, threshold, open FROM alert_events ORDER BY timestamp LIMIT 1") == [
        {"state": "firing", "value": 0.2, "threshold": 0.05, "open": True}
    ]
    assert (resolved.previous, resolved.state) == (State.FIRING, State.RESOLVED)
    assert sent(receiver) == [("fire", fired.fingerprint), ("resolve", fired.fingerprint)]
    assert receiver.got[0].json["alerts"][0]["links"] == {"Runbook": "https://example.org/r"}


def test_a_round_at_the_same_moment_changes_nothing(store: Store, start: Start) -> None:
    calls(store, 20, 100)
    loop = start()

    assert len(loop.run(NOW)) == 1
    assert loop.run(NOW) == []
    assert start().run(NOW) == []


def test_the_state_survives_a_restart(store: Store, start: Start, receiver: Any) -> None:
    rule = refusal_rule(**{"for": "3m", "keep_firing_for": "2m"})
    for minute in range(6):
        calls(store, 20 if minute < 4 else 0, 100 if minute < 4 else 10_000, NOW + minute * MINUTE)
    states = []

    for minute in range(1, 9):
        loop = start(settings(receiver.url), rule)  # a new one each time
        states += [(minute, each.state.value, each.notice.value) for each in loop.run(NOW + minute * MINUTE)]
        assert loop.flush(5)
        loop.close()

    assert states == [(1, "pending", ""), (4, "firing", "fire"), (5, "firing", ""), (7, "resolved", "resolve")]
    assert [notice for notice, _ in sent(receiver)] == ["fire", "resolve"]


def test_rules_that_ask_the_same_share_one_query(store: Store, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = start(None, refusal_rule(), refusal_rule(alert="worse", above=0.5), refusal_rule(alert="wide", window="1h"))
    loop.run(NOW)
    asked: list[str] = []
    rows = store.rows

    def counted(sql: str, params: Any = None) -> Any:
        asked.append(sql)
        return rows(sql, params)

    monkeypatch.setattr(store, "rows", counted)

    loop.run(NOW + MINUTE)

    assert len([sql for sql in asked if "llm_calls" in sql]) == 2


def test_a_rule_whose_query_fails_says_so_and_stops_no_other(
    store: Store, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls(store, 20, 100)
    broken = refusal_rule(alert="Cost", metric="cost_usd", by=[], above=1)
    loop = start(None, broken, refusal_rule())
    rows = store.rows

    def failing(sql: str, params: Any = None) -> Any:
        if "cost_usd" in sql:
            raise StoreError("Code: 241. memory limit", 241)
        return rows(sql, params)

    monkeypatch.setattr(store, "rows", failing)
    found = loop.run(NOW)

    assert [(each.rule, each.state.value) for each in found] == [("Cost", "no_data"), ("Refusals", "firing")]
    assert "memory limit" in found[0].reason


def test_a_receiver_that_was_down_over_a_restart_gets_everything_in_order(
    store: Store, start: Start, receiver: Any, respond: Any
) -> None:
    calls(store, 20, 100)
    calls(store, 0, 1000, NOW + 5 * MINUTE)
    receiver.usual = respond(503)
    first = start(settings(receiver.url))
    first.run(NOW)
    first.run(NOW + 7 * MINUTE)
    first.close()
    receiver.got.clear()
    receiver.usual = respond(200)

    second = start(settings(receiver.url))
    second.run(NOW + 8 * MINUTE)

    assert second.flush(5)
    assert [notice for notice, _ in sent(receiver)] == ["fire", "resolve"]


def test_what_was_delivered_is_not_sent_again_after_a_restart(store: Store, start: Start, receiver: Any) -> None:
    calls(store, 20, 100)
    first = start(settings(receiver.url))
    first.run(NOW)
    assert first.flush(5)
    first.close()

    second = start(settings(receiver.url))
    second.run(NOW + MINUTE)

    assert second.flush(5)
    assert len(sent(receiver)) == 1


def test_a_send_without_its_ledger_row_is_repeated_under_the_same_key(
    store: Store, start: Start, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls(store, 20, 100)
    insert = store.insert

    def lost(table: str, rows: Any, token: str | None = None) -> None:
        if table == "alert_deliveries":
            raise StoreError("killed before the ledger was written")
        insert(table, rows, token)

    monkeypatch.setattr(store, "insert", lost)
    first = start(settings(receiver.url))
    first.run(NOW)
    first.flush(5)
    first.close()
    monkeypatch.undo()

    second = start(settings(receiver.url))
    second.run(NOW + MINUTE)

    assert second.flush(5)
    assert len(sent(receiver)) == 2
    assert len(set(sent(receiver))) == 1


def test_events_that_cannot_be_stored_are_found_again_in_the_next_round(
    store: Store, start: Start, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls(store, 20, 100)
    loop = start(settings(receiver.url))
    with monkeypatch.context() as patch:
        patch.setattr(store, "insert", lambda *_, **__: (_ for _ in ()).throw(StoreError("down")))
        with pytest.raises(StoreError):
            loop.run(NOW)

    assert [each.state for each in loop.run(NOW + MINUTE)] == [State.FIRING]
    assert loop.flush(5)
    assert [notice for notice, _ in sent(receiver)] == ["fire"]


def test_an_open_alert_whose_rule_was_removed_is_resolved_for_those_who_knew(
    store: Store, start: Start, receiver: Any
) -> None:
    calls(store, 20, 100)
    first = start(settings(receiver.url))
    first.run(NOW)
    assert first.flush(5)

    second = start(settings(receiver.url), refusal_rule(alert="Another", above=0.9))
    (gone,) = second.run(NOW + MINUTE)

    assert second.flush(5)
    assert (gone.rule, gone.state, gone.reason) == ("Refusals", State.RESOLVED, "the rule was removed")
    assert [notice for notice, _ in sent(receiver)] == ["fire", "resolve"]


def test_triage_does_not_go_to_pagerduty_and_named_receivers_win(store: Store, start: Start, receiver: Any) -> None:
    calls(store, 20, 100)
    config = Alerting.model_validate(
        {
            "receivers": [
                {"kind": "pagerduty", "name": "pd", "routing_key": "k", "url": receiver.url},
                {"kind": "slack", "name": "chat", "url": receiver.url},
                {"kind": "webhook", "name": "hook", "url": receiver.url},
            ],
            "allow_internal_addresses": True,
        }
    )
    rules = [
        refusal_rule(alert="A"),
        refusal_rule(alert="B", severity="triage"),
        refusal_rule(alert="C", severity="info"),
        refusal_rule(alert="D", severity="info", receivers=["pd"]),
    ]

    found = {each.rule: each.receivers for each in start(config, *rules).run(NOW)}

    assert found == {"A": ("pd", "chat", "hook"), "B": ("chat", "hook"), "C": ("hook",), "D": ("pd",)}


def test_a_rule_that_names_an_unknown_receiver_is_refused(start: Start) -> None:
    with pytest.raises(ConfigError, match="there is no receiver 'nobody'"):
        start(None, refusal_rule(receivers=["nobody"]))


def test_rows_with_wrong_clocks_neither_fire_nor_resolve(store: Store, start: Start) -> None:
    for wrong in (NOW + timedelta(days=1), NOW - timedelta(days=365), datetime(1970, 1, 1, tzinfo=UTC)):
        calls(store, 1000, 1000, wrong)
    calls(store, 0, 100)
    loop = start()

    assert loop.run(NOW) == []


def test_a_group_interval_spaces_the_evaluations(store: Store, start: Start) -> None:
    rule = refusal_rule().model_copy(update={"interval": timedelta(minutes=5)})
    loop = start(None, rule)
    loop.run(NOW)
    calls(store, 20, 100, NOW + MINUTE)

    rounds = [len(loop.run(NOW + timedelta(seconds=30 * i))) for i in range(1, 12)]

    assert rounds == [0] * 9 + [1, 0]


def test_absence_is_found_for_a_model_that_was_seen_and_not_for_one_that_never_was(store: Store, start: Start) -> None:
    values = {"alert": "Silent", "metric": "prediction_volume", "by": ["model"], "absent_for": "1h", **WHO}
    store.insert("predictions", [{"timestamp": NOW - timedelta(minutes=90), "prediction_id": "1", "model": "flights"}])
    loop = start(None, Rule.model_validate(values))

    (fired,) = loop.run(NOW)
    store.insert("predictions", [{"timestamp": NOW + MINUTE, "prediction_id": "2", "model": "flights"}])
    (resolved,) = loop.run(NOW + 3 * MINUTE)

    assert (fired.labels, fired.state, resolved.state) == ({"model": "flights"}, State.FIRING, State.RESOLVED)


def test_silence_is_absence_where_the_week_before_was_not_silent(store: Store, start: Start) -> None:
    values = {"alert": "Silent", "metric": "prediction_volume", "by": ["model"], "absent_for": "1h", **WHO}
    seasonal = {"season": "7d", "seen_within": "14d", "min_samples": 3}
    week_before = NOW - timedelta(days=7)
    rows = [
        {"timestamp": at, "prediction_id": f"{model}{at}{i}", "model": model}
        for model, ago in (("by day", 0.5), ("by night", 5.0))
        for at in (week_before - timedelta(hours=ago), NOW - timedelta(hours=8))
        for i in range(3)
    ]
    store.insert("predictions", rows)

    found = {each.labels["model"]: each for each in start(None, Rule.model_validate(values | seasonal)).run(NOW)}

    assert {name: each.state for name, each in found.items()} == {
        "by day": State.FIRING,
        "by night": State.INSUFFICIENT,
    }
    assert found["by day"].reason == "no records in the last 1h, against 3 a week before"


def test_a_rule_for_too_much_sees_the_minute_that_runs_and_one_for_too_little_does_not(
    store: Store, start: Start
) -> None:
    calls(store, 20, 100, NOW + timedelta(seconds=10))
    few = {"alert": "Few", "metric": "llm_requests", "by": ["service"], "window": "5m", "below": 1000, **WHO}
    loop = start(None, refusal_rule(), Rule.model_validate(few))

    at_once = loop.run(NOW + timedelta(seconds=20))
    later = loop.run(NOW + MINUTE)

    assert [each.rule for each in at_once if each.notice] == ["Refusals"]
    assert [each.rule for each in later if each.notice] == ["Few"]


def costs(store: Store, usd: dict[int, float]) -> None:
    """A call of the service for each of so many days ago."""
    at = {days: NOW - timedelta(days=days, hours=1) for days in usd}
    insert_calls(
        store, [{"timestamp": at[days], "service": "shop", "kind": "llm", "cost_usd": usd[days]} for days in usd]
    )


def test_cost_up_on_the_week_before_fires(store: Store, start: Start) -> None:
    costs(store, {9: 1.0, 7: 1.0, 0: 1.3})

    (fired,) = start(None, Rule.model_validate(COST_UP)).run(NOW)

    assert fired.state is State.FIRING
    assert "1.3 times" in fired.reason
    assert fired.threshold == pytest.approx(1.2)


def test_an_amount_is_not_compared_with_that_of_a_window_in_which_the_service_began(store: Store, start: Start) -> None:
    costs(store, {7: 1.0, 0: 30.0})

    (found,) = start(None, Rule.model_validate(COST_UP)).run(NOW)

    assert found.state is State.INSUFFICIENT
    assert "began within the 1d that ended 7d before" in found.reason


def test_every_starter_rule_runs_on_an_empty_database_and_wakes_nobody(store: Store, start: Start) -> None:
    found = start(None, *check_rules([])).run(NOW)

    assert [each for each in found if each.notice] == []
    assert [each for each in found if "failed" in each.reason] == []


@pytest.mark.parametrize(
    ("silent", "told"),
    [
        (("a", "b"), [("No LLM calls", {"service": "shop"})]),
        (("a",), [("A model gets no LLM calls", {"service": "shop", "model": "a"})]),
        ((), []),
    ],
)
def test_the_starter_rules_tell_once_of_llm_calls_that_stop(
    store: Store, start: Start, silent: tuple[str, ...], told: list[tuple[str, dict[str, str]]]
) -> None:
    moments = [NOW - timedelta(days=7, minutes=50 - i) for i in range(25)] + [NOW - timedelta(hours=2)]
    rows = [
        {"timestamp": at, "trace_id": f"{model}{at}", "service": "shop", "kind": "llm", "model": model}
        for model in ("a", "b")
        for at in [*moments, *([] if model in silent else [NOW - 2 * MINUTE])]
    ]
    insert_calls(store, rows)

    found = start(None, *check_rules([])).run(NOW)

    assert [(each.rule, each.labels) for each in found if each.notice] == told


def test_injected_text_reaches_a_message_only_as_text_and_a_label_intact(
    store: Store, start: Start, receiver: Any
) -> None:
    hostile = "') OR 1=1 -- <!channel> `x` \u202e\n{{ 7*7 }}"
    calls(store, 50, 100, service=hostile)
    loop = start(settings(receiver.url))

    (fired,) = loop.run(NOW)

    assert loop.flush(5)
    assert receiver.got[0].json["alerts"][0]["labels"] == {"service": hostile}
    assert store.value("SELECT labels['service'] FROM alert_events") == hostile
    assert fired.summary.isprintable()


def test_a_replay_finds_exactly_what_the_loop_finds_and_stores_nothing(store: Store, start: Start) -> None:
    rule = refusal_rule(**{"for": "2m", "window": "3m"})
    for minute in range(30):
        calls(store, 30 if 8 <= minute < 16 else 0, 100, NOW + minute * MINUTE)
    span = Window(NOW, NOW + 30 * MINUTE)

    past = replay(store, [rule], span, MINUTE)
    stored = store.value("SELECT count() FROM alert_events")
    loop = start(None, rule)
    live = [each for minute in range(31) for each in loop.run(NOW + minute * MINUTE)]

    assert past == live
    assert stored == 0
    (line,) = outcomes([rule], past, span.end)
    assert (line.fired, line.first, line.open_for) == (1, NOW + 11 * MINUTE, 8 * MINUTE)
