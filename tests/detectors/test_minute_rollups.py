"""Stretches down to a minute: any two windows of whole minutes from counts, every row once, hours put together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from drift_stream import Stream, day, one, settings, unit_change

from tidegauge.config import Incident, Reference
from tidegauge.detectors.finding import Finding
from tidegauge.detectors.predictions import Predictions, Scope
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.references import Datum
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.detectors.sketches.binning import Binning
from tidegauge.detectors.sketches.grid import cover, length_of, lengths
from tidegauge.detectors.sketches.rollup import Rollup
from tidegauge.detectors.sketches.tables import Tables
from tidegauge.detectors.spans import joined
from tidegauge.model import ALL, Window
from tidegauge.store import Store

MINUTE = timedelta(minutes=1)
DIMENSIONS = ("version", "port")
SIX_HOURS = Reference(kind="trailing", days=0.25, gap_days=0)


def at(minutes: float) -> datetime:
    """So many minutes after midnight of day 1 of the stream."""
    return day(1) + minutes * MINUTE


def steady(stream: Stream, first: float, last: float, seconds: int = 10) -> None:
    """A prediction every so many seconds of these minutes of day 1."""
    stream.insert(
        stream.rows([at(first) + timedelta(seconds=each) for each in range(0, int((last - first) * 60), seconds)])
    )


def loop(store: Store, incident: Incident | None = None, **changes: Any) -> DetectorLoop:
    """A new loop, with half an hour each quarter against the six hours before, if not told else."""
    watch = {"reference": SIX_HOURS, "window_hours": 0.5, "step_hours": 0.25, "rollups": "always"} | changes
    known = settings(**watch).model_copy(update={"incidents": (incident,) if incident else ()})
    return DetectorLoop(store, known)


def of_window(detector: DetectorLoop, end: datetime) -> list[Finding]:
    """What is said of features and outputs in the window that ends then, and in no earlier one."""
    detector._models._last["risk"] = end - MINUTE
    found = detector._models.run("risk", end + 1.5 * MINUTE)
    return [each for each in found if each.feature not in ("label", "error")]


def counted(store: Store) -> int:
    found: int = store.value("SELECT count() FROM sketch_buckets")
    return found


def rows_in(store: Store, span: Window) -> int:
    sql = """SELECT count() FROM predictions WHERE role != 'training'
        AND timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}"""
    found: int = store.value(sql, {"start": span.start, "end": span.end})
    return found


@pytest.mark.parametrize(
    ("window_hours", "step_hours", "end"),
    [(0.5, 0.25, 495.0), (1, 1 / 12, 485.0), (1 / 3, 1 / 60, 491.0), (1.5, 0.75, 495.0)],
    ids=["30 min by 15", "1 h by 5 min", "20 min by 1", "90 min by 45"],
)
def test_windows_of_minutes_from_counts_say_what_rows_say(
    store: Store, window_hours: float, step_hours: float, end: float
) -> None:
    stream = Stream(store)
    steady(stream, 0, 495 - 20, 5)
    moved = stream.rows([at(475) + timedelta(seconds=each) for each in range(0, 1200, 5)])
    for row in moved:
        unit_change("CC")(row, stream.rng)
        row["features"]["age"] = float("nan") if stream.rng.random() < 0.2 else row["features"]["age"] + 3
    stream.insert(moved)
    steps: dict[str, Any] = {"window_hours": window_hours, "step_hours": step_hours}
    exact = of_window(loop(store, rollups="off", **steps), at(end))
    cells = of_window(loop(store, **steps), at(end))
    for feature, detector in (("age", "missing"), ("plan", "chi_squared"), ("score", "mean_shift")):
        whole, cell = one(exact, feature, detector), one(cells, feature, detector)
        assert cell.statistic == pytest.approx(whole.statistic)
        assert cell.p_value == pytest.approx(whole.p_value, rel=1e-3)
    for feature in ("age", "income", "score"):
        whole, cell = one(exact, feature, "ks"), one(cells, feature, "ks")
        assert (cell.n_reference, cell.n_current) == (whole.n_reference, whole.n_current)
        assert whole.statistic is not None
        assert cell.statistic is not None
        found = re.search(r"from 256 cells: at most ([\d.]+\d)", cell.reason)
        assert found
        assert cell.statistic - 1e-9 <= whole.statistic <= float(found[1]) * 1.01, (
            "the end above is rounded as it is said"
        )


@pytest.mark.parametrize("bucket_s", [60, 300, 2700, 3600, 86_400])
def test_any_span_of_minutes_holds_every_row_once_also_those_that_come_late(store: Store, bucket_s: int) -> None:
    stream = Stream(store)
    moments = stream.rng.uniform(0, 3 * 1440, 90)
    stream.insert(stream.rows([at(float(each)) for each in moments]))
    whole = Predictions(store, 1000)
    scope = Scope("risk", Window(day(0), day(5)))
    binning = Binning.fit(Profile(whole.read(scope, 90, DIMENSIONS)), bucket_s, 5)
    rollup, tables = Rollup(store, whole, 1000, 10**6), Tables(store)
    for turn in range(6):
        first, last = np.sort(stream.rng.choice(3 * 1440, 2, replace=False)).tolist()
        span = Window(at(first), at(last))
        if turn % 2:
            stream.insert(stream.rows([at(float(each)) for each in stream.rng.uniform(first, last, 3)]))
        known = rollup._counted("risk", binning, tables.state("risk", binning, cover([span], bucket_s)), DIMENSIONS)
        assert known is not None
        (found,) = tables.read("risk", binning, [list(known.values())])
        assert found.sizes[ALL] == found.number(ALL, "age").rows == rows_in(store, span)


def spans_drawn(rng: np.random.Generator) -> Iterator[tuple[int, Window]]:
    for _ in range(200):
        bucket_s = int(rng.choice([60, 120, 300, 900, 2700, 3600, 7200, 43_200, 86_400]))
        ends = np.sort(rng.choice(5 * 1440, 2, replace=False)).tolist()
        yield bucket_s, Window(at(ends[0]), at(ends[1]))


def test_stretches_fill_a_span_without_gap_or_overlap_each_on_its_own_grid(rng: np.random.Generator) -> None:
    for bucket_s, span in spans_drawn(rng):
        found = cover([span], bucket_s)
        assert joined(found) == (span,)
        assert sum((each.length for each in found), timedelta()) == span.length
        assert all(each.start.timestamp() % length_of(each) == 0 for each in found)
        assert {length_of(each) for each in found} <= set(lengths(bucket_s))


def test_hours_and_days_are_put_together_from_what_is_counted_without_a_row(store: Store) -> None:
    stream = Stream(store)
    steady(stream, 0, 1440, 300)
    whole = Predictions(store, 1000)
    span = Window(day(1), day(2))
    binning = Binning.fit(Profile(whole.read(Scope("risk", span), 288, DIMENSIONS)), 900, 5)
    rollup, tables = Rollup(store, whole, 1000, 10**6), Tables(store)
    quarters = tables.state("risk", binning, [Window(at(each), at(each + 15)) for each in range(0, 1440, 15)])
    rollup._counted("risk", binning, quarters, DIMENSIONS)
    store.execute("TRUNCATE TABLE predictions")
    hours = [Window(at(each), at(each + 60)) for each in range(0, 1440, 60)]
    for stretches in (hours, [span]):
        known = rollup._counted("risk", binning, tables.state("risk", binning, stretches), DIMENSIONS)
        assert known is not None
        (found,) = tables.read("risk", binning, [list(known.values())])
        assert (found.sizes[ALL], found.number(ALL, "age").finite) == (288, 288)
    assert counted(store) == 96 + 24 + 1


def test_a_row_that_comes_late_is_counted_and_its_stretch_alone_is_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(store)
    steady(stream, 0, 480)
    detector = loop(store)
    assert one(of_window(detector, at(450)), "age", "ks").n_reference == 2160
    late = at(247) + timedelta(seconds=31)
    stream.insert(stream.rows([late]))
    read: list[Window | None] = []
    read_all = Predictions.read_all

    def noted(self: Predictions, scope: Scope, *rest: Any) -> Any:
        read.append(scope.window)
        return read_all(self, scope, *rest)

    monkeypatch.setattr(Predictions, "read_all", noted)
    findings = of_window(detector, at(465))
    assert one(findings, "age", "ks").n_reference == 2161
    assert [each for each in read if each and each.start <= late < each.end] == [Window(at(240), at(255))]


@pytest.mark.parametrize("reference", [SIX_HOURS, Reference(kind="fixed", start=at(60), end=at(420))])
def test_minutes_that_the_sums_do_not_know_are_compared_by_rows(store: Store, reference: Reference) -> None:
    """The hours of the fixed one are known; its own windows are not."""
    steady(Stream(store), 0, 480)
    store.execute("ALTER TABLE predictions_1m DELETE WHERE minute < '2026-04-02 01:58:00' SETTINGS mutations_sync = 2")
    found = one(of_window(loop(store, reference=reference), at(465)), "age", "ks")
    assert (found.n_reference, found.n_current, "cells" in found.reason) == (2160, 180, False)


def test_a_reference_cut_by_an_incident_at_an_odd_minute_is_compared_from_counts(store: Store) -> None:
    steady(Stream(store), 0, 480)
    cut = Incident(name="outage", start=at(173), end=at(211), models=("risk",))
    found = one(of_window(loop(store, cut), at(465)), "age", "ks")
    assert (found.n_reference, "from 256 cells" in found.reason) == (2160 - 38 * 6, True)
    odd = Incident(name="outage", start=at(173) + timedelta(seconds=1), end=at(211), models=("risk",))
    found = one(of_window(loop(store, odd), at(465)), "age", "ks")
    assert (found.n_reference, "cells" in found.reason) == (2160 - 38 * 6 + 1, False)


def test_windows_off_the_minute_are_compared_by_rows(store: Store) -> None:
    steady(Stream(store), 0, 480)
    detector = loop(store, step_hours=0.0083)
    assert of_window(detector, at(465))
    assert counted(store) == 0


def test_own_windows_of_the_reference_give_the_floor_for_windows_of_minutes(store: Store) -> None:
    stream = Stream(store)
    steady(stream, 0, 435, 5)
    moved = stream.rows([at(435) + timedelta(seconds=each) for each in range(0, 1800, 5)])
    for row in moved:
        row["features"]["age"] += 5
    stream.insert(moved)
    exact, cells = (one(of_window(loop(store, rollups=how), at(465)), "age", "ks") for how in ("off", "always"))
    assert "floor from 12 reference windows" in cells.reason
    assert cells.effect_floor == pytest.approx(exact.effect_floor, abs=0.02)
    assert (cells.verdict, exact.verdict) == ("drift", "drift")


def test_stretches_are_few_however_long_the_reference_and_however_short_the_step() -> None:
    month = Window(day(0) + 605 * MINUTE, day(28) + 605 * MINUTE)
    for bucket_s in (60, 300):
        assert len(cover([month], bucket_s)) <= 27 + 23 + 2 * 60


def test_a_watch_of_days_compares_any_window_of_whole_minutes(store: Store) -> None:
    stream = Stream(store)
    steady(stream, 0, 2880, 120)
    watch = settings(reference=SIX_HOURS, rollups="always", floor_from_reference=False).models[0]
    rollup = Rollup(store, Predictions(store, 1000), 1000, 50)
    before, window = Window(day(1), day(2)), Window(at(1440 + 7), at(1440 + 71))
    datum = Datum("trailing", before.start, before.end, Scope("risk", before), 720)
    pair = rollup.pair("risk", watch, window, datum, 32, DIMENSIONS, day(3))
    assert pair is not None
    assert [each.traffic.rows for each in pair] == [720, 32]
    made = store.rows("SELECT extract(binning, '/(.*)') AS length, count() AS n FROM sketch_buckets GROUP BY length")
    assert {row["length"]: row["n"] for row in made} == {"": 1, "60": 32}, "a day, and the minutes with traffic"
