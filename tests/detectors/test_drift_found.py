"""What is put into a stream is found where it was put, and nothing else is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drift_stream import Row, Stream, day, drifts, loop, one, unit_change

from tidegauge.detectors.finding import Verdict
from tidegauge.store import Store


def test_a_clean_stream_has_no_more_drift_than_the_stated_rate(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 12)
    findings = loop(store).run(day(12.1))
    windows_with_drift = {each.window_end for each in findings if each.verdict == "drift"}
    assert len({each.window_end for each in findings}) == 12
    assert len(windows_with_drift) <= 3, drifts(findings)  # of 12 at 5 %: more in 1 run of 450


def test_a_unit_change_is_found_in_its_feature_with_the_day_it_began(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 5)
    stream.days(5, 8, unit_change())
    findings = loop(store).run(day(8.1))
    last = [each for each in findings if each.window_end == day(8)]
    everywhere = {(feature, detector) for feature, detector, part in drifts(last) if not part}
    detectors = ("psi", "ks", "kl", "jensen_shannon", "wasserstein", "out_of_range")
    assert everywhere == {("income", name) for name in detectors}
    assert one(last, "income", "psi").since == day(5)
    assert one(last, "age", "psi").verdict == "stable"
    assert one(last, "age", "psi").since is None


def test_a_unit_change_in_one_slice_is_found_in_that_slice_alone(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 3)
    stream.days(3, 4, unit_change("CC"), rows=2000)
    findings = [each for each in loop(store).run(day(4.1)) if each.window_end == day(4)]
    assert {part for _, _, part in drifts(findings) if part} == {"CC"}
    found = one(findings, "income", "psi", "CC")
    assert (found.dimension, found.since) == ("port", day(3))
    assert found.n_current == pytest.approx(400, abs=60)


def test_evidence_shows_the_shares_of_the_frozen_cells(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1, unit_change())
    findings = loop(store).run(day(1.1))
    numeric, category = (
        json.loads(one(findings, *key).evidence) for key in (("income", "psi"), ("plan", "chi_squared"))
    )
    assert sum(numeric["reference"]) == pytest.approx(1, abs=1e-4)
    assert numeric["current"][-1] == pytest.approx(1, abs=0.01), "all of it lies above the last edge"
    assert len(numeric["labels"]) == len(numeric["current"]) == len(numeric["reference"])
    assert category["labels"][:3] == ["free", "pro", "team"]


def test_a_feature_that_is_no_longer_sent_is_a_change_of_the_schema_and_no_drift(store: Store) -> None:
    def forget(row: Row, _: np.random.Generator) -> None:
        del row["features"]["income"]

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, forget)
    findings = loop(store).run(day(1.1))
    assert drifts(findings) == set()
    told = one(findings, "income", "schema")
    assert (told.verdict, told.reason) == (
        Verdict.UNDETERMINED,
        "schema changed: the window does not have this feature",
    )
    assert [each.detector for each in findings if each.feature == "income"] == ["schema"]


def test_a_number_that_becomes_text_is_a_change_of_the_schema_and_no_drift(store: Store) -> None:
    def write_out(row: Row, _: np.random.Generator) -> None:
        row["categories"]["income"] = f"{row['features'].pop('income'):.0f} EUR"

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, write_out)
    findings = loop(store).run(day(1.1))
    assert drifts(findings) == set()
    assert one(findings, "income", "schema").reason == "schema changed: number in the reference, text in the window"


def test_a_number_that_is_all_missing_is_drift_and_no_change_of_the_schema(store: Store) -> None:
    def lose(row: Row, _: np.random.Generator) -> None:
        row["features"]["income"] = float("nan")

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, lose)
    assert {each[:2] for each in drifts(loop(store).run(day(1.1)))} == {("income", "missing")}


def test_a_clock_that_is_a_year_behind_opens_no_windows(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(-300, -299, rows=1)
    stream.days(0, 2)
    ends = {each.window_end for each in loop(store).run(day(2.1))}
    assert ends == {day(1), day(2)}


def test_nan_empty_text_and_absent_keys_all_count_as_missing(store: Store) -> None:
    def lose(row: Row, rng: np.random.Generator) -> None:
        if rng.random() < 0.2:
            row["features"]["age"] = float("nan")
        if rng.random() < 0.2:
            row["categories"]["plan"] = ""
        if rng.random() < 0.2:
            del row["features"]["income"]

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, lose)
    findings = loop(store).run(day(1.1))
    assert {feature for feature, detector, part in drifts(findings) if (detector, part) == ("missing", "")} == {
        "age",
        "plan",
        "income",
    }
    assert one(findings, "age", "missing").statistic == pytest.approx(0.2, abs=0.04)
    assert one(findings, "age", "psi").verdict == "stable", "what is left has not changed"


def test_infinities_are_counted_apart_and_every_number_of_a_finding_is_finite(store: Store) -> None:
    def overflow(row: Row, rng: np.random.Generator) -> None:
        if rng.random() < 0.1:
            row["features"]["income"] = float("inf")

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, overflow)
    findings = loop(store).run(day(1.1))
    assert ("income", "non_finite", "") in drifts(findings)
    numbers = [x for each in findings for x in (each.statistic, each.p_value, each.p_adjusted, each.effect)]
    assert np.isfinite([x for x in numbers if x is not None]).all()


def test_a_category_never_seen_before_is_named(store: Store) -> None:
    def rename(row: Row, rng: np.random.Generator) -> None:
        if rng.random() < 0.1:
            row["categories"]["plan"] = "gold"

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, rename)
    findings = loop(store).run(day(1.1))
    found = one(findings, "plan", "new_categories")
    assert found.verdict == "drift"
    assert "gold" in found.reason


def test_a_new_feature_is_undetermined_not_drift(store: Store) -> None:
    def add(row: Row, _: np.random.Generator) -> None:
        row["features"]["height"] = 1.8

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, add)
    findings = loop(store).run(day(1.1))
    assert drifts(findings) == set()
    assert one(findings, "height", "schema").verdict == "undetermined"


def test_a_score_that_falls_is_found_by_its_mean(store: Store) -> None:
    def lower(row: Row, _: np.random.Generator) -> None:
        row["score"] *= 0.85

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, lower)
    findings = loop(store).run(day(1.1))
    found = one(findings, "score", "mean_shift")
    assert found.verdict == "drift"
    assert found.statistic is not None
    assert found.statistic < 0


def test_one_class_taking_over_is_found_in_the_prediction(store: Store) -> None:
    def always(row: Row, _: np.random.Generator) -> None:
        row["value"] = "yes"

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, always)
    findings = loop(store).run(day(1.1))
    assert ("prediction", "chi_squared", "") in drifts(findings)


def test_a_day_with_little_traffic_is_found_by_volume(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 7, rows=450)
    stream.days(7, 8, rows=50)
    findings = [each for each in loop(store).run(day(8.1)) if each.window_end == day(8)]
    assert one(findings, "volume", "volume").verdict == "drift"
    assert one(findings, "volume", "volume").statistic == pytest.approx(1 / 9, abs=0.02)


def test_a_user_feature_named_like_an_output_keeps_apart(store: Store) -> None:
    def add(row: Row, rng: np.random.Generator) -> None:
        row["features"]["score"] = float(rng.normal())

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, add)
    findings = loop(store).run(day(1.1))
    assert one(findings, "feature:score", "schema").verdict == "undetermined"
    assert one(findings, "score", "psi").verdict == "stable"
