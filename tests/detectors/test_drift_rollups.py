"""Windows compared from counts in frozen cells: the same verdicts as from rows, every row once, and no row twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from drift_stream import Row, Stream, day, drifts, loop, one, settings, unit_change
from scipy.stats import binom

from tidegauge.config import Reference
from tidegauge.detectors.drift import dimensions_of
from tidegauge.detectors.finding import Finding
from tidegauge.detectors.predictions import Predictions, Scope
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.references import Datum
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.detectors.sketches.binning import Binning
from tidegauge.detectors.sketches.counts import MOST_NAMES, OTHER, Counts
from tidegauge.detectors.sketches.profile import SketchProfile
from tidegauge.detectors.sketches.rollup import Rollup
from tidegauge.detectors.sketches.tables import Bucket, Tables
from tidegauge.detectors.statistics import Result, Undetermined
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

TRAILING = Reference(kind="trailing", days=3, gap_days=0)


def at_day(store: Store, number: int, max_rows: int = 100_000, **changes: Any) -> list[Finding]:
    """The findings of the window that ends when the day begins, of a loop that was just started."""
    detector = DetectorLoop(store, settings(**changes).model_copy(update={"max_rows": max_rows}))
    detector._models._last["risk"] = day(number - 1)
    return of_inputs(detector, number + 0.1)


def of_inputs(detector: DetectorLoop, number: float) -> list[Finding]:
    """What is said at some moment of features and outputs: these are compared from counts."""
    found = detector._models.run("risk", day(number))
    return [each for each in found if each.feature not in ("label", "error")]


def odd(row: Row, rng: np.random.Generator) -> None:
    """Other units in one port, missing and infinite values, a new plan and a new feature."""
    unit_change("CC")(row, rng)
    draw = rng.random()
    if draw < 0.1:
        row["features"]["age"] = float("nan")
    elif draw < 0.2:
        row["features"]["age"] = float("inf")
    if draw > 0.8:
        row["categories"]["plan"] = "trial"
    row["features"]["clicks"] = 1.0


def counted(store: Store, what: str = "count()") -> int:
    found: int = store.value(f"SELECT {what} FROM sketch_buckets")
    return found


@pytest.mark.parametrize("reference", [Reference(kind="training"), TRAILING])
def test_counts_say_what_rows_say(store: Store, reference: Reference) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 3)
    stream.days(3, 4, odd, rows=2000)
    rows = at_day(store, 4, reference=reference, rollups="off")
    counts = at_day(store, 4, reference=reference, rollups="always")
    assert {each.key: each.verdict for each in rows} == {each.key: each.verdict for each in counts}
    assert ("income", "psi", "CC") in drifts(counts)
    for feature, detector in (
        ("age", "missing"),
        ("age", "non_finite"),
        ("plan", "chi_squared"),
        ("score", "mean_shift"),
    ):
        exact, cells = one(rows, feature, detector), one(counts, feature, detector)
        assert cells.statistic == pytest.approx(exact.statistic)
        assert cells.p_value == pytest.approx(exact.p_value, rel=1e-3 if detector == "mean_shift" else 1e-6)
    exact, cells = one(rows, "income", "ks"), one(counts, "income", "ks")
    assert exact.statistic is not None
    assert cells.statistic is not None
    assert 0 <= exact.statistic - cells.statistic <= 0.01
    assert "from 256 cells: at most " in cells.reason
    assert one(counts, "clicks", "schema").reason == "schema changed: the reference does not have this feature"


def test_more_rows_than_may_be_read_are_counted_all_and_no_sample(store: Store) -> None:
    stream = Stream(store)
    stream.training(1500)
    stream.days(0, 1, unit_change(), rows=4500)
    found = one(at_day(store, 1, max_rows=1000), "income", "ks")
    assert (found.n_reference, found.n_current, found.verdict) == (1500, 4500, "drift")
    assert "sample" not in found.reason
    sampled = one(at_day(store, 1, max_rows=1000, rollups="off"), "income", "ks")
    assert "window: a sample of one row in 5" in sampled.reason


def test_a_stretch_is_counted_once_for_all_windows_that_hold_it_and_again_when_rows_come_late(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 7, rows=300)
    detector = loop(store, reference=TRAILING, rollups="always")
    detector.run(day(6.1))
    made = counted(store)
    assert made == 6
    detector.run(day(6.2))
    assert counted(store) == made, "nothing is due"
    late = stream.rows([day(5.5) + timedelta(seconds=at) for at in range(200)])
    stream.insert(late)
    findings = detector.run(day(7.1))
    assert counted(store) == made + 2, "the day that closed, and the one with late rows"
    assert one(findings, "age", "ks").n_reference == 1100
    assert size_of(store, 5) == 500


def only_binning(store: Store) -> Binning:
    return Binning.from_json(store.value("SELECT any(cells) FROM sketch_binnings"))


def size_of(store: Store, number: int) -> int:
    """The rows of a day, as counted."""
    tables, binning, span = Tables(store), only_binning(store), Window(day(number), day(number + 1))
    (found,) = tables.read("risk", binning, [tables.state("risk", binning, [span])])
    return found.sizes[ALL]


def test_what_was_counted_is_compared_without_a_row(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 4, rows=500)
    watch = settings(reference=TRAILING, rollups="always").models[0]
    detector = DetectorLoop(store, settings(reference=TRAILING, rollups="always"))
    detector.run(day(4.1))
    store.execute("TRUNCATE TABLE predictions")
    rollup = Rollup(store, Predictions(store, 1000), 1000, 50)
    window = Window(day(3), day(4))
    before = Window(day(0), day(3))
    datum = Datum("trailing", before.start, before.end, Scope("risk", before), 1500)
    pair = rollup.pair("risk", watch, window, datum, 500, dimensions_of(watch), day(4.2))
    assert pair is not None
    assert [each.traffic.rows for each in pair] == [1500, 500]
    assert [each.traffic.size(Slice("port", "AA")) > 200 for each in pair] == [True, True]


def test_a_model_whose_hourly_sums_do_not_know_its_rows_is_compared_by_rows(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    store.execute("TRUNCATE TABLE predictions_1h")
    found = one(at_day(store, 1, rollups="always"), "age", "ks")
    assert (found.n_current, "cells" in found.reason) == (900, False)


def test_half_of_a_stretch_written_before_a_crash_counts_for_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    write = store.insert

    def crash(table: str, *rest: Any) -> None:
        if table == "sketch_buckets":
            raise RuntimeError("killed")
        write(table, *rest)

    monkeypatch.setattr(store, "insert", crash)
    with pytest.raises(RuntimeError, match="killed"):
        at_day(store, 1, rollups="always")
    monkeypatch.undo()
    assert one(at_day(store, 1, rollups="always"), "age", "ks").n_current == 900
    assert store.value("SELECT uniq(attempt) FROM sketches") == 2


def test_two_that_count_the_same_stretch_count_it_once(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    at_day(store, 1, rollups="always")
    again = Rollup(store, Predictions(store, 1000), 1000, 50)
    again._count("risk", only_binning(store), Bucket(Window(day(0), day(1)), 900, "", True), ("version", "port"))
    assert counted(store) == 2
    assert size_of(store, 0) == 900


def test_cells_are_frozen_over_restarts_and_new_with_a_new_training_set(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 2)
    at_day(store, 1, rollups="always")
    at_day(store, 2, rollups="always")
    assert store.value("SELECT uniq(binning) FROM sketch_binnings") == 1
    stream.training(500)
    assert one(at_day(store, 2, rollups="always"), "age", "ks").n_reference == 3500
    assert store.value("SELECT uniq(binning) FROM sketch_binnings") == 2


def test_a_moving_reference_that_outgrew_its_cells_gets_new_ones(store: Store) -> None:
    def other(row: Row, _: np.random.Generator) -> None:
        unit_change()(row, _)
        row["features"]["clicks"] = 5.0 + row["features"]["age"]

    stream = Stream(store)
    stream.days(0, 4, rows=500)
    stream.days(4, 9, other, rows=500)
    detector = loop(store, reference=TRAILING, rollups="always")
    findings = of_inputs(detector, 9.1)
    by_day = {each.window_end: each for each in findings if each.key[:2] == ("income", "ks") and not each.slice}
    assert (by_day[day(5)].verdict, by_day[day(9)].verdict) == ("drift", "stable")
    told = [each for each in findings if each.feature == "clicks" and each.window_end == day(6)]
    assert "the cells were frozen before the feature came" in one(told, "clicks", "schema").reason
    last = [each for each in findings if each.window_end == day(9)]
    assert one(last, "clicks", "ks").verdict == "stable"
    binnings = store.value("SELECT uniq(binning) FROM sketch_binnings")
    assert 2 <= binnings <= 4


def test_too_much_to_catch_up_with_is_compared_by_rows_until_it_is_counted(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 6, rows=300)
    few = settings(reference=Reference(kind="trailing", days=5, gap_days=0), rollups="always")
    detector = DetectorLoop(store, few.model_copy(update={"windows_per_run": 2}))
    detector._models._last["risk"] = day(5)
    found = one(detector.run(day(6.1)), "age", "ks")
    assert (found.n_current, "cells" in found.reason) == (300, False)
    assert counted(store) == 2


def test_windows_of_a_large_moving_reference_give_the_floor(store: Store) -> None:
    stream = Stream(store)
    swing = iter([0, 8, -8, 5, -5, 9, -9])
    for number in range(7):
        step = next(swing)

        def move(row: Row, _: np.random.Generator, step: float = step) -> None:
            row["features"]["age"] += step

        stream.days(number, number + 1, move, rows=300)
    stream.days(7, 8, lambda row, _: row["features"].update(age=row["features"]["age"] + 7), rows=300)
    week = Reference(kind="trailing", days=7, gap_days=0)
    cells = one(at_day(store, 8, reference=week, rollups="always"), "age", "ks")
    exact = one(at_day(store, 8, reference=week, rollups="off"), "age", "ks")
    assert "floor from 7 reference windows" in cells.reason
    assert cells.effect_floor == pytest.approx(exact.effect_floor, abs=0.02)
    assert (cells.verdict, exact.verdict) == ("stable", "stable")


def traffic(rng: np.random.Generator, rows: int, **columns: Any) -> Traffic:
    ports = Category(rng.integers(0, 2, rows).astype(np.int32), ("AA", "BB"))
    return Traffic(rows, {"x": rng.normal(size=rows)} | columns, {}, {"port": ports})


def test_sides_in_other_cells_are_refused(rng: np.random.Generator) -> None:
    sides = [traffic(rng, 500) for _ in range(2)]
    counts = [Counts.of(each, Binning.fit(Profile(each), 3600, 5)) for each in sides]
    (refused,) = SketchProfile(counts[0]).about("x", ALL, SketchProfile(counts[1]))
    assert isinstance(refused.outcome, Undetermined)
    assert "frozen on different references" in refused.outcome.reason
    with pytest.raises(ValueError, match="frozen on different references"):
        counts[0] + counts[1]


def test_cells_come_back_from_the_table_as_they_were(rng: np.random.Generator) -> None:
    binning = Binning.fit(Profile(traffic(rng, 5000, tiny=rng.normal(size=5000) * 1e-300)), 3600, 5)
    again = Binning.from_json(binning.json)
    assert (again.name, again.edges) == (binning.name, binning.edges)


def test_countless_categories_are_kept_to_a_thousand_and_the_rest_together(rng: np.random.Generator) -> None:
    def named(first: int) -> Traffic:
        names = tuple(f"n{at}" for at in range(first, first + 3000))
        return Traffic(9000, {}, {"tail": Category(np.tile(np.arange(3000, dtype=np.int32), 3), names)}, {})

    binning = Binning.fit(Profile(named(0)), 3600, 5)
    both = Counts.of(named(0), binning) + Counts.of(named(2000), binning)
    found = both.category(ALL, "tail")
    assert (len(found.counts), sum(found.counts.values()), found.rows) == (MOST_NAMES, 18_000, 18_000)
    assert OTHER in found.counts


def tails(seed: int, rows: int, law: str, most: float = 0.0) -> SketchProfile:
    """Thousands of names, alike or of which few are frequent; one has the share ``most`` beside."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3000, rows) if law == "alike" else np.minimum(rng.zipf(1.3, rows), 3000) - 1
    chosen = np.where(rng.random(rows) < most, 1, codes).astype(np.int32)
    traffic = Traffic(rows, {}, {"tail": Category(chosen, tuple(f"n{at}" for at in range(3000)))}, {})
    return SketchProfile(Counts.of(traffic, Binning.fit(Profile(Traffic(rows)), 3600, 5)))


