"""`tidegauge calibrate`: its rates are those of new data from the same source, and changes are found as it says."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest
from drift_stream import Stream, day
from scipy.stats import fisher_exact
from typer.testing import CliRunner

from tidegauge.cli import app
from tidegauge.cli_calibrate import lines
from tidegauge.config import Detectors, Reference, Watch
from tidegauge.detectors.calibrate import calibrate, reference_of
from tidegauge.detectors.calibrate.hours import sequential
from tidegauge.detectors.calibrate.replay import Judge, replay
from tidegauge.detectors.calibrate.shifts import moved_by, shifts
from tidegauge.detectors.calibrate.windows import Cut
from tidegauge.detectors.finding import Verdict
from tidegauge.detectors.sequential.rollups import Hours
from tidegauge.detectors.traffic import Category, Traffic, rows_at
from tidegauge.errors import TidegaugeError
from tidegauge.model import ALL, Slice
from tidegauge.store import Store

Rng = np.random.Generator
START = 1_767_225_600  # a Thursday, midnight UTC
WATCH = Watch(reference=Reference(kind="training"), floor_from_reference=False, false_discovery_rate=0.2)


def world(rng: Rng, days: int, rows: int = 200, weather: float = 0.12) -> Traffic:
    """Rows of days that share a weather: three numbers and a text."""
    count = days * rows
    seconds = START + np.sort(rng.integers(0, days * 86_400, count))
    at = (seconds - START) // 86_400
    numbers = {f"x{each}": rng.normal(size=count) + rng.normal(0, weather, days)[at] for each in range(3)}
    text = Category(rng.choice(4, size=count, p=[0.5, 0.3, 0.15, 0.05]).astype(np.int32), ("a", "b", "c", "d"))
    return Traffic(count, numbers, {"plan": text}, {}, 1, seconds)


def test_its_rate_of_false_alarms_is_that_of_new_days(rng: Rng) -> None:
    """Against 40 days that were not in the reference, judged by the same code."""
    reference = world(rng, 50)
    stated = replay(reference, WATCH, "training", 0, rng).whole
    new = world(rng, 40)
    judging, cut = Judge(rows_at(reference, np.arange(38 * 200)), WATCH, "training"), Cut.of(_seconds(new), 86_400)
    true = 0
    for number in cut.windows:
        claims = judging.judged(rows_at(new, cut.rows_of(number)), cut.at(number))[1]
        true += any(claim.verdict is Verdict.DRIFT for claim in claims)
    hits = stated.alarmed.get("anywhere", 0)
    table = [[hits, stated.windows - hits], [true, len(cut.windows) - true]]
    assert stated.windows >= 48
    assert 0 < hits < stated.windows
    assert fisher_exact(table).pvalue > 0.001


def test_its_power_is_that_of_a_shift_in_new_days(rng: Rng) -> None:
    reference, new = world(rng, 40), world(rng, 40)
    stated = replay(reference, WATCH, "training", 0, rng).power["mean, deviations", 0.25]
    judging, cut = Judge(rows_at(reference, np.arange(30 * 200)), WATCH, "training"), Cut.of(_seconds(new), 86_400)
    true = 0
    for number in cut.windows:
        moved = moved_by(0.25).into(rows_at(new, cut.rows_of(number)), "x0", 1.0, rng)
        claims = judging.judged(moved, cut.at(number))[1]
        true += any(each.feature == "x0" and each.verdict is Verdict.DRIFT for each in claims)
    assert 0.1 < stated.found / stated.tried < 0.98
    table = [[stated.found, stated.tried - stated.found], [true, len(cut.windows) - true]]
    assert fisher_exact(table).pvalue > 0.001


def _seconds(traffic: Traffic) -> np.ndarray:
    assert traffic.seconds is not None
    return traffic.seconds


def test_larger_shifts_are_found_more_often(rng: Rng) -> None:
    found = calibrate("m", world(rng, 24), WATCH, "training", {}, 1.0, 0, rng).as_json()
    means = [row["power"]["value"] for row in found["power"] if row["shift"] == "mean, deviations"]
    assert means == sorted(means)
    assert means[-1] == 1.0
    assert {row["shift"] for row in found["power"]} == {each.kind for each in shifts()}
    assert found["slow_trend"]["found"]["value"] == 1.0
    assert found["sequential"] == {}


def test_windows_of_several_days_are_also_drawn_day_by_day(rng: Rng) -> None:
    watch = WATCH.model_copy(update={"window_hours": 72.0, "step_hours": 72.0})
    found = calibrate("m", world(rng, 25), watch, "training", {}, 1.0, 5, rng).as_json()
    assert found["whole_windows"]["windows"] == 8
    assert found["windows_of_drawn_days"]["windows"] == 20


def test_each_window_is_left_out_once_and_its_rows_are_not_in_its_reference(rng: Rng) -> None:
    cut = Cut.of(_seconds(world(rng, 10)), 86_400)
    groups = cut.groups(rng)
    assert sorted(number for group in groups for number in group) == list(cut.windows)
    for group in groups:
        assert not set(cut.others(group)) & set(cut.rows_of(group[0]))
        assert len(cut.drawn(group, rng)) > 100


def test_a_reference_of_three_windows_is_too_short_and_says_so(rng: Rng) -> None:
    found = calibrate("m", world(rng, 3), WATCH, "training", {}, 1.0, 0, rng).as_json()
    assert "4 are needed" in found["problem"]
    assert found["whole_windows"] is None


def test_the_hours_of_a_calm_past_give_no_page_and_find_steps(rng: Rng) -> None:
    weeks, streams = 8, 5
    seconds = START + np.arange(weeks * 168) * 3600
    season = np.sin(2 * np.pi * seconds / 86_400)[:, None]
    means = 3 + season + rng.normal(0, 0.05, (len(seconds), streams))
    flat = np.full(means.shape, 0.05**2)
    names = tuple(("score", ALL if not at else Slice("port", str(at))) for at in range(streams))
    found = sequential(
        Hours(seconds, names, means, flat, flat), np.full(streams, 0.05), np.full(streams, 8.0), 1.0, rng
    )
    assert found
    assert (found.streams, found.weeks, found.pages) == (streams, weeks, 0)
    once, twice, *_, slope = found.delays
    assert twice.found == slope.found == slope.streams
    assert once.median_h > twice.median_h
    assert twice.median_h < 48


def test_the_command_prints_numbers_of_a_stored_model(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    Stream(store).days(0, 23, rows=120)
    detectors = Detectors(models=(Watch(reference=Reference(kind="trailing", gap_days=0), slices=("port",)),))
    watch, datum, families = reference_of(store, detectors, "risk", day(23))
    assert datum.profile and watch.slices == ("port",)
    assert set(families) == {"outputs", "features"}
    monkeypatch.setattr("tidegauge.store.Store", lambda *_: store)
    until = f"{day(23) + timedelta(minutes=5):%Y-%m-%dT%H:%M:%S}"
    shown = CliRunner().invoke(app, ["calibrate", "risk", "--draws", "0", "--until", until, "--json"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.output)
    assert found["whole_windows"]["windows"] >= 20
    assert found["sequential"]["features"]["false_pages_a_month"]["wanted"] == pytest.approx(1 / 3)
    text = "\n".join(lines(found))
    assert "false pages a month" in text
    assert "found in all traffic within one window" in text


def test_an_unknown_model_is_named_with_those_that_there_are(store: Store) -> None:
    Stream(store).days(0, 1, rows=50)
    with pytest.raises(TidegaugeError, match=r"no predictions of .fraud.; there are of: risk"):
        reference_of(store, Detectors(), "fraud", day(1))
