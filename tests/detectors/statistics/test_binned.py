"""The divergences over frozen cells, and what they share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance as scipy_distance

from tidegauge.detectors.statistics import chi_squared, hellinger, jensen_shannon, kl, psi
from tidegauge.detectors.statistics.binned import merge_sparse, minimum_rows, smoothed
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined

DIVERGENCES = [psi, kl, jensen_shannon, hellinger]


def tables(seed: int, runs: int = 50) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    shares = [(rng.dirichlet(np.full(cells, 5.0)), rng.dirichlet(np.full(cells, 5.0))) for cells in [2, 3, 10] * runs]
    return [(rng.multinomial(5000, p), rng.multinomial(2000, q)) for p, q in shares]


def determined(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def test_kl_agrees_with_scipy_on_the_smoothed_shares() -> None:
    for reference, current in tables(1):
        expected = stats.entropy(smoothed(current), smoothed(reference))
        assert determined(kl(reference, current)).value == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_jensen_shannon_agrees_with_scipy_to_base_2() -> None:
    for reference, current in tables(2):
        expected = scipy_distance.jensenshannon(smoothed(reference), smoothed(current), base=2)
        assert determined(jensen_shannon(reference, current)).value == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_psi_is_the_sum_of_the_two_kl_divergences() -> None:
    for reference, current in tables(3):
        p, q = smoothed(reference), smoothed(current)
        expected = stats.entropy(p, q) + stats.entropy(q, p)
        assert determined(psi(reference, current)).value == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_hellinger_agrees_with_the_euclidean_distance_of_the_roots() -> None:
    for reference, current in tables(4):
        roots = np.sqrt(smoothed(reference)) - np.sqrt(smoothed(current))
        expected = np.linalg.norm(roots) / np.sqrt(2)
        assert determined(hellinger(reference, current)).value == pytest.approx(expected, rel=1e-12)


def test_chi_squared_agrees_with_the_contingency_test_of_scipy() -> None:
    compared = 0
    for reference, current in tables(5):
        expected = stats.chi2_contingency([reference, current], correction=False)
        if expected.expected_freq.min() >= 5:
            found, compared = determined(chi_squared(reference, current)), compared + 1
            assert found.value == pytest.approx(expected.statistic, rel=1e-12)
            assert found.p_value == pytest.approx(expected.pvalue, rel=1e-12, abs=1e-300)
    assert compared > 100


def test_chi_squared_agrees_with_scipy_on_the_table_after_sparse_cells_were_merged() -> None:
    reference, current = np.array([400, 300, 4, 3, 5]), np.array([350, 320, 6, 2, 1])
    found = determined(chi_squared(reference, current))
    expected = stats.chi2_contingency([[400, 300, 12], [350, 320, 9]], correction=False)
    assert found.value == pytest.approx(expected.statistic, rel=1e-12)
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.01), "of 9 expected rows the law is another one"
    assert determined(chi_squared(10 * reference[:2], 10 * current[:2])).p_value == pytest.approx(
        stats.chi2_contingency([10 * reference[:2], 10 * current[:2]], correction=False).pvalue, rel=1e-12
    )
    assert found.note == "3 sparse cells merged"


def test_a_long_reference_does_not_shrink_cramers_v() -> None:
    shares, moved = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.4, 0.3])
    short, long = (
        determined(chi_squared((shares * rows).astype(int), (moved * 1000).astype(int))).effect
        for rows in (1000, 10**6)
    )
    assert short == pytest.approx(long, abs=0.01)
    assert long > 0.1


@pytest.mark.parametrize("statistic", [psi, jensen_shannon, hellinger, chi_squared])
def test_swapping_the_samples_changes_nothing(statistic: Callable[..., Outcome]) -> None:
    for reference, current in tables(6, runs=5):
        there, back = determined(statistic(reference, current)), determined(statistic(current, reference))
        assert (there.value, there.p_value, there.effect) == pytest.approx((back.value, back.p_value, back.effect))


def test_all_divergences_share_one_p_value_and_cross_their_floors_together() -> None:
    rng = np.random.default_rng(7)
    flat = np.full(10, 0.1)
    for size in np.linspace(0.0, 0.6, 60):
        moved = flat * (1 + size * np.linspace(-1, 1, 10))
        counts = rng.multinomial(4000, flat), rng.multinomial(4000, moved)
        found = [determined(statistic(*counts)) for statistic in DIVERGENCES]
        assert len({result.p_value for result in found}) == 1
        excess = [result.effect / result.floor for result in found]
        if not 0.8 < excess[0] < 1.25:
            assert len({ratio >= 1 for ratio in excess}) == 1, excess


def test_the_p_value_is_the_chi_squared_tail_of_psi_over_the_noise() -> None:
    for reference, current in tables(11):
        found = determined(psi(reference, current))
        if (reference + current).min() * 2 / 7 >= 5:
            expected = stats.chi2.sf(found.value / (1 / 5000 + 1 / 2000), len(reference) - 1)
            assert found.p_value == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_a_window_under_the_gate_is_refused_and_one_over_it_is_not() -> None:
    reference, share = np.full(10, 1000), np.full(10, 0.1)
    assert minimum_rows(10) == 279
    assert isinstance(psi(reference, np.append(np.full(9, 28), 26)), Undetermined)
    assert isinstance(psi(reference, (share * 280).astype(int)), Result)


def test_without_drift_a_threshold_on_psi_fires_on_most_small_windows_and_the_calibrated_pair_on_none() -> None:
    rng = np.random.default_rng(8)
    share, alarms, calibrated = np.full(10, 0.1), 0, 0
    for _ in range(500):
        reference = rng.multinomial(10_000, share)
        small = smoothed(rng.multinomial(50, share))
        alarms += float(np.sum((small - 0.1) * np.log(small / 0.1))) >= 0.1
        window = determined(psi(reference, rng.multinomial(300, share)))
        calibrated += window.p_value is not None and window.p_value < 0.05 and window.effect >= window.floor
    assert alarms > 300
    assert calibrated == 0


def test_the_debiased_psi_means_the_same_at_every_size() -> None:
    rng = np.random.default_rng(9)
    p, q = np.full(10, 0.1), np.full(10, 0.1) * (1 + np.linspace(-0.6, 0.6, 10))
    truth = float(np.sum((q - p) * np.log(q / p)))
    for rows in (300, 1000, 10_000):
        effects = [determined(psi(rng.multinomial(50_000, p), rng.multinomial(rows, q))).effect for _ in range(300)]
        assert np.mean(effects) == pytest.approx(truth, rel=0.05)


def test_one_empty_cell_does_not_dominate() -> None:
    found = determined(psi(np.array([1000, 1000, 0]), np.array([499, 500, 1])))
    assert found.value < 0.02


def test_merging_keeps_every_row() -> None:
    rng = np.random.default_rng(10)
    for _ in range(200):
        reference, current = rng.poisson(3, size=12), rng.poisson(8, size=12)
        left, right = merge_sparse(reference, current)
        assert (left.sum(), right.sum()) == (reference.sum(), current.sum())