def of_tails(before: SketchProfile, now: SketchProfile) -> dict[str, float]:
    """p-values by detector, of what could be told."""
    told = {each.detector: each.outcome for each in before.about("tail", ALL, now)}
    return {name: each.p_value for name, each in told.items() if isinstance(each, Result) and each.p_value is not None}


@pytest.mark.parametrize("law", ["alike", "few"])
@pytest.mark.parametrize(("before", "now"), [(30_000, 900), (30_000, 20_000), (900, 30_000)])
def test_names_beyond_the_thousandth_are_no_drift_by_themselves(before: int, now: int, law: str) -> None:
    found = [of_tails(tails(seed, before, law), tails(seed + 100, now, law)) for seed in range(30)]
    assert not {name for each in found for name in each} & {"new_categories", "lost_categories"}
    assert sum(each.get("chi_squared", 1.0) <= 0.05 for each in found) <= binom.isf(1e-4, 30, 0.05)


def test_a_frequent_name_that_grew_is_drift_among_thousands() -> None:
    found = of_tails(tails(1, 30_000, "few"), tails(2, 900, "few", most=0.2))
    assert found["chi_squared"] < 1e-12


@pytest.mark.parametrize("reference", [Reference(kind="training"), TRAILING])
def test_a_feature_of_thousands_of_names_is_calm_from_counts(store: Store, reference: Reference) -> None:
    stream = Stream(store)

    def tail(row: Row, rng: np.random.Generator) -> None:
        row["categories"]["tail"] = f"t{rng.integers(3000)}"

    trained = stream.rows([day(-30) + timedelta(seconds=at) for at in range(6000)], "training")
    for row in trained:
        tail(row, stream.rng)
    stream.insert(trained)
    stream.days(0, 4, tail, rows=3000)
    found = at_day(store, 4, reference=reference, rollups="always")
    assert {each.verdict for each in found if each.feature == "tail"} <= {"stable", "undetermined"}
    assert one(found, "tail", "missing").verdict == "stable"


def test_a_slice_beyond_the_frozen_ones_is_counted_with_the_rest(rng: np.random.Generator) -> None:
    before = traffic(rng, 1000)
    binning = Binning.fit(Profile(before), 3600, 5)
    new = Traffic(100, {"x": np.zeros(100)}, {}, {"port": Category(np.zeros(100, dtype=np.int32), ("CC",))})
    counts = Counts.of(before, binning) + Counts.of(new, binning)
    sizes: dict[str, Sequence[int]] = dict(SketchProfile(counts).traffic.dimensions["port"].rows_by_name)
    assert list(sizes)[-1] == OTHER
    assert len(sizes[OTHER]) == 100


def test_a_feature_that_stretches_lack_is_missing_there(rng: np.random.Generator) -> None:
    whole = traffic(rng, 400, y=rng.normal(size=400))
    binning = Binning.fit(Profile(whole), 3600, 5)
    found = (Counts.of(whole, binning) + Counts.of(traffic(rng, 100), binning)).number(ALL, "y")
    assert (found.rows, found.missing, found.finite) == (500, 100, 400)
