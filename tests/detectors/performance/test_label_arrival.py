"""Labels that come late: what is learned of their delays, and that weights undo the selection of fast ones."""

from __future__ import annotations

import numpy as np
import pytest

from tidegauge.detectors.performance import classes
from tidegauge.detectors.performance.arrival import POOLED, Arrival, learn
from tidegauge.detectors.performance.measured import Measured

HOUR, DAY = 3600.0, 86_400.0


def drawn(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions that are wrong more often where the truth is bad news, and bad news that comes late."""
    truth = (rng.random(n) < 0.3).astype(np.int64)
    right = (rng.random(n) < np.where(truth == 1, 0.5, 0.95)).astype(np.int64)
    delay = rng.exponential(np.where(truth == 1, 40 * HOUR, 4 * HOUR))
    return truth, right, delay


def past(rng: np.random.Generator, n: int = 20_000) -> Arrival:
    truth, right, delay = drawn(rng, n)
    found = learn(delay, 2 * truth + right, np.full(n, 30 * DAY), 14 * DAY)
    assert found
    return found


def test_a_day_whose_labels_are_half_in_is_neither_good_nor_bad_once_it_is_weighted(rng: np.random.Generator) -> None:
    arrival = past(rng)
    plain, weighted, covered = [], [], []
    for _ in range(60):
        truth, right, delay = drawn(rng, 2000)
        age = rng.uniform(0, 24, 2000) * HOUR
        came = delay <= age
        chances = arrival.chances(age[came], (2 * truth + right)[came])
        assert np.mean(came) < 0.75
        plain.append(float(right[came].mean()))
        found = classes.accuracy(right[came].astype(float), 1 / chances)
        assert isinstance(found, Measured)
        weighted.append(found.value)
        covered.append(found.low <= 0.815 <= found.high)
    assert np.mean(plain) > 0.87, "the labels that come fast flatter"
    assert np.mean(weighted) == pytest.approx(0.815, abs=0.015)
    assert np.mean(covered) > 0.8


def test_the_expected_share_of_labels_counts_those_that_never_come(rng: np.random.Generator) -> None:
    delay = np.where(rng.random(5000) < 0.2, np.nan, rng.exponential(10 * HOUR, 5000))
    arrival = learn(delay, np.zeros(5000, dtype=np.int64), np.full(5000, 30 * DAY), 7 * DAY)
    assert arrival
    assert arrival.eventual == pytest.approx(0.8, abs=0.03)
    assert arrival.share(np.full(10, 10 * HOUR)) == pytest.approx(0.8 * (1 - np.exp(-1)), abs=0.03)
    assert arrival.share(np.full(10, 0.0)) == 0


def test_young_predictions_teach_nothing_about_delays(rng: np.random.Generator) -> None:
    delay = rng.exponential(HOUR, 500)
    assert learn(delay, np.zeros(500, dtype=np.int64), np.full(500, 2 * DAY), 7 * DAY) is None


def test_a_rare_stratum_takes_the_delays_of_all(rng: np.random.Generator) -> None:
    strata = np.zeros(1000, dtype=np.int64)
    strata[:5] = 3
    arrival = learn(rng.exponential(HOUR, 1000), strata, np.full(1000, 30 * DAY), 7 * DAY)
    assert arrival
    assert set(arrival.delays) == {POOLED, 0}
    assert arrival.chances(np.array([HOUR]), np.array([3]))[0] == pytest.approx(1 - np.exp(-1), abs=0.05)


def test_the_lowest_share_is_that_of_the_slowest_labels(rng: np.random.Generator) -> None:
    arrival = past(rng)
    assert arrival.lowest(np.full(10, 8 * HOUR)) == pytest.approx(1 - np.exp(-0.2), abs=0.03)
    assert arrival.lowest(np.empty(0)) == 0
