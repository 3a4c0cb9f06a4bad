"""What becomes known of a prediction later: in any order, the last by event time, contradictions counted."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from tidegauge.store import Store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SPAN = "start = {start:DateTime64(6)}, end = {end:DateTime64(6)}"
LABELLED = f"labelled({SPAN}, known_by = {{end:DateTime64(6)}} + toIntervalDay(92), model = '')"


def send(store: Store, event: str, at: datetime, trace_id: str = "", **values: Any) -> None:
    """One event, the way in which the official exporter stores it; never taken for a repeated insert."""
    attributes = {f"tidegauge.{name.replace('__', '.')}": str(value) for name, value in values.items()}
    row = {"Timestamp": at, "TraceId": trace_id, "EventName": f"tidegauge.{event}", "LogAttributes": attributes}
    store.insert("otel_logs", [row], uuid.uuid4().hex)


def predict(store: Store, identifier: str = "p", at: datetime = NOON, **values: Any) -> None:
    send(store, "prediction", at, prediction__id=identifier, model__name="m", prediction__value="a", **values)


def label(store: Store, value: str, at: datetime, identifier: str = "p") -> None:
    send(store, "label", at, prediction__id=identifier, model__name="m", label__value=value)


def labelled(store: Store, start: datetime = NOON - HOUR, end: datetime = NOON + HOUR) -> list[dict[str, Any]]:
    return store.rows(f"SELECT * FROM {LABELLED} ORDER BY prediction_id", {"start": start, "end": end})


@pytest.mark.parametrize("order", list(permutations(["prediction", "first", "second"])), ids="-".join)
def test_the_last_label_by_event_time_holds_whatever_arrives_first(store: Store, order: tuple[str, ...]) -> None:
    sends = {
        "prediction": lambda: predict(store),
        "first": lambda: label(store, "no", NOON + HOUR),
        "second": lambda: label(store, "yes", NOON + 2 * HOUR),
    }
    for each in order:
        sends[each]()
    [row] = labelled(store)
    assert (row["label"], row["labelled_at"]) == ("yes", NOON + 2 * HOUR)
    assert (row["label_events"], row["label_contradictions"]) == (2, 1)


@pytest.mark.parametrize(
    "after", [-3 * DAY, timedelta(0), HOUR, 42 * DAY], ids=["before", "with", "after", "weeks after"]
)
def test_a_label_is_joined_whenever_its_event_was(store: Store, after: timedelta) -> None:
    label(store, "3", NOON + after)
    predict(store)
    [row] = labelled(store)
    assert (row["label"], row["label_number"], row["label_contradictions"]) == ("3", 3, 0)


def test_the_same_label_sent_again_later_counts_once_and_changes_nothing(store: Store) -> None:
    predict(store)
    at = {"timestamp": NOON, "model": "m", "prediction_id": "p", "stored_at": NOON + HOUR}
    for value in ("b", "a", "b", "b"):  # of one moment and stored together: the greatest
        store.insert("labels", [at | {"value": value}], uuid.uuid4().hex)
    rows = store.value("SELECT count() FROM labels")
    [row] = labelled(store)
    assert (row["label"], row["label_events"], row["label_contradictions"], rows) == ("b", 2, 1, 4)


def test_of_labels_of_one_moment_that_stored_last_holds(store: Store) -> None:
    predict(store)
    at = {"timestamp": NOON, "model": "m", "prediction_id": "p"}
    stored = {"late": NOON + 2 * HOUR, "soon": NOON + HOUR}
    store.insert("labels", [at | {"value": value, "stored_at": moment} for value, moment in stored.items()])
    store.insert("labels", [at | {"value": "soon", "stored_at": NOON + 3 * HOUR}])  # a copy, not news
    assert [row["label"] for row in labelled(store)] == ["late"]


def test_a_prediction_sent_twice_is_labelled_once(store: Store) -> None:
    predict(store)
    predict(store)
    label(store, "a", NOON)
    assert len(labelled(store)) == 1


def test_a_label_from_a_clock_that_is_ahead_does_not_hold_for_ever(store: Store) -> None:
    now = datetime.now(UTC)
    predict(store, at=now)
    label(store, "wrong", datetime(2200, 1, 1, tzinfo=UTC))
    store.insert("labels", [{"timestamp": now + 2 * HOUR, "prediction_id": "p", "model": "m", "value": "right"}])
    assert [row["label"] for row in labelled(store, now - HOUR, now + HOUR)] == ["right"]


def test_labels_of_other_models_and_of_later_than_asked_for_are_left_out(store: Store) -> None:
    predict(store)
    send(store, "label", NOON, prediction__id="p", model__name="other", label__value="x")
    label(store, "a", NOON + 3 * HOUR)
    view = f"labelled({SPAN}, known_by = {{end:DateTime64(6)}}, model = 'm')"
    assert store.rows(f"SELECT * FROM {view}", {"start": NOON - HOUR, "end": NOON + HOUR}) == []
    assert [row["label"] for row in labelled(store)] == ["a"]


@pytest.mark.parametrize(
    ("event", "table", "key", "value"),
    [("feedback", "feedback", "kind", "score"), ("outcome", "outcomes", "name", "value")],
)
@pytest.mark.parametrize("by_trace", [False, True], ids=["by prediction", "by trace"])
def test_feedback_and_outcomes_follow_the_same_rules(
    store: Store, event: str, table: str, key: str, value: str, by_trace: bool
) -> None:
    about: dict[str, Any] = {"trace_id": "t" * 32} if by_trace else {"prediction__id": "p"}

    def say(what: str, number: float, at: datetime) -> None:
        send(store, event, at, **about | {f"{event}__{key}": what, f"{event}__{value}": number})

    say("x", 1, NOON + 2 * HOUR)
    send(store, "prediction", NOON, prediction__id="p", model__name="m", prediction__value="a", trace_id="t" * 32)
    say("x", -1, NOON + HOUR)
    say("x", 1, NOON + 2 * HOUR)
    say("y", 5, NOON)
    view = f"predictions_with_{table}({SPAN}, known_by = {{end:DateTime64(6)}} + toIntervalDay(92), model = '')"
    params = {"start": NOON - HOUR, "end": NOON + HOUR}
    found = store.rows(f"SELECT {table}_{key} AS k, {table}_{value} AS v, {table}_events AS events FROM {view}", params)
    assert sorted((row["k"], row["v"], row["events"]) for row in found) == [("x", 1, 2), ("y", 5, 1)]

    last = f"SELECT {key} AS k, {value} AS v, contradictions FROM last_{table}({SPAN})"
    recent = store.rows(last, {"start": NOON, "end": NOON + 3 * HOUR})
    assert sorted((row["k"], row["v"], row["contradictions"]) for row in recent) == [("x", 1, 1), ("y", 5, 0)]


def test_a_days_join_reads_a_part_of_a_long_history(store: Store) -> None:
    days, rows = 365, 100_000
    store.execute(
        """INSERT INTO predictions (timestamp, prediction_id, model, role, value) SELECT
        toDateTime64('2025-03-01', 9, 'UTC') + toIntervalSecond(intDiv(number * {days:UInt64} * 86400, {rows:UInt64})),
        hex(MD5(toString(number))), 'm', 'production', 'a' FROM numbers({rows:UInt64})""",
        {"days": days, "rows": rows},
    )
    store.execute(
        """INSERT INTO labels (timestamp, prediction_id, model, value) SELECT
        timestamp + toIntervalSecond(cityHash64(prediction_id) % 1728000), prediction_id, model, 'a' FROM predictions"""
    )
    start = datetime(2025, 6, 1, tzinfo=UTC)
    sql = f"SELECT count() FROM {LABELLED}"
    plan = store.rows(f"EXPLAIN ESTIMATE {sql}", {"start": start, "end": start + DAY})
    assert store.value(sql, {"start": start, "end": start + DAY}) == pytest.approx(rows / days, rel=0.01)
    read = {row["table"]: row["rows"] for row in plan}
    assert read["labels"] < 0.45 * rows
    assert read["predictions"] < 0.25 * rows
