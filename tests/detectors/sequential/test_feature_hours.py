"""Features hour by hour: counted once from the rows, looked at in all traffic and in slices, quiet while calm."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from drift_stream import Row, Stream, day

from tidegauge.config import Detectors, Reference, Watch
from tidegauge.detectors.finding import Finding, Verdict
from tidegauge.detectors.sequential.feature_hours import FeatureHours
from tidegauge.detectors.sequential.features import hours_of_features
from tidegauge.detectors.sequential.memory import Memory
from tidegauge.detectors.sequential.round import SequentialRound
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

Rng = np.random.Generator
SETTINGS = Detectors(models=(Watch(reference=Reference(kind="trailing", gap_days=0), slices=("port",)),))
LEARNED = 15
AA = Slice("port", "AA")
NOW = day(40)
ONE_HOUR = """avgIf(features['age'], there) AS m, varSampIf(features['age'], there) AS v, countIf(there) AS k,
  avg(NOT there) AS gone, avg(categories['plan'] = 'pro') AS pro
FROM (SELECT *, mapContains(features, 'age') AS there FROM predictions)
WHERE toStartOfHour(timestamp) = toDateTime('2026-04-02 05:00:00', 'UTC') AND slices['port'] = 'AA'"""
SIZES = "SELECT count() AS n, uniqExact(hour) AS hours, sum(rows) AS rows FROM feature_hours"
OF_ALL = "WHERE feature = '' AND dimension = '' AND kind = ''"


@pytest.fixture
def stream(store: Store) -> Stream:
    """Two weeks of calm hours."""
    stream = Stream(store)
    stream.days(0, LEARNED, rows=480)
    return stream


def looked(store: Store, last: float) -> list[Finding]:
    round_, times = SequentialRound(store, SETTINGS), range(12, int((last - LEARNED) * 24) + 1, 12)
    moments = [day(LEARNED) + timedelta(hours=hours, minutes=2) for hours in times]
    return [finding for now in moments for finding in round_.run("risk", now)]


def drifts(findings: Sequence[Finding]) -> set[tuple[str, str, str]]:
    drifting = (each for each in findings if each.verdict is Verdict.DRIFT)
    return {(each.feature, each.detector, each.slice) for each in drifting}


def counted(store: Store, *parts: Slice, first: float = 0, last: float = 2, most: int = 1000) -> FeatureHours:
    hours = FeatureHours(store, most)
    assert hours.count("risk", [ALL, *parts], Window(day(first), day(last)), NOW)
    return hours


def some_without_age(row: Row, rng: Rng) -> None:
    if rng.random() < 0.2:
        del row["features"]["age"]


def test_an_hour_is_what_its_rows_are(store: Store) -> None:
    Stream(store).days(0, 2, some_without_age, rows=960)
    span, streams = Window(day(0), day(2)), [("age", ALL), ("age", AA), ("age\x1fmissing", AA), ("plan\x1f=pro", AA)]
    table = counted(store, AA).read("risk", [ALL, AA], ["age", "plan"], span)
    hours = hours_of_features(table, span, streams)
    (row,) = store.rows(f"SELECT {ONE_HOUR}")
    assert hours.means[29, 1:].tolist() == pytest.approx([row["m"], row["gone"], row["pro"]])
    assert hours.noise[29, 1] == pytest.approx(row["v"] / row["k"])
    assert hours.deviations[29, 1] == pytest.approx(row["v"] ** 0.5)


def test_values_that_are_no_numbers_are_missing_and_large_ones_keep_their_spread(store: Store) -> None:
    def change(row: Row, rng: Rng) -> None:
        row["features"] = {"at": 1.7e9 + rng.normal(), "odd": float("nan" if row["slices"]["port"] == "AA" else "inf")}

    Stream(store).days(0, 1, change, rows=480)
    span = Window(day(0), day(1))
    table = counted(store, last=1).read("risk", [ALL], ["at", "odd"], span)
    hours = hours_of_features(table, span, [("at", ALL), ("odd", ALL), ("odd\x1fmissing", ALL)])
    assert np.mean(hours.deviations[:, 0]) == pytest.approx(1.0, abs=0.1)
    assert np.isnan(hours.means[:, 1]).all()
    assert hours.means[:, 2].tolist() == [1.0] * 24


def test_an_hour_is_counted_once_and_again_when_more_rows_have_come(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 2, rows=240)
    counted(store)
    once = store.rows(f"{SIZES} {OF_ALL}")[0]
    counted(store)
    assert store.rows(f"{SIZES} {OF_ALL}")[0] == once == {"n": 48, "hours": 48, "rows": 480}
    stream.insert(stream.rows([day(0.5)] * 30))
    counted(store)
    assert store.rows(f"{SIZES} {OF_ALL}")[0]["n"] == 49
    assert store.rows(f"{SIZES} FINAL {OF_ALL}")[0]["rows"] == 510


def test_an_hour_whose_rows_are_gone_is_not_counted_for_ever(store: Store) -> None:
    Stream(store).days(0, 1, rows=240)
    store.execute("TRUNCATE TABLE predictions")
    hours = FeatureHours(store, 10)
    for _ in range(3):
        done = hours.count("risk", [ALL], Window(day(0), day(1)), NOW)
    assert done
    assert hours.known("risk", Window(day(0), day(1))) == []


def test_a_long_past_is_counted_in_several_rounds_and_a_large_hour_by_a_sample(store: Store) -> None:
    Stream(store).days(0, 1, rows=12_000)
    hours, span = FeatureHours(store, 250), Window(day(0), day(1))
    rounds = 1
    while not hours.count("risk", [ALL], span, NOW):
        rounds += 1
    assert rounds == 3
    table = hours.read("risk", [ALL], ["age"], span)
    found = hours_of_features(table, span, [("age", ALL)])
    assert np.all(np.abs(found.means - 40) < 5)
    assert 150 < float(np.median(found.deviations**2 / found.noise)) < 350


def test_features_of_a_calm_stream_raise_no_alarm(store: Store, stream: Stream) -> None:
    stream.days(LEARNED, LEARNED + 2, rows=480)
    findings = looked(store, LEARNED + 2)
    assert drifts(findings) == set()
    standing = Memory(store).read("risk", "features")
    assert standing
    names = {name for name, _ in standing.streams}
    assert {"age", "income", "plan\x1f=pro", "age\x1fmissing", "plan\x1fmissing"} <= names
    assert {part.value for _, part in standing.streams} == {"", "AA", "BB", "CC"}


def test_a_mean_a_text_and_missing_values_are_found_each_by_its_own_name(store: Store, stream: Stream) -> None:
    def change(row: Row, rng: Rng) -> None:
        row["features"]["income"] *= 1.6
        row["categories"]["plan"] = "team" if rng.random() < 0.4 else row["categories"]["plan"]
        some_without_age(row, rng)

    stream.days(LEARNED, LEARNED + 1, change, rows=960)
    findings = [each for each in looked(store, LEARNED + 1) if each.dimension == ""]
    wanted = {("income", "sequential", ""), ("plan", "sequential", ""), ("age", "sequential_missing", "")}
    assert wanted <= drifts(findings)
    last = {(each.feature, each.detector): each for each in findings if each.verdict is Verdict.DRIFT}
    assert "share of '" in last["plan", "sequential"].reason
    assert last["age", "sequential_missing"].effect == pytest.approx(0.2, abs=0.05)
    since = last["income", "sequential"].since
    assert since and abs(since - day(LEARNED)) <= timedelta(hours=6)


def test_a_feature_that_moves_in_one_slice_is_told_there(store: Store, stream: Stream) -> None:
    def change(row: Row, _: Rng) -> None:
        row["features"]["age"] += 12 * (row["slices"]["port"] == "BB")

    stream.days(LEARNED, LEARNED + 2, change, rows=480)
    found = drifts(looked(store, LEARNED + 2))
    assert ("age", "sequential", "BB") in found
    assert found <= {("age", "sequential", "BB"), ("age", "sequential", "")}
