"""The false discovery rate over many tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tidegauge.detectors.statistics import benjamini_hochberg


def test_the_adjusted_p_values_agree_with_scipy() -> None:
    rng = np.random.default_rng(1)
    for size in (1, 2, 7, 500):
        p = np.round(rng.random(size), 2) ** 3
        assert benjamini_hochberg(p)[1] == pytest.approx(stats.false_discovery_control(p), abs=1e-12)


def test_the_rejected_are_the_k_smallest_of_the_definition() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        p, q = rng.random(40) ** 4, 0.1
        ordered = np.sort(p)
        below = np.flatnonzero(ordered <= q * np.arange(1, 41) / 40)
        rejected = benjamini_hochberg(p, q)[0]
        assert rejected.sum() == (below[-1] + 1 if len(below) else 0)
        assert not rejected.any() or p[rejected].max() <= p[~rejected].min(initial=1.0)


def test_one_tenth_of_the_rejections_is_false_at_most() -> None:
    rng = np.random.default_rng(3)
    shares, found = [], 0
    for _ in range(300):
        p = np.append(rng.random(450), stats.norm.sf(rng.normal(4, 1, 50)))
        rejected = benjamini_hochberg(p, 0.1)[0]
        shares.append(rejected[:450].sum() / max(1, rejected.sum()))
        found += int(rejected[450:].sum())
    assert 0.07 < np.mean(shares) < 0.11
    assert found > 0.85 * 300 * 50


def test_no_tests_reject_nothing() -> None:
    rejected, adjusted = benjamini_hochberg(np.array([]))
    assert len(rejected) == len(adjusted) == 0


@pytest.mark.parametrize("p", [[float("nan")], [-0.1], [1.1], [[0.1]]])
def test_what_is_no_p_value_is_refused(p: list[float]) -> None:
    with pytest.raises(ValueError, match="without NaN"):
        benjamini_hochberg(np.array(p))


def test_a_rate_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match="got 5"):
        benjamini_hochberg(np.array([0.5]), q=5)
