"""The monitor of many streams: quiet in season, weather and heavy tails; steps and slow falls found and measured."""

from __future__ import annotations

import numpy as np
import pytest

from tidegauge.detectors.sequential.baseline import Baseline, Blocks, slots_of
from tidegauge.detectors.sequential.e_detectors import log_threshold
from tidegauge.detectors.sequential.monitor import Monitor, State

PER_DAY, WEEKS, STREAMS = 24, 4, 60
HALF = PER_DAY * 7 * WEEKS
ROWS = 200.0
Rng = np.random.Generator


def traffic(rng: Rng, weather: float = 0.05, heavy: bool = False) -> np.ndarray:
    """Eight weeks of hourly means around 3: day and weekend, an hour's and a day's weather, chance of 200 rows."""
    at = np.arange(2 * HALF)
    season = 0.5 * np.sin(2 * np.pi * at / PER_DAY) + 0.4 * (at // PER_DAY % 7 >= 5)
    drawn = rng.standard_t(3, size=(2 * HALF, STREAMS)) / np.sqrt(3) if heavy else rng.normal(size=(2 * HALF, STREAMS))
    wander = np.zeros((2 * HALF, STREAMS))
    for hour in range(1, 2 * HALF):
        wander[hour] = 0.9 * wander[hour - 1] + weather * np.sqrt(1 - 0.81) * rng.normal(size=STREAMS)
    days = np.repeat(weather * rng.normal(size=(2 * HALF // PER_DAY, STREAMS)), PER_DAY, axis=0)
    return np.asarray(3 + season[:, None] + drawn / np.sqrt(ROWS) + wander + days)


def monitored(means: np.ndarray, pages: float = 1.0) -> tuple[Monitor, np.ndarray, np.ndarray]:
    """The monitor of the first half, the hour of each stream's first alarm in the second (-1: none), and evidence."""
    noise = np.full(means.shape, 1 / ROWS)
    slots = slots_of(np.arange(2 * HALF) * 3600, 3600, weekly=True)
    baseline = Baseline.fit(Blocks(means[:HALF], noise[:HALF], slots[:HALF]), PER_DAY)
    monitor = Monitor(baseline, np.full(STREAMS, 0.1), log_threshold(STREAMS, 730.5, pages))
    state, first, on = State.start(STREAMS), np.full(STREAMS, -1), np.zeros(STREAMS, dtype=bool)
    most = np.full(STREAMS, -np.inf)
    for hour in range(HALF):
        state = monitor.step(state, means[HALF + hour], noise[hour], int(slots[HALF + hour]), 3600.0 * hour)
        state, look, on = monitor.settled(state, on)
        first, most = np.where(on & (first < 0), hour, first), np.maximum(most, look.log_e)
    return monitor, first, most


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy tails"])
def test_a_clean_month_with_season_and_weather_is_quiet(rng: Rng, heavy: bool) -> None:
    monitor, first, most = monitored(traffic(rng, heavy=heavy))
    assert np.count_nonzero(first >= 0) <= 1
    assert np.count_nonzero(most >= monitor.log_a) <= 1


def test_a_block_that_nothing_should_move_is_left_out_of_what_is_usual() -> None:
    means, noise = np.zeros((HALF, 1)), np.ones((HALF, 1))
    means[100], noise[100] = 0.5, 0.0
    slots = slots_of(np.arange(HALF) * 3600, 3600, weekly=True)
    found = Baseline.fit(Blocks(means, noise, slots), PER_DAY)
    means[100] = np.nan
    without = Baseline.fit(Blocks(means, noise, slots), PER_DAY)
    assert found.usable == 1
    assert (found.spread, found.memory, found.long_run) == (without.spread, without.memory, without.long_run)


def test_a_step_is_found_dated_and_measured(rng: Rng) -> None:
    means = traffic(rng, weather=0.02)
    means[HALF + 100 :] += 0.3
    _, first, _ = monitored(means)
    assert np.all(first >= 100)
    assert np.median(first) <= 100 + 36


def test_a_mean_that_falls_by_fifteen_percent_in_two_weeks_is_found_before_they_are_over(rng: Rng) -> None:
    means = traffic(rng)
    means[HALF:] -= 0.45 * np.minimum(1, np.arange(HALF) / (14 * PER_DAY))[:, None]
    _, first, _ = monitored(means)
    assert np.mean(first >= 0) > 0.95
    assert np.median(first) < 14 * PER_DAY


def test_a_change_of_less_than_half_the_floor_is_hardly_ever_told_however_long_it_lasts(rng: Rng) -> None:
    means = traffic(rng, weather=0.0)
    means[HALF:] += 0.04
    _, first, _ = monitored(means)
    assert np.count_nonzero(first >= 0) <= 3


def test_a_fall_of_fifteen_hundredths_of_a_deviation_is_found_about_when_it_passes_its_floor(rng: Rng) -> None:
    """It reaches the floor after 224 h."""
    means = traffic(rng, weather=0.01)
    means[HALF:] -= 0.15 * np.minimum(1, np.arange(HALF) / (14 * PER_DAY))[:, None]
    _, first, _ = monitored(means)
    assert np.mean(first >= 0) == 1.0
    assert np.median(first) < 11 * PER_DAY


def test_streams_that_change_together_are_found_sooner_than_one_alone() -> None:
    monitor = Monitor(
        Baseline.fit(Blocks(np.ones((2, 4)), np.ones((2, 4)), np.zeros(2, dtype=np.int64)), 24), np.ones(4), 4.0
    )
    together, alone = np.array([3.4, 3.4, 3.4, 0.0]), np.array([3.4, 0.0, 0.0, 0.0])
    assert monitor.passed(together).tolist() == [True, True, True, False]
    assert not monitor.passed(alone).any()


def test_effect_and_interval_are_those_of_the_change(rng: Rng) -> None:
    means = traffic(rng, weather=0.02)
    means[HALF + 200 :] -= 0.25
    noise = np.full(means.shape, 1 / ROWS)
    slots = slots_of(np.arange(2 * HALF) * 3600, 3600, weekly=True)
    monitor = Monitor(
        Baseline.fit(Blocks(means[:HALF], noise[:HALF], slots[:HALF]), PER_DAY), np.full(STREAMS, 0.1), 12.0
    )
    state = State.start(STREAMS)
    for hour in range(HALF):
        state = monitor.step(state, means[HALF + hour], noise[hour], int(slots[HALF + hour]), 3600.0 * hour)
    look = monitor.look(state)
    assert np.median(look.effect) == pytest.approx(-0.25, abs=0.02)
    assert np.mean((look.low <= -0.25) & (look.high >= -0.25)) > 0.9
    assert np.median(np.abs(look.since / 3600 - 200)) <= 3


def test_a_stream_without_values_stays_where_it_is(rng: Rng) -> None:
    means = traffic(rng)[:, :2]
    noise, slots = np.full(means.shape, 1 / ROWS), slots_of(np.arange(2 * HALF) * 3600, 3600, weekly=True)
    monitor = Monitor(Baseline.fit(Blocks(means, noise, slots), PER_DAY), np.full(2, 0.1), 10.0)
    state = monitor.step(State.start(2), means[0], noise[0], 0, 0.0)
    after = monitor.step(state, np.array([np.nan, means[1, 1]]), noise[0], 1, 3600.0)
    assert np.array_equal(after.detector[0], state.detector[0])
    assert after.looks.tolist() == [1.0, 2.0]


def test_streams_that_never_vary_or_are_short_are_not_monitored() -> None:
    means = np.column_stack([np.ones(100), np.r_[np.arange(50.0), np.full(50, np.nan)]])
    baseline = Baseline.fit(Blocks(means, np.zeros((100, 2)), np.arange(100) % 24), PER_DAY)
    assert baseline.usable.tolist() == [0.0, 0.0]
