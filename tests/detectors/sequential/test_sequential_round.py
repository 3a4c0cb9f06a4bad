"""The round that looks at every hour: quiet on a clean stream, dated and measured alarms, the same after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest
from drift_stream import Row, Stream, day

from tidegauge.config import Detectors, Reference, Watch
from tidegauge.detectors.finding import Finding, Verdict
from tidegauge.detectors.sequential.memory import Memory
from tidegauge.detectors.sequential.round import SequentialRound
from tidegauge.store import Store

SETTINGS = Detectors(models=(Watch(reference=Reference(kind="trailing", gap_days=0), slices=("port",)),))
LEARNED = 15


@pytest.fixture
def stream(store: Store) -> Stream:
    """Two weeks of calm hours."""
    stream = Stream(store)
    stream.days(0, LEARNED, rows=480)
    return stream


def looked(store: Store, last: float, first: float = LEARNED, every_h: int = 12) -> list[Finding]:
    round_ = SequentialRound(store, SETTINGS)
    return [finding for now in times(first, last, every_h) for finding in round_.run("risk", now)]


def times(first: float, last: float, every_h: int) -> Sequence[datetime]:
    count = int((last - first) * 24 / every_h)
    return [day(first) + timedelta(hours=every_h * (at + 1), minutes=2) for at in range(count)]


def drifts(findings: Sequence[Finding], feature: str = "score") -> list[Finding]:
    return [each for each in findings if each.verdict is Verdict.DRIFT and each.feature == feature]


def lower_scores(row: Row, _: object) -> None:
    row["score"] = 0.7 * row["score"]


def test_a_calm_stream_raises_no_alarm_and_says_so_once_a_day(store: Store, stream: Stream) -> None:
    stream.days(LEARNED, LEARNED + 3, rows=480)
    findings = looked(store, LEARNED + 3)
    assert {each.verdict for each in findings} == {Verdict.STABLE}
    assert {each.detector for each in findings} == {"sequential", "sequential_missing"}
    assert {each.feature for each in findings} == {"score", "volume", "age", "income", "plan"}
    assert {each.dimension for each in findings} == {""}
    assert len([each for each in findings if each.feature == "score"]) <= 4


def test_a_lower_score_is_found_dated_and_measured(store: Store, stream: Stream) -> None:
    stream.days(LEARNED, LEARNED + 1, rows=480)
    stream.days(LEARNED + 1, LEARNED + 3, change=lower_scores, rows=480)
    [*_, last] = drifts([each for each in looked(store, LEARNED + 3) if each.dimension == ""])
    assert last.since and abs(last.since - day(LEARNED + 1)) <= timedelta(hours=6)
    assert last.effect == pytest.approx(0.13, abs=0.05)
    assert last.effect and last.effect_floor and last.effect > last.effect_floor
    assert "below the usual for the hour of the day" in last.reason
    assert last.p_value is not None and last.p_adjusted is not None and last.p_value <= last.p_adjusted


def test_a_slice_is_told_from_the_rest(store: Store, stream: Stream) -> None:
    def one_port(row: Row, rng: object) -> None:
        if row["slices"]["port"] == "BB":
            lower_scores(row, rng)

    stream.days(LEARNED, LEARNED + 4, change=one_port, rows=960)
    found = {(each.dimension, each.slice) for each in drifts(looked(store, LEARNED + 4))}
    assert ("port", "BB") in found
    assert found <= {("port", "BB"), ("", "")}


def test_a_restart_goes_on_where_it_was(store: Store, stream: Stream) -> None:
    stream.days(LEARNED, LEARNED + 1, rows=480)
    stream.days(LEARNED + 1, LEARNED + 2, change=lower_scores, rows=480)
    looked(store, LEARNED + 2)
    once = Memory(store).read("risk", "outputs")
    store.execute("TRUNCATE TABLE sequential_state")
    for hours in range(0, 48, 12):
        looked(store, LEARNED + (hours + 12) / 24, LEARNED + hours / 24)
    parts = Memory(store).read("risk", "outputs")
    assert once and parts and once.streams == parts.streams and once.until == parts.until
    assert np.allclose(once.state.detector, parts.state.detector)
    assert once.alarmed == parts.alarmed


def test_the_same_moment_again_finds_nothing_new(store: Store, stream: Stream) -> None:
    stream.days(LEARNED, LEARNED + 1, rows=480)
    looked(store, LEARNED + 1)
    assert looked(store, LEARNED + 1) == []


def test_an_alarm_that_is_over_is_called_stable_at_once(store: Store, stream: Stream) -> None:
    stream.days(LEARNED, LEARNED + 2, change=lower_scores, rows=480)
    stream.days(LEARNED + 2, LEARNED + 6, rows=480)
    about = [each for each in looked(store, LEARNED + 6) if each.feature == "score" and each.dimension == ""]
    assert Verdict.DRIFT in {each.verdict for each in about}
    assert about[-1].verdict is Verdict.STABLE


def test_an_alarm_counts_among_the_drift_findings_that_rules_read(store: Store, stream: Stream) -> None:
    stream.days(LEARNED, LEARNED + 2, change=lower_scores, rows=480)
    looked(store, LEARNED + 2)
    sql = "SELECT count() AS n FROM findings WHERE detector = 'sequential' AND verdict = 'drift' AND subject = 'risk'"
    assert store.value(sql) > 0


def test_wrong_predictions_are_found_once_their_labels_are_in(store: Store) -> None:
    def wrong(row: Row, _: object) -> None:
        row["value"] = "yes" if row["value"] == "no" else "no"

    stream = Stream(store)
    stream.days(0, LEARNED, rows=480, labels_after_h=2)
    stream.days(LEARNED, LEARNED + 1, rows=480, labels_after_h=2)
    stream.days(LEARNED + 1, LEARNED + 2, change=wrong, rows=480, labels_after_h=2)
    [first, *_] = drifts(looked(store, LEARNED + 2), "error_rate")
    assert first.since and abs(first.since - day(LEARNED + 1)) <= timedelta(hours=3)
    assert first.effect and first.effect > 0.5


def test_a_model_without_a_past_is_undetermined_once_a_day(store: Store) -> None:
    Stream(store).days(0, 3, rows=480)
    findings = looked(store, 3, 1)
    assert {each.verdict for each in findings} == {Verdict.UNDETERMINED}
    assert len(findings) == 2
    assert "fewer than 7 days" in findings[0].reason


def test_no_wanted_page_means_no_look(store: Store, stream: Stream) -> None:
    settings = SETTINGS.model_copy(update={"false_pages_per_month": 0})
    assert list(SequentialRound(store, settings).run("risk", day(LEARNED + 1))) == []


def test_labels_that_are_still_to_come_hold_up_no_other_family(store: Store) -> None:
    def older(row: Row, _: object) -> None:
        row["features"]["age"] += 30

    stream = Stream(store)
    stream.days(0, LEARNED, rows=480, labels_after_h=2)
    stream.days(LEARNED, LEARNED + 2, change=older, rows=480, labels_after_h=96)
    assert drifts(looked(store, LEARNED + 2), "age")
