"""MMD from sums of random features."""

from __future__ import annotations

import numpy as np
import pytest

from tidegauge.detectors.statistics import Buckets, FeatureMap, mmd, random_features
from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.detectors.statistics.random_features import effect_between
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined

MAP = FeatureMap("made-up", 4, 2.0)
SMALL = FeatureMap("made-up", 4, 2.0, count=48)


def determined(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def in_buckets(rows: FloatArray, count: int) -> Buckets:
    return MAP.buckets(rows, np.arange(len(rows)) % count, count)


def test_it_estimates_what_the_exact_test_does() -> None:
    rng = np.random.default_rng(1)
    reference, current = rng.normal(size=(800, 4)), rng.normal(0.5, 1, size=(600, 4))
    exact = determined(mmd(reference, current, bandwidth=2.0, permutations=19, rng=rng))
    fast = determined(random_features(in_buckets(reference, 40), in_buckets(current, 30), rng=rng))
    assert fast.value == pytest.approx(exact.value, rel=0.1)
    assert fast.effect == pytest.approx(exact.effect, rel=0.1)
    assert (fast.n_reference, fast.n_current, fast.note) == (800, 600, "from 30 stretches against 40")


def test_sums_are_those_of_the_features_of_each_bucket_whatever_the_order_of_rows() -> None:
    rows = np.random.default_rng(2).normal(size=(10_000, 4))
    bucket = np.random.default_rng(3).integers(0, 7, size=10_000)
    found = MAP.buckets(rows, bucket, 8)
    expected = [MAP.features(rows[bucket == at]).sum(axis=0, dtype=np.float64) for at in range(8)]
    assert np.allclose(found.sums, expected, atol=1e-4)
    assert found.rows.tolist() == np.bincount(bucket, minlength=8).tolist()


def test_frequencies_are_the_same_everywhere_and_named_by_model_seed_and_width() -> None:
    assert MAP.frequencies[0] == pytest.approx([0.882026, 0.200079, 0.489369, 1.120447], abs=1e-6)
    others = [FeatureMap("b", 4, 2.0), FeatureMap("made-up", 4, 2.0, seed=1), FeatureMap("made-up", 4, 1.9)]
    assert len({MAP.name, *(each.name for each in others)}) == 4
    assert FeatureMap("made-up", 4, 2.0).name == MAP.name


def test_sums_made_with_other_features_are_refused() -> None:
    rows = np.random.default_rng(4).normal(size=(100, 4))
    other = FeatureMap("another", 4, 2.0).buckets(rows, np.arange(100) % 10, 10)
    outcome = random_features(in_buckets(rows, 10), other, rng=np.random.default_rng(5))
    assert isinstance(outcome, Undetermined) and outcome.reason.startswith("not comparable: ")


def test_too_few_buckets_are_undetermined() -> None:
    rows = np.random.default_rng(6).normal(size=(100, 4))
    outcome = random_features(in_buckets(rows, 50), in_buckets(rows, 7), rng=np.random.default_rng(7))
    assert isinstance(outcome, Undetermined) and outcome.reason == "7 stretches with rows are too few: 8 are needed"


def rejected(window_rows: int, alike: bool, runs: int = 120) -> float:
    """Share of p-values up to 5 % with nothing changed; ``alike`` makes the rows of a bucket much the same."""
    found = 0
    for run in range(runs):
        rng = np.random.default_rng([run, window_rows, alike])
        sides = []
        for buckets, each in ((30, 20), (12, window_rows)):
            middles = rng.normal(size=(buckets, 4)) * (2.0 if alike else 0.0)
            rows = np.repeat(middles, each, axis=0) + rng.normal(size=(buckets * each, 4))
            sides.append(SMALL.buckets(rows, np.repeat(np.arange(buckets), each), buckets))
        found += (determined(random_features(*sides, permutations=99, rng=rng)).p_value or 0) <= 0.05
    return found / runs


@pytest.mark.parametrize(("window_rows", "alike"), [(20, False), (3, False), (100, False), (20, True)])
def test_the_false_alarm_rate_holds_with_other_traffic_and_with_rows_that_hang_together(
    window_rows: int, alike: bool
) -> None:
    assert rejected(window_rows, alike) <= 0.12  # 5 % of 120: above 12 % by chance once in 900 times


def test_the_effect_alone_is_that_of_the_test() -> None:
    rng = np.random.default_rng(8)
    sides = in_buckets(rng.normal(size=(300, 4)), 25), in_buckets(rng.normal(1, 1, size=(90, 4)), 9)
    assert effect_between(*sides) == pytest.approx(determined(random_features(*sides, rng=rng)).effect)
    assert effect_between(sides[0], in_buckets(rng.normal(size=(90, 4)), 7)) is None
