"""Anderson-Darling, means, spreads and quantiles with their intervals, ranges, outliers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.stats._morestats import _anderson_ksamp_midrank

from tidegauge.detectors.statistics import (
    anderson_darling,
    mean_shift,
    out_of_range,
    outliers,
    quantile_shift,
    variance_shift,
)
from tidegauge.detectors.statistics.exchange import Nodes, mean_p_value
from tidegauge.detectors.statistics.out_of_range import beyond_reference
from tidegauge.detectors.statistics.quadratic import tail
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined

Draw = Callable[[np.random.Generator, int], np.ndarray]
FROM_1900_TO_2299 = -2.2089888e9, 1.0413792e10
"""Seconds since 1970."""


def determined(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


@pytest.mark.parametrize(("n", "m"), [(2, 1), (50, 50), (200, 30), (30, 2000)])
@pytest.mark.parametrize("decimals", [0, 1, 12])
def test_anderson_darling_agrees_with_scipy_with_and_without_ties(n: int, m: int, decimals: int) -> None:
    rng = np.random.default_rng(n)
    left, right = (np.sort(np.round(rng.normal(size=rows), decimals)) for rows in (n, m))
    pooled = np.sort(np.concatenate([left, right]))
    expected = _anderson_ksamp_midrank([left, right], pooled, np.unique(pooled), 2, [n, m], n + m)
    assert determined(anderson_darling(left, right)).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("point", "p"), [(1.933, 0.10), (2.492, 0.05), (3.878, 0.01), (6.0, 0.00103)])
def test_anderson_darlings_limit_has_the_published_points(point: float, p: float) -> None:
    terms = np.arange(1.0, 201.0)
    assert tail(1 / terms / (terms + 1), point - 1 / 201) == pytest.approx(p, rel=0.05)


def test_a_change_in_the_tails_alone_is_found_by_anderson_darling_first() -> None:
    rng = np.random.default_rng(3)
    reference, current = rng.normal(size=5000), rng.standard_t(3, size=1000)
    found = determined(anderson_darling(reference, current))
    assert found.p_value is not None and found.p_value < 1e-4
    assert found.p_value < stats.ks_2samp(reference, current).pvalue / 10


def test_the_chance_by_exchange_is_that_of_all_orders() -> None:
    rng = np.random.default_rng(4)
    for draw in (rng.lognormal, rng.normal, rng.standard_cauchy):
        values = draw(size=16)
        sums = np.array([sum(each) for each in combinations(values, 6)])
        own = values[:6].sum()
        exact = 2 * min(np.mean(sums >= own - 1e-12), np.mean(sums <= own + 1e-12))
        sides = Nodes.of(np.sort(values[6:])), Nodes.of(np.sort(values[:6]))
        assert mean_p_value(*sides) == pytest.approx(min(1.0, exact), rel=0.15, abs=0.01)


INTERVALS: list[tuple[str, Callable[..., Outcome], Draw, float]] = [
    ("mean, normal", mean_shift, lambda rng, n: rng.normal(size=n), 0.0),
    ("mean, log-normal", mean_shift, lambda rng, n: rng.lognormal(size=n), 0.0),
    ("spread, normal", variance_shift, lambda rng, n: rng.normal(size=n), 1.0),
    ("spread, exponential", variance_shift, lambda rng, n: rng.exponential(size=n), 1.0),
    ("quantiles, t(2)", quantile_shift, lambda rng, n: rng.standard_t(2, size=n), 0.0),
]


@pytest.mark.parametrize(
    ("statistic", "draw", "truth"), [each[1:] for each in INTERVALS], ids=[e[0] for e in INTERVALS]
)
def test_an_interval_holds_the_truth_in_about_95_of_100_windows(
    statistic: Callable[..., Outcome], draw: Draw, truth: float
) -> None:
    rng = np.random.default_rng(5)
    reference = np.sort(draw(rng, 5000))
    found = [determined(statistic(reference, draw(rng, 200), reference_sorted=True)).interval for _ in range(200)]
    held = [low <= truth <= high for low, high in filter(None, found)]
    assert len(held) == 200
    assert sum(held) >= stats.binom.ppf(0.0005, 200, 0.94)


def test_an_interval_holds_the_size_of_a_real_shift() -> None:
    rng = np.random.default_rng(6)
    reference, current = rng.normal(10, 2, 4000), rng.normal(11, 3, 2000)
    expected = {mean_shift: 1.0, variance_shift: 1.5}
    for statistic, truth in expected.items():
        found = determined(statistic(reference, current))
        assert found.interval and found.interval[0] < truth < found.interval[1]
        assert found.p_value is not None and found.p_value < 1e-9 and found.effect > found.floor


def test_a_shift_of_the_mean_is_no_change_of_the_spread() -> None:
    rng = np.random.default_rng(7)
    found = determined(variance_shift(rng.normal(size=3000), rng.normal(5, 1, 600)))
    assert found.value == pytest.approx(1, abs=0.1) and found.p_value is not None and found.p_value > 0.01


def test_the_quantile_that_moved_is_named() -> None:
    rng = np.random.default_rng(8)
    reference, current = rng.normal(size=4000), rng.normal(size=2000)
    current[current > 1.2] += 2
    found = determined(quantile_shift(reference, current))
    assert found.note.startswith("95 % quantile; 5 %:") and found.value == pytest.approx(2, abs=0.3)
    assert found.effect > found.floor and found.p_value is not None and found.p_value < 1e-6


@pytest.mark.parametrize(("n", "m"), [(2, 3), (5, 4), (9, 2)])
def test_rows_beyond_the_reference_are_as_likely_as_counted_over_all_orders(n: int, m: int) -> None:
    outside = []
    for places in combinations(range(n + m), n):
        outside.append(places[0] + n + m - 1 - places[-1])
    for hits in range(m + 1):
        found = beyond_reference((0.0, 1.0), (hits, 0), (n, m))
        assert isinstance(found, Result)
        assert found.p_value == pytest.approx(float(np.mean(np.array(outside) >= hits)), rel=1e-9)


def test_a_declared_range_counts_only_more_violations_than_the_reference_has() -> None:
    rng = np.random.default_rng(9)
    reference, current = rng.normal(40, 10, 2000), rng.normal(40, 10, 500)
    usual = determined(out_of_range(reference, current, low=20, high=60))
    assert usual.p_value is not None and usual.p_value > 0.01
    current[:25] = -1
    broken = determined(out_of_range(reference, current, low=20, high=60))
    assert broken.p_value is not None and broken.p_value < 1e-3 and broken.effect > broken.floor
    fewer = determined(out_of_range(current, reference, low=20, high=60))
    assert fewer.effect == 0 and fewer.p_value is not None and fewer.p_value > 0.9


def test_a_constant_reference_has_a_range_though_nothing_else() -> None:
    constant = np.full(500, 3.0)
    moved = determined(out_of_range(constant, np.full(60, 4.0)))
    assert moved.value == 1 and moved.p_value is not None and moved.p_value < 1e-9
    assert determined(out_of_range(constant, constant)).p_value == 1
    for statistic in (mean_shift, variance_shift, quantile_shift):
        assert isinstance(statistic(constant, np.arange(100.0)), Undetermined)


def test_outliers_are_counted_against_fences_of_the_reference() -> None:
    rng = np.random.default_rng(10)
    reference, current = rng.normal(size=5000), rng.normal(size=1000)
    assert determined(outliers(reference, current)).effect == 0
    current[:40] = 1e6
    found = determined(outliers(reference, current))
    assert found.value == pytest.approx(0.04) and found.p_value is not None and found.p_value < 1e-9
    assert determined(outliers(np.append(reference, current), reference)).value < 0, "far values that vanish count too"


@pytest.mark.parametrize(
    "statistic", [anderson_darling, mean_shift, variance_shift, quantile_shift, out_of_range, outliers]
)
def test_moments_of_time_from_1900_to_2299_are_numbers_like_others(statistic: Callable[..., Outcome]) -> None:
    rng = np.random.default_rng(11)
    reference, current = (rng.uniform(*FROM_1900_TO_2299, size=rows) for rows in (3000, 500))
    found = determined(statistic(reference, current))
    assert found.p_value is not None and found.p_value > 1e-4
