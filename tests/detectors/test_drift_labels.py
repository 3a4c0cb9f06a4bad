"""Labels come late: what is said of them, and when."""

from __future__ import annotations

import numpy as np
from drift_stream import Change, Row, Stream, day, drifts, loop, one, settings

from tidegauge.detectors.finding import Finding
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.store import Store


def about_labels(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.feature in ("label", "error")]


def flip_in(port: str) -> Change:
    def change(row: Row, _: np.random.Generator) -> None:
        if row["slices"]["port"] == port:
            row["label"] = "no" if row["label"] == "yes" else "yes"

    return change


def test_flipped_labels_in_one_slice_are_an_error_there_and_nowhere_else(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1, labels_after_h=1)
    stream.days(1, 2, flip_in("BB"), labels_after_h=1)
    findings = [each for each in loop(store).run(day(2.2)) if each.window_end == day(2)]
    assert {part for feature, _, part in drifts(findings) if feature == "error" and part} == {"BB"}
    found = one(findings, "error", "error_rate", "BB")
    assert found.statistic is not None
    assert found.statistic > 0.7
    assert found.since == day(1)
    assert not {feature for feature, _, _ in drifts(findings)} - {"error", "label", "performance"}


def test_labels_are_pending_until_most_have_come_then_compared_once(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1, labels_after_h=48)
    detector = loop(store)
    (pending,) = about_labels(detector.run(day(1.1)))
    assert (pending.verdict, pending.reason) == ("undetermined", "labels pending: 0 of 900 predictions have theirs")
    assert about_labels(detector.run(day(2.5))) == [], "half of them is not most"
    settled = [each for each in about_labels(detector.run(day(3.1))) if each.window_end == day(1)]
    assert one(settled, "error", "error_rate").verdict == "stable"
    assert one(settled, "label", "chi_squared").verdict == "stable"
    assert about_labels(loop(store).run(day(3.1))) == []


def test_a_restart_while_labels_are_pending_neither_repeats_nor_forgets(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1, labels_after_h=48)
    assert len(about_labels(loop(store).run(day(1.1)))) == 1
    assert about_labels(loop(store).run(day(1.2))) == []
    assert one(loop(store).run(day(3.01)), "error", "error_rate").verdict == "stable"


def test_after_the_wait_the_labels_that_came_are_compared_and_the_share_is_told(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1, labels_after_h=1)
    half = "cityHash64(prediction_id) % 2 = 0 AND timestamp > '2026-04-01'"
    store.execute(f"ALTER TABLE labels DELETE WHERE {half} SETTINGS mutations_sync = 1")
    detector = loop(store)
    assert about_labels(detector.run(day(1.1)))[0].reason.startswith("labels pending")
    found = one([each for each in detector.run(day(8.1)) if each.window_end == day(1)], "error", "error_rate")
    assert found.verdict == "stable"
    assert "of 900 predictions have labels" in found.reason


def test_labels_that_never_came_are_undetermined_after_the_wait(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    detector = loop(store)
    detector.run(day(1.1))
    findings = [each for each in about_labels(detector.run(day(8.1))) if each.window_end == day(1)]
    assert [each.reason for each in findings] == ["no labels came within 7 days"]


def test_a_model_that_has_no_labels_is_not_told_that_they_are_pending(store: Store) -> None:
    stream = Stream(store)
    stream.insert(stream.rows([day(-1)] * 500, "training"))
    stream.days(0, 1)
    assert about_labels(loop(store).run(day(1.1))) == []


def test_a_label_from_the_future_is_not_seen(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1, labels_after_h=240)
    assert about_labels(loop(store).run(day(1.1)))[0].reason.startswith("labels pending: 0 of 900")


def test_the_error_of_a_regression_is_the_distance_from_its_label(store: Store) -> None:
    def price(row: Row, rng: np.random.Generator) -> None:
        truth = float(rng.normal(100, 20))
        row["label"], row["value"] = f"{truth:.3f}", f"{truth + rng.normal(0, 5):.3f}"

    def worse(row: Row, rng: np.random.Generator) -> None:
        price(row, rng)
        row["value"] = f"{float(row['value']) + rng.normal(0, 15):.3f}"

    stream = Stream(store)
    training = stream.rows([day(-2)] * 2000, "training")
    for row in training:
        price(row, stream.rng)
    stream.insert(training, labels_after_h=1)
    stream.days(0, 1, price, labels_after_h=1)
    stream.days(1, 2, worse, labels_after_h=1)
    findings = loop(store).run(day(2.2))
    calm, bad = (one([each for each in findings if each.window_end == day(at)], "error", "mean_shift") for at in (1, 2))
    assert (calm.verdict, bad.verdict) == ("stable", "drift")
    assert one([each for each in findings if each.window_end == day(2)], "label", "psi").verdict == "stable"
    assert one([each for each in findings if each.window_end == day(1)], "prediction", "ks").verdict == "stable"


def test_the_spelling_of_a_class_is_no_error(store: Store) -> None:
    def spell(row: Row, _: np.random.Generator) -> None:
        row["label"] = "1.0" if row["label"] == "yes" else "False"
        row["value"] = "1" if row["value"] == "yes" else "false"

    stream = Stream(store)
    training = stream.rows([day(-2)] * 2000, "training")
    for row in training:
        spell(row, stream.rng)
    stream.insert(training, labels_after_h=1)
    stream.days(0, 1, spell, labels_after_h=1)
    found = one(DetectorLoop(store, settings()).run(day(1.2)), "error", "error_rate")
    assert found.verdict == "stable"
