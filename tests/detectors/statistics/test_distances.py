"""Kolmogorov-Smirnov, Wasserstein and the shift of the mean: agreement, power and what they leave alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tidegauge.detectors.statistics import ks, mean_shift, wasserstein
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined
from tidegauge.detectors.statistics.wasserstein import NullDistance, distance, distances

SIZES = [(1, 1), (2, 1), (3, 7), (20, 20), (100, 30), (30, 100), (1000, 999), (1500, 500), (4000, 37), (37, 4000)]


def samples(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    smooth = [(rng.normal(size=n), rng.normal(0.2, 1.3, size=m)) for n, m in SIZES]
    tied = [(rng.poisson(2, n).astype(float), rng.poisson(3, m).astype(float)) for n, m in SIZES]
    apart = [(rng.lognormal(0, 2, n), 1e6 + rng.lognormal(0, 2, m)) for n, m in SIZES]
    return smooth + tied + apart


def determined(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def test_the_ks_statistic_agrees_with_scipy() -> None:
    for reference, current in samples(1):
        method = "exact" if len(reference) * len(current) <= 40_000 else "asymp"
        expected = stats.ks_2samp(reference, current, method=method).statistic
        assert determined(ks(reference, current)).value == pytest.approx(expected, abs=1e-12)


def test_the_ks_p_value_is_the_exact_one_for_small_samples_and_kolmogorovs_for_large() -> None:
    for reference, current in samples(2):
        found, n, m = determined(ks(reference, current)), len(reference), len(current)
        if n * m <= 40_000:
            expected = stats.ks_2samp(reference, current, method="exact").pvalue
        else:
            expected = stats.kstwobign.sf(found.value * math.sqrt(n * m / (n + m)))
        assert found.p_value == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_wasserstein_agrees_with_scipy() -> None:
    for reference, current in samples(3):
        found = wasserstein(reference, current)
        if isinstance(found, Undetermined):
            assert len(reference) < 2 or np.ptp(reference) == 0
        else:
            assert found.value == pytest.approx(stats.wasserstein_distance(reference, current), rel=1e-12)


@pytest.mark.parametrize("statistic", [ks, wasserstein])
def test_a_presorted_reference_gives_the_same(statistic: object) -> None:
    assert callable(statistic)
    for reference, current in samples(4):
        assert statistic(np.sort(reference), current, reference_sorted=True) == statistic(reference, current)


@pytest.mark.parametrize("rows", [(100, 100), (2000, 200), (1000, 1000)])
@pytest.mark.parametrize("law", ["normal", "exponential", "uniform", "lognormal"])
def test_the_mean_distance_without_drift_is_the_one_that_is_predicted(law: str, rows: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    noise = math.sqrt(1 / rows[0] + 1 / rows[1])
    found, predicted = [], []
    for _ in range(300):
        left, right = (np.sort(getattr(rng, law)(size=size)) for size in rows)
        found.append(determined(wasserstein(left, right, reference_sorted=True)).value)
        predicted.append(NullDistance.fit(np.sort(np.concatenate([left, right]))).mean * noise)
    assert np.mean(found) == pytest.approx(np.mean(predicted), rel=0.08)


def test_the_law_of_the_limit_agrees_with_simulated_bridges() -> None:
    ramp = (np.arange(2000) + 0.5) / 2000
    at = np.arange(1, 200) / 200
    rng = np.random.default_rng(6)
    walks = np.cumsum(rng.normal(size=(20_000, 200)), axis=1) / math.sqrt(200)
    bridges = walks[:, :-1] - np.outer(walks[:, -1], at)
    drawn = np.abs(bridges).mean(axis=1)
    null = NullDistance.fit(ramp)
    assert null.mean == pytest.approx(math.sqrt(2 / math.pi) * math.pi / 8, rel=0.002)
    assert null.variation == pytest.approx(drawn.std() / drawn.mean(), rel=0.02)
    for tail in (0.1, 0.05, 0.01):
        assert null.p_value(float(np.quantile(drawn, 1 - tail))) == pytest.approx(tail, rel=0.2)


def test_the_permutation_p_value_repeats_with_the_seed_goes_on_beyond_its_draws_and_is_never_zero() -> None:
    reference, current = np.arange(50.0), np.arange(50.0) + 500
    first, again = (determined(wasserstein(reference, current, rng=np.random.default_rng(1))) for _ in range(2))
    assert first.p_value == again.p_value and first.p_value is not None
    assert 0 < first.p_value < 1 / 1000


def test_distances_of_picked_rows_are_those_of_the_two_samples() -> None:
    rng = np.random.default_rng(5)
    pooled = np.sort(np.round(rng.normal(size=300), 1))
    picks = np.sort(np.array([rng.choice(300, 40, replace=False) for _ in range(20)]), axis=1)
    expected = [distance(np.delete(pooled, each), pooled[each]) for each in picks]
    assert distances(pooled, picks) == pytest.approx(expected, rel=1e-12)


def test_permutations_and_the_limit_agree() -> None:
    rng = np.random.default_rng(7)
    for _ in range(10):
        reference, current = rng.normal(size=150), rng.normal(0.15, 1, size=150)
        exact = determined(wasserstein(reference, current, rng=rng)).p_value
        limit = determined(wasserstein(reference, current)).p_value
        assert limit == pytest.approx(exact, abs=0.1)


def test_mean_shift_is_never_surer_than_welchs_test_and_agrees_with_it_for_many_rows() -> None:
    for reference, current in samples(8):
        if min(len(reference), len(current)) > 2:
            expected = stats.ttest_ind(current, reference, equal_var=False).pvalue
            found = determined(mean_shift(reference, current))
            assert found.value == pytest.approx(current.mean() - reference.mean(), rel=1e-12)
            assert found.p_value is not None and found.p_value >= expected * (1 - 1e-9)
    rng = np.random.default_rng(8)
    reference, current = rng.normal(size=20_000), rng.normal(0.02, 1, 20_000)
    expected = stats.ttest_ind(current, reference, equal_var=False).pvalue
    assert determined(mean_shift(reference, current)).p_value == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("statistic", [ks, wasserstein, mean_shift])
def test_half_a_deviation_is_found_and_a_hundredth_does_not_matter(statistic: object) -> None:
    assert callable(statistic)
    rng = np.random.default_rng(9)
    reference = rng.normal(size=200_000)
    shifted = determined(statistic(reference, rng.normal(0.5, 1, size=300)))
    assert shifted.p_value is not None and shifted.p_value < 1e-6 and shifted.effect > shifted.floor
    slight = determined(statistic(reference, rng.normal(0.02, 1, size=200_000)))
    assert slight.p_value is not None and slight.p_value < 0.001 and slight.effect < slight.floor


@pytest.mark.parametrize("statistic", [ks, wasserstein, mean_shift])
def test_a_small_window_without_drift_rarely_has_an_effect_over_the_floor(statistic: object) -> None:
    assert callable(statistic)
    rng = np.random.default_rng(10)
    reference = np.sort(rng.normal(size=10_000))
    found = [determined(statistic(reference, rng.normal(size=100))) for _ in range(300)]
    over = [result for result in found if result.p_value is not None and result.p_value < 0.01 and result.effect >= 0.1]
    assert len(over) <= 10


@pytest.mark.parametrize("statistic", [ks, wasserstein, mean_shift])
def test_the_effect_does_not_depend_on_the_size_of_the_window(statistic: object) -> None:
    assert callable(statistic)
    rng = np.random.default_rng(11)
    reference = rng.normal(size=20_000)
    means = [
        np.mean([determined(statistic(reference, rng.normal(0.5, 1, size=rows))).effect for _ in range(40)])
        for rows in (60, 500, 5000)
    ]
    assert max(means) - min(means) < 0.06
