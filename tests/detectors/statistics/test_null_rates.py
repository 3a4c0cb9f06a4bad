"""Without drift a p-value is under alpha with probability alpha, or less: at every size, for every kind of data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from scipy import stats

from tidegauge.detectors.statistics import (
    CategoryBins,
    NumericBins,
    anderson_darling,
    chi_squared,
    duplicates,
    ks,
    lost_categories,
    mean_shift,
    missing_share,
    mmd,
    new_categories,
    out_of_range,
    outliers,
    psi,
    quantile_shift,
    risen_category,
    variance_shift,
    volume,
    wasserstein,
)
from tidegauge.detectors.statistics.result import Outcome, Result
from tidegauge.detectors.statistics.shared_cells import shared_cells

RUNS = 1200
Draw = Callable[[np.random.Generator, int], np.ndarray]
LAWS: dict[str, Draw] = {
    "normal": lambda rng, rows: rng.normal(size=rows),
    "skewed": lambda rng, rows: rng.lognormal(size=rows),
    "discrete": lambda rng, rows: rng.poisson(3, rows).astype(float),
    "binary": lambda rng, rows: (rng.random(rows) < 0.2).astype(float),
}


def assert_calibrated(outcomes: list[Outcome], slack: float = 1.0, exact: bool = True) -> None:
    """At most the 99.99 % binomial bound of false alarms; if ``exact``, not far too few either."""
    p = np.array([outcome.p_value for outcome in outcomes if isinstance(outcome, Result)], dtype=np.float64)
    assert len(p) > 0.95 * len(outcomes), "too many are undetermined"
    for alpha in (0.05, 0.01):
        hits = int(np.count_nonzero(p <= alpha))
        assert hits <= stats.binom.ppf(0.9999, len(p), alpha * slack), (alpha, hits / len(p))
    assert not exact or np.count_nonzero(p <= 0.05) >= stats.binom.ppf(0.0001, len(p), 0.035)


@pytest.mark.parametrize("rows", [(50, 50), (1000, 100), (100, 1000), (5000, 300)], ids=str)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("statistic", [ks, partial(wasserstein, rng=np.random.default_rng(3)), mean_shift])
def test_samples_of_one_law(statistic: Callable[..., Outcome], law: str, rows: tuple[int, int]) -> None:
    rng = np.random.default_rng(list(LAWS).index(law))
    runs = 500 if statistic is ks else 250
    outcomes = [statistic(LAWS[law](rng, rows[0]), LAWS[law](rng, rows[1])) for _ in range(runs)]
    assert_calibrated(outcomes, exact=False)


@pytest.mark.parametrize("rows", [(5000, 60), (300, 1000)], ids=str)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("statistic", [anderson_darling, variance_shift, quantile_shift, out_of_range, outliers])
def test_samples_of_one_law_by_what_is_asked_on_top(
    statistic: Callable[..., Outcome], law: str, rows: tuple[int, int]
) -> None:
    rng = np.random.default_rng(30 + list(LAWS).index(law))
    outcomes = [statistic(LAWS[law](rng, rows[0]), LAWS[law](rng, rows[1])) for _ in range(150)]
    assert_calibrated(outcomes, exact=False)


@pytest.mark.parametrize("patterns", [50, 20_000])
@pytest.mark.parametrize("rows", [(5000, 300), (300, 1000)], ids=str)
def test_rows_that_repeat_each_other_by_chance(rows: tuple[int, int], patterns: int) -> None:
    rng = np.random.default_rng(31)
    outcomes = []
    for _ in range(300):
        repeats = [size - len(np.unique(rng.integers(0, patterns, size))) for size in rows]
        outcomes.append(duplicates(repeats[0], rows[0], repeats[1], rows[1]))
    assert_calibrated(outcomes, exact=False)


@pytest.mark.parametrize("rows", [(1000, 300), (1000, 1000), (20_000, 500)], ids=str)
@pytest.mark.parametrize("law", LAWS)
def test_counts_in_frozen_bins_of_one_law(law: str, rows: tuple[int, int]) -> None:
    rng = np.random.default_rng(20)
    found: dict[str, list[Outcome]] = {"psi": [], "chi_squared": []}
    for _ in range(RUNS // 2):
        reference, current = (LAWS[law](rng, size) for size in rows)
        bins = NumericBins.fit(reference)
        counts = bins.tally(reference), bins.tally(current)
        found["psi"].append(psi(*counts))
        found["chi_squared"].append(chi_squared(*counts))
    for outcomes in found.values():
        assert_calibrated(outcomes)


@pytest.mark.parametrize("slope", [1.1, 1.5, 2.5])
def test_categories_with_a_long_tail(slope: float) -> None:
    rng = np.random.default_rng(21)
    share = 1 / np.arange(1, 3001) ** slope
    share /= share.sum()
    found: dict[str, list[Outcome]] = {"psi": [], "chi_squared": [], "new": [], "lost": []}
    for _ in range(400):
        reference, current = (
            {str(at): int(rows) for at, rows in enumerate(rng.multinomial(size, share)) if rows}
            for size in (10_000, 1000)
        )
        bins, tested = CategoryBins.fit(reference), shared_cells(reference, current)
        counts = np.array(bins.reference), bins.counts(current)
        found["psi"].append(psi(*counts, tested=tested))
        found["chi_squared"].append(chi_squared(*counts, tested=tested))
        found["new"].append(new_categories(reference, current))
        found["lost"].append(lost_categories(reference, current))
    for outcomes in found.values():
        assert_calibrated(outcomes, slack=1.2, exact=False)


@pytest.mark.parametrize("rows", [(1000, 1000), (10_000, 10_000)], ids=str)
@pytest.mark.parametrize(("categories", "slope"), [(100, 0.0), (1000, 0.0), (1000, 1.0), (10_000, 1.0)])
def test_categories_of_which_the_reference_chose_the_cells(
    categories: int, slope: float, rows: tuple[int, int]
) -> None:
    rng = np.random.default_rng(25)
    share = 1 / np.arange(1, categories + 1) ** slope
    found: dict[str, list[Outcome]] = {"psi": [], "chi_squared": [], "risen": []}
    for _ in range(100):
        drawn = [rng.multinomial(size, share / share.sum()) for size in rows]
        reference, current = ({str(at): int(each[at]) for at in np.flatnonzero(each)} for each in drawn)
        bins, tested = CategoryBins.fit(reference), shared_cells(reference, current)
        counts = np.array(bins.reference), bins.counts(current)
        found["psi"].append(psi(*counts, tested=tested))
        found["chi_squared"].append(chi_squared(*counts, tested=tested))
        found["risen"].append(risen_category(reference, current, apart=bins.names))
    for outcomes in found.values():
        assert_calibrated(outcomes, exact=False)
    effects = [each.effect for each in found["chi_squared"] if isinstance(each, Result)]
    assert np.mean(effects) < 0.03, "cells chosen by the reference would give 0.05 to 0.09 here"


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.4])
@pytest.mark.parametrize("rows", [(200, 100), (1000, 1000), (80_000, 1000)], ids=str)
def test_missing_rows_at_one_rate(share: float, rows: tuple[int, int]) -> None:
    rng = np.random.default_rng(22)
    hits = rng.binomial(rows[0], share, 600), rng.binomial(rows[1], share, 600)
    outcomes = [missing_share(int(a), rows[0], int(b), rows[1]) for a, b in zip(*hits, strict=True)]
    assert_calibrated(outcomes, slack=1.2, exact=False)


@pytest.mark.parametrize("spread", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("windows", [4, 8, 28])
@pytest.mark.parametrize("rows", [3, 1000])
def test_windows_of_one_volume(rows: int, windows: int, spread: float) -> None:
    rng = np.random.default_rng(23)
    counts = rng.poisson(rows * np.exp(rng.normal(0, spread, size=(2 * RUNS, windows + 1))))
    assert_calibrated([volume(run[:-1], int(run[-1])) for run in counts], exact=rows == 1000 and spread > 0)


def test_vectors_and_small_samples_by_permutation() -> None:
    rng = np.random.default_rng(24)
    vectors = [
        mmd(rng.normal(size=(40, 4)), rng.normal(size=(30, 4)), permutations=99, rng=rng) for _ in range(RUNS // 3)
    ]
    assert_calibrated(vectors)
    assert_calibrated([wasserstein(rng.normal(size=25), rng.normal(size=20), rng=rng) for _ in range(RUNS // 3)])
