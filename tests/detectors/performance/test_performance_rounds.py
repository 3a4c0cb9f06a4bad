"""Windows through the round: estimated at once, measured as labels come, judged when they are in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from drift_stream import Row, Stream, day
from sklearn.metrics import roc_auc_score

from tidegauge.config import Detectors, Performance, Watch
from tidegauge.detectors.finding import Finding
from tidegauge.detectors.performance import PerformanceRound
from tidegauge.metrics import METRICS, observe
from tidegauge.model import Window
from tidegauge.store import Store

Rng = np.random.Generator
Change = Callable[[Row, Rng], None]
LATEST = """SELECT metric, kind, method, stage, value, low, high, n, labels_share, expected_share, baseline,
  baseline_windows, verdict, estimated, past_error, past_windows FROM performance_latest
WHERE window_end = {end:DateTime64(6, 'UTC')} AND dimension = {dimension:String} AND slice = {slice:String}"""


def rounds(store: Store, **performance: Any) -> PerformanceRound:
    """A new round, as after a restart: daily windows, sliced by port."""
    watch = Watch(slices=("port",), performance=Performance(**performance))
    return PerformanceRound(store, Detectors(models=(watch,), embedder="off", label_wait_days=3))


def honest(row: Row, rng: Rng) -> None:
    """The score is the chance of yes, and yes is said from a half on."""
    score = float(rng.beta(1.2, 2.2))
    row.update(score=score, value="yes" if score >= 0.5 else "no", label="yes" if rng.random() < score else "no")


def no_better_than_chance(row: Row, rng: Rng) -> None:
    honest(row, rng)
    row["label"] = "yes" if rng.random() < 0.35 else "no"


def by_shift(row: Row, rng: Rng) -> None:
    row["slices"] |= {"shift": ("day", "night")[int(rng.random() < 0.5)]}
    honest(row, rng)


def fill(store: Store, days: int, change: Change = honest, after_h: float = 1, rows: int = 400) -> Stream:
    """A stream that began ``days`` days before day 0."""
    stream = Stream(store)
    stream.days(-days, 0, change, rows, after_h)
    return stream


def found(store: Store, end: datetime, part: tuple[str, str] = ("", "")) -> dict[tuple[str, str], dict[str, Any]]:
    """What the table says of a window, by metric and kind."""
    rows = store.rows(LATEST, {"end": end, "dimension": part[0], "slice": part[1]})
    return {(row["metric"], row["kind"]): row for row in rows}


def worse(findings: Sequence[Finding], prefix: str = "performance:") -> set[tuple[str, str]]:
    """Metric and slice of what got worse."""
    return {
        (f.detector.removeprefix(prefix), f.slice) for f in findings if f.verdict == "drift" and prefix in f.detector
    }


def test_a_window_is_measured_as_scikit_learn_does_and_held_against_the_windows_before(store: Store) -> None:
    fill(store, 5)
    findings = list(rounds(store).run("risk", day(0.5)))
    row = found(store, day(0))["roc_auc", "realised"]
    sql = """SELECT score, l.value = 'yes' AS y FROM predictions AS p INNER JOIN labels AS l USING prediction_id
        WHERE p.timestamp >= '2026-03-31' AND p.timestamp < '2026-04-01'"""
    direct = store.rows(sql)
    assert row["value"] == pytest.approx(roc_auc_score([r["y"] for r in direct], [r["score"] for r in direct]))
    assert (row["n"], row["stage"], row["verdict"], row["baseline_windows"]) == (400, "final", "stable", 4)
    assert row["low"] < row["baseline"] < row["high"]
    assert worse(findings) == set()
    assert {f.verdict.value for f in findings if f.window_end == day(0)} == {"stable"}


def test_a_model_that_guesses_is_worse_for_as_long_as_it_does_and_no_baseline_of_its_own(store: Store) -> None:
    stream = fill(store, 5)
    stream.days(0, 2, no_better_than_chance, 400, 1)
    findings = list(rounds(store).run("risk", day(2.2)))
    bad = [f for f in findings if f.detector == "performance:roc_auc" and f.verdict == "drift" and not f.dimension]
    assert [(f.window_end, f.since) for f in bad] == [(day(1), day(0)), (day(2), day(0))]
    assert "in 5 earlier windows" in bad[0].reason
    assert bad[0].effect is not None and bad[0].effect_floor is not None
    assert bad[0].effect > bad[0].effect_floor
    assert "brier" in {metric for metric, _ in worse(findings)}
    row = found(store, day(2))["roc_auc", "realised"]
    assert row["baseline"] > 0.7
    assert row["estimated"] - row["value"] > 0.15, "concept drift is what an estimate cannot see"


def test_a_slice_that_got_worse_is_named_and_the_others_are_not(store: Store) -> None:
    def in_bb(row: Row, rng: Rng) -> None:
        (no_better_than_chance if row["slices"]["port"] == "BB" else honest)(row, rng)

    stream = fill(store, 8, rows=900)
    stream.days(0, 1, in_bb, 900, 1)
    findings = [f for f in rounds(store).run("risk", day(1.5)) if f.window_end == day(1)]
    assert ("roc_auc", "BB") in worse(findings)
    assert not {part for _, part in worse(findings)} & {"AA", "CC"}


@pytest.mark.parametrize(
    ("struck", "told"),
    [
        ({"port": "BB", "shift": "night"}, {"BB & night"}),
        ({"port": "BB"}, {"BB"}),
    ],
)
def test_a_pair_that_got_worse_is_named_where_neither_of_its_slices_did_so_much(
    store: Store, struck: dict[str, str], told: set[str]
) -> None:
    def in_part(row: Row, rng: Rng) -> None:
        by_shift(row, rng)
        if struck.items() <= row["slices"].items():
            no_better_than_chance(row, rng)

    stream = fill(store, 8, by_shift, rows=1500)
    stream.days(0, 1, in_part, 1500, 1)
    watch = Watch(slices=("port", "shift"))
    detector = PerformanceRound(store, Detectors(models=(watch,), embedder="off", label_wait_days=3))

    findings = [f for f in detector.run("risk", day(1.5)) if f.window_end == day(1)]

    parts = {part for metric, part in worse(findings) if metric == "roc_auc" and part}
    assert told <= parts
    assert not {part for part in parts if "&" in part} - told


def test_a_release_is_held_against_the_versions_before_it_from_its_first_day(store: Store) -> None:
    stream = fill(store, 5)
    stream.version = "2"
    stream.days(0, 1, no_better_than_chance, 200, 1)
    stream.version = "1"
    stream.days(0, 1, honest, 400, 1)
    findings = [f for f in rounds(store).run("risk", day(1.5)) if f.window_end == day(1)]
    assert ("roc_auc", "2") in worse(findings)
    assert ("roc_auc", "1") not in worse(findings)


def test_before_labels_come_performance_is_estimated_and_scored_when_they_are_in(store: Store) -> None:
    stream = fill(store, 8, after_h=60, rows=400)
    detector = rounds(store)
    list(detector.run("risk", day(0.1)))
    before = found(store, day(0))
    assert ("roc_auc", "realised") not in before
    estimate = before["roc_auc", "estimated"]
    assert (estimate["method"], estimate["labels_share"]) == ("cbpe", 0.0)
    stream.days(0, 1, honest, 400, 60)
    findings = list(detector.run("risk", day(3)))
    after = found(store, day(0))["roc_auc", "realised"]
    assert after["stage"] == "final"
    assert after["estimated"] == estimate["value"]
    assert estimate["low"] <= after["value"] <= estimate["high"]
    assert worse(findings) == set()
    scored = found(store, day(1))["roc_auc", "estimated"]
    assert scored["past_windows"] >= 3
    assert 0 < scored["past_error"] < 0.1


@pytest.mark.parametrize("after_h", [1, 200], ids=["labels are in", "no label yet"])
@pytest.mark.parametrize(
    ("struck", "told"),
    [
        ({"port": "BB", "shift": "night"}, "BB & night"),
        ({"port": "BB"}, "BB"),
    ],
)
def test_a_pair_whose_rows_became_hard_is_estimated_worse_until_its_labels_are_in(
    store: Store, struck: dict[str, str], told: str, after_h: float
) -> None:
    def hard(row: Row, rng: Rng) -> None:
        by_shift(row, rng)
        if struck.items() <= row["slices"].items():
            score = float(rng.beta(40, 40))
            row.update(
                score=score, value="yes" if score >= 0.5 else "no", label="yes" if rng.random() < score else "no"
            )

    stream = fill(store, 8, by_shift, rows=1500)
    stream.days(0, 1, hard, 1500, after_h)
    watch = Watch(slices=("port", "shift"))
    detector = PerformanceRound(store, Detectors(models=(watch,), embedder="off", label_wait_days=3))

    findings = [f for f in detector.run("risk", day(1.3)) if f.window_end == day(1)]

    parts = {part for metric, part in worse(findings, "estimated:") if metric == "accuracy" and part}
    assert told in parts if after_h > 24 else not parts
    assert not {part for part in parts if "&" in part} - {told}
    rows = found(store, day(1), ("port & shift", "BB & night"))
    assert rows["accuracy", "estimated"]["value"] == pytest.approx(0.545, abs=0.05)
    assert rows["accuracy", "estimated"]["baseline"] > 0.6
    if after_h < 24:
        assert rows["accuracy", "realised"]["estimated"] == rows["accuracy", "estimated"]["value"]


def test_a_day_whose_labels_are_half_in_is_not_a_bad_day(store: Store) -> None:
    """Good news is told within the hour and bad news after two days: what is there first looks far too good or bad."""
    stream = Stream(store)
    for number in range(-7, 0):
        made = stream.rows([day(number) + timedelta(minutes=3 * at) for at in range(480)])
        for row in made:
            honest(row, stream.rng)
        for label, hours in (("no", 1), ("yes", 30)):
            stream.insert([row for row in made if row["label"] == label], hours)
    detector = rounds(store)
    early = [f for f in detector.run("risk", day(0.05)) if f.window_end == day(0)]
    assert worse(early) == set()
    half = found(store, day(0))["accuracy", "realised"]
    assert half["stage"] == "open"
    assert half["labels_share"] < 0.75
    late = [f for f in detector.run("risk", day(2)) if f.window_end == day(0)]
    assert worse(late) == set()
    assert found(store, day(0))["accuracy", "realised"]["stage"] == "final"


def test_a_restart_repeats_nothing_and_forgets_nothing(store: Store) -> None:
    fill(store, 3)
    list(rounds(store).run("risk", day(0.5)))
    before = store.value("SELECT count() FROM performance")
    assert list(rounds(store).run("risk", day(0.5))) == []
    assert store.value("SELECT count() FROM performance") == before


def test_training_rows_are_the_baseline_of_a_models_first_day(store: Store) -> None:
    stream = Stream(store)
    made = stream.rows([day(-20) + timedelta(minutes=20 * at) for at in range(1400)], "training")
    for row in made:
        honest(row, stream.rng)
    stream.insert(made, 1)
    stream.days(0, 1, no_better_than_chance, 300, 1)
    findings = list(rounds(store).run("risk", day(1.2)))
    assert ("roc_auc", "") in worse(findings)
    assert found(store, day(1))["roc_auc", "realised"]["baseline_windows"] == 8


def test_the_loss_of_a_regression_is_estimated_where_inputs_are_harder(store: Store) -> None:
    def price(row: Row, rng: Rng, low: float = 20, high: float = 40) -> None:
        age = float(rng.uniform(low, high))
        truth = float(rng.normal(100, 10))
        row["features"]["age"], row["score"] = age, None
        row["label"], row["value"] = f"{truth:.4f}", f"{truth + rng.normal(0, age / 10):.4f}"

    stream = Stream(store)
    stream.days(-7, -1, lambda row, rng: price(row, rng, 20, 60), 300, 1)
    stream.days(-1, 0, lambda row, rng: price(row, rng, 55, 60), 300, 200)
    findings = list(rounds(store, metrics=("mae",)).run("risk", day(0.1)))
    rows = found(store, day(0))
    assert rows["mae", "estimated"]["method"] == "dle"
    assert rows["mae", "estimated"]["value"] == pytest.approx(5.75 * np.sqrt(2 / np.pi), rel=0.12)
    assert rows["mae", "estimated"]["baseline"] == pytest.approx(4 * np.sqrt(2 / np.pi), rel=0.1)
    assert ("mae", "") in worse(findings, "estimated:")


def test_a_ranking_is_a_list_and_its_label_what_was_relevant(store: Store) -> None:
    def ranked(row: Row, rng: Rng, place: int = 1) -> None:
        row["value"], row["score"] = json.dumps([f"item{at}" for at in range(5)]), None
        row["label"] = json.dumps([f"item{place if rng.random() < 0.8 else 4}"])

    stream = fill(store, 5, ranked, rows=200)
    stream.days(0, 1, lambda row, rng: ranked(row, rng, 3), 200, 1)
    findings = list(rounds(store, k=3).run("risk", day(1.2)))
    row = found(store, day(0))["mrr@3", "realised"]
    assert row["value"] == pytest.approx(0.4, abs=0.04)
    assert {("mrr@3", ""), ("recall@3", "")} <= worse([f for f in findings if f.window_end == day(1)])
    assert ("mrr@3", "estimated") not in found(store, day(0))


def test_several_classes_with_their_probabilities_have_an_area_and_an_estimate(store: Store) -> None:
    def three(row: Row, rng: Rng) -> None:
        chances = rng.dirichlet([1.5, 1, 0.5])
        for name, chance in zip("abc", chances, strict=True):
            row["features"][f"probability.{name}"] = float(chance)
        row.update(
            value="abc"[int(chances.argmax())], score=float(chances.max()), label="abc"[rng.choice(3, p=chances)]
        )

    fill(store, 7, three, rows=300)
    list(rounds(store).run("risk", day(0.1)))
    rows = found(store, day(0))
    assert {"roc_auc", "f1", "log_loss", "ece"} <= {metric for metric, _ in rows}
    for metric in ("accuracy", "roc_auc", "f1"):
        assert rows[metric, "estimated"]["value"] == pytest.approx(rows[metric, "realised"]["value"], abs=0.08)


def test_scores_that_no_longer_go_with_clicks_are_told(store: Store) -> None:
    stream = Stream(store)
    for first, last, follows in ((-5, 0, True), (0, 1, False)):
        made = stream.rows([day(first) + timedelta(minutes=5 * at) for at in range((last - first) * 288)])
        for row in made:
            honest(row, stream.rng)
        stream.insert(made)
        clicked = [row for row in made if stream.rng.random() < (row["score"] if follows else 0.35)]
        store.insert("outcomes", [
            {"timestamp": row["timestamp"] + timedelta(minutes=9), "prediction_id": row["prediction_id"],
             "name": "click", "value": 1.0} for row in clicked
        ])  # fmt: skip
    findings = list(rounds(store).run("risk", day(5)))
    assert ("correlation:click", "") in worse([f for f in findings if f.window_end == day(1)], "outcome:")
    assert worse([f for f in findings if f.window_end == day(0)], "outcome:") == set()


def test_rules_and_panels_read_the_last_window_with_its_interval(store: Store) -> None:
    fill(store, 6)
    list(rounds(store).run("risk", day(0.5)))
    span = Window(day(0), day(1))
    where = {"model": "risk", "metric": "accuracy"}
    (seen,) = observe(store, METRICS["performance"], [], span, where)
    row = found(store, day(0))["accuracy", "realised"]
    assert (seen.value, seen.low, seen.high, seen.samples) == (row["value"], row["low"], row["high"], 400)
    assert observe(store, METRICS["performance"], [], span, {"model": "risk"}) == [], "of which metric?"
    ports = observe(store, METRICS["performance"], ["slice"], span, where | {"dimension": "port"})
    assert {each.labels["slice"] for each in ports} == {"AA", "BB", "CC"}
    (off,) = observe(store, METRICS["estimation_error"], [], span, where)
    assert off.value == pytest.approx(abs(row["estimated"] - row["value"])), "of all traffic, not of its parts too"
    (of_ports,) = observe(store, METRICS["estimation_error"], [], span, where | {"dimension": "port"})
    assert (off.samples, of_ports.samples) == (1, 3)


def test_a_model_without_labels_or_with_performance_turned_off_has_none(store: Store) -> None:
    Stream(store).days(-3, 0, honest, 100)
    assert list(rounds(store).run("risk", day(0.5))) == []
    fill(store, 3, rows=100)
    assert rounds(store, enabled=False).subjects(day(0.5)) == []
    assert store.value("SELECT count() FROM performance") == 0
