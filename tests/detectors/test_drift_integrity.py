"""Ranges, types, lost categories and repeats in the round, and the tests that a watch asks for."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from drift_stream import Row, Stream, day, drifts, loop, one

from tidegauge.config import DEFAULT_TESTS, Feature, Reference, Watch
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.sketches.numeric import NumericSketch, out_of_range
from tidegauge.detectors.statistics import Result
from tidegauge.detectors.statistics import out_of_range as of_rows
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.store import Store


def test_faults_of_integrity_are_found_by_the_test_that_names_them(store: Store) -> None:
    def spoil(row: Row, rng: np.random.Generator) -> None:
        if rng.random() < 0.03:
            row["features"]["age"] = -999.0
        elif rng.random() < 0.04:
            row["categories"]["age"] = "unknown"
            del row["features"]["age"]
        if row["categories"]["plan"] == "team":
            row["categories"]["plan"] = "pro"

    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    stream.days(1, 2, spoil)
    again = stream.rows([day(1) + timedelta(seconds=at * 900) for at in range(90)])
    for row in again:
        row["categories"]["plan"] = "free"
    stream.insert([*again, *again])
    findings = [each for each in loop(store).run(day(2.1)) if each.window_end == day(2)]
    found = {each[:2] for each in drifts(findings) if not each[2]}
    assert {("age", "out_of_range"), ("age", "wrong_type"), ("plan", "lost_categories")} <= found
    assert {("volume", "duplicates"), ("volume", "repeated_ids")} <= found
    assert "below" in one(findings, "age", "out_of_range").reason
    assert one(findings, "plan", "lost_categories").reason.startswith("lost: team (")
    assert one(findings, "volume", "repeated_ids").effect == pytest.approx(90 / 1080, abs=0.002)


RETRIED = (0, 20, 70, 10, 90, 30, 0, 60, 40, 10, 80, 20)
"""Requests of each day that came twice."""


@pytest.mark.parametrize("kind", ["trailing", "fixed"])
@pytest.mark.parametrize(("twice", "floors", "told"), [(85, True, False), (85, False, True), (400, True, True)])
def test_as_many_repeats_as_days_have_anyway_are_no_drift_and_many_more_are(
    store: Store, kind: str, twice: int, floors: bool, told: bool
) -> None:
    stream = Stream(store)
    for number, count in enumerate((*RETRIED, twice)):
        made = stream.rows([day(number) + timedelta(seconds=at * 86) for at in range(1000)])
        stream.insert([*made, *made[:count]])
    past = {
        "trailing": Reference(kind="trailing", days=12, gap_days=0),
        "fixed": Reference(kind="fixed", start=day(0), end=day(12)),
    }
    detector = loop(store, reference=past[kind], floor_from_reference=floors)

    findings = [each for each in detector.run(day(13.1)) if each.window_end == day(13)]

    for name in ("duplicates", "repeated_ids"):
        found = one(findings, "volume", name)
        assert (found.verdict == "drift") == told
        assert ("floor from 12 reference windows" in found.reason) == floors
        assert found.effect_floor is not None and (found.effect_floor > 0.05) == floors


def test_a_declared_range_holds_though_the_reference_is_wider(store: Store) -> None:
    def old(row: Row, rng: np.random.Generator) -> None:
        if rng.random() < 0.04:
            row["features"]["age"] = 64.5

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, old)
    declared = Feature(name="age", low=0, high=64)
    (found,) = (
        each
        for each in loop(store, features=(declared,)).run(day(1.1))
        if (each.feature, each.detector, each.slice) == ("age", "out_of_range", "")
    )
    assert found.verdict == "drift" and found.reason.startswith("outside 0 to 64:")


def test_a_watch_asks_only_what_it_names_and_shifts_come_with_their_interval(store: Store) -> None:
    def wider(row: Row, _: np.random.Generator) -> None:
        row["features"]["age"] = 40 + 2 * (row["features"]["age"] - 40)

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, wider)
    tests = ("variance_shift", "quantile_shift", "anderson_darling", "outliers", "mean_shift")
    findings = loop(store, tests=tests, slices=()).run(day(1.1))
    assert {each.detector for each in findings if each.feature == "age"} == set(tests)
    assert {each[:2] for each in drifts(findings)} == {
        ("age", "variance_shift"),
        ("age", "quantile_shift"),
        ("age", "anderson_darling"),
        ("age", "outliers"),
    }
    assert one(findings, "age", "variance_shift").reason.startswith("95 % interval 1.")


def test_the_same_questions_are_answered_from_counts_and_those_that_need_rows_say_so(store: Store) -> None:
    def spoil(row: Row, rng: np.random.Generator) -> None:
        if rng.random() < 0.05:
            row["features"]["age"] = 500.0

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, spoil)
    tests = (*DEFAULT_TESTS, "anderson_darling", "mean_shift", "variance_shift")
    findings = loop(store, tests=tests, rollups="always", slices=()).run(day(1.1))
    assert ("age", "out_of_range", "") in drifts(findings)
    assert one(findings, "age", "anderson_darling").p_value is not None
    assert one(findings, "income", "mean_shift").reason.startswith("95 % interval")
    assert one(findings, "age", "variance_shift").reason.startswith("is not told from counts")


def test_counts_never_say_that_more_rows_are_out_of_range_than_there_are() -> None:
    rng = np.random.default_rng(1)
    edges = np.quantile(rng.normal(size=5000), np.arange(1, 64) / 64)
    for shift in (0.0, 0.5, 3.0, 50.0):
        left, right = rng.normal(size=4000), rng.standard_t(2, size=700) + shift
        sides = NumericSketch.of(left, edges, 0.0), NumericSketch.of(right, edges, 0.0)
        for ends in ((None, None), (-2.0, 2.0), (None, 1.0)):
            counted, exact = out_of_range(*sides, *ends), of_rows(left, right, low=ends[0], high=ends[1])
            assert isinstance(counted, Result) and isinstance(exact, Result)
            assert counted.value <= exact.value and (counted.p_value or 0) >= (exact.p_value or 0) * (1 - 1e-9)


def test_texts_that_read_as_numbers_are_of_the_right_type() -> None:
    codes = np.array([0, 1, -1, 1], dtype=np.int32)
    profile = Profile(Traffic(4, {"x": np.array([np.nan, np.nan, 2.0, np.nan])}, {"x": Category(codes, ("1.5", "a"))}))
    assert (profile.wrong("x", "number"), profile.wrong("x", "text"), profile.wrong("y", "number")) == (2, 1, 0)


def test_a_range_that_ends_before_it_begins_is_refused_and_so_is_a_feature_declared_twice() -> None:
    with pytest.raises(ValueError, match="age: low is 3, which is above high, 2"):
        Feature(name="age", low=3, high=2)
    with pytest.raises(ValueError, match="features: age stands there more than once"):
        Watch(features=(Feature(name="age"), Feature(name="age")))
