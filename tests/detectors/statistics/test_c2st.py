"""The classifier two-sample test."""

from __future__ import annotations

import numpy as np
import pytest

from tidegauge.detectors.statistics import c2st
from tidegauge.detectors.statistics.result import Outcome, Result


def determined(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def test_samples_that_a_line_divides_give_one_and_equal_ones_about_nothing() -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(size=(300, 5))
    apart = determined(c2st(reference, rng.normal(9, 1, size=(200, 5)), rng=rng))
    alike = determined(c2st(reference, rng.normal(size=(200, 5)), rng=rng))
    assert apart.value == pytest.approx(1.0, abs=1e-6) and apart.p_value == 0.005
    assert abs(alike.value) < 0.2 and (alike.p_value or 0) > 0.005


def test_it_scores_only_rows_that_it_was_not_trained_on() -> None:
    rng = np.random.default_rng(2)
    outcome = determined(c2st(rng.normal(size=(60, 200)), rng.normal(size=(60, 200)), rng=rng))
    assert outcome.value < 0.4, "with 200 columns for 120 rows the rows trained on would all be told apart"


def test_the_false_alarm_rate_holds_also_with_rows_that_repeat() -> None:
    found = 0
    for run in range(120):
        rng = np.random.default_rng([run, 3])
        known = rng.normal(size=(12, 6))
        sides = [known[rng.integers(0, 12, size=size)] for size in (90, 60)]
        found += (determined(c2st(*sides, permutations=39, rng=rng)).p_value or 0) <= 0.05
    assert found <= 14  # 5 % of 120: more by chance once in 900 times


def test_rows_with_a_nan_are_dropped_and_counted() -> None:
    rng = np.random.default_rng(4)
    reference, current = rng.normal(size=(50, 3)), rng.normal(size=(40, 3))
    current[3, 1] = np.nan
    found = determined(c2st(reference, current, rng=rng))
    assert (found.n_reference, found.n_current, found.dropped_reference, found.dropped_current) == (50, 39, 0, 1)
