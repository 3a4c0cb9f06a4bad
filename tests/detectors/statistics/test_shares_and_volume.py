"""Missing rows, new categories and the volume of traffic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tidegauge.detectors.statistics import missing_share, new_categories, non_finite_share, volume
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined


def determined(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def test_many_missing_rows_agree_with_the_chi_squared_test_and_few_with_fishers() -> None:
    many = determined(missing_share(50, 1000, 40, 500))
    expected = stats.chi2_contingency([[50, 950], [40, 460]], correction=False).pvalue
    assert many.p_value == pytest.approx(expected, rel=1e-9)
    few = determined(missing_share(1, 1000, 4, 500))
    assert few.p_value == pytest.approx(stats.fisher_exact([[1, 999], [4, 496]]).pvalue, rel=1e-12)


def test_a_change_of_missing_rows_alone_is_found_in_both_directions() -> None:
    for counts in [(0, 80_000, 30, 1000), (30_000, 80_000, 200, 1000)]:
        found = determined(missing_share(*counts))
        assert found.p_value is not None and found.p_value < 1e-9 and found.effect > found.floor


def test_non_finite_rows_have_a_method_of_their_own() -> None:
    found = determined(non_finite_share(0, 1000, 100, 1000))
    assert found.method == "non_finite_share" and found.effect > found.floor


def test_without_a_tail_new_categories_are_judged_by_the_binomial_test_of_two_counts() -> None:
    reference, current = {"a": 980, "b": 17, "c": 1, "d": 1, "e": 1}, {"a": 490, "x": 6, "y": 4}
    expected = stats.binomtest(10, 13, 500 / 1500, alternative="greater").pvalue
    assert determined(new_categories(reference, current)).p_value == pytest.approx(expected, rel=1e-12)


def test_categories_seen_twice_widen_the_law_of_the_unseen_mass() -> None:
    reference = {"a": 991, "once": 1, "too": 1, "again": 1, "x": 2, "y": 2, "z": 2}
    mean, variance = 4 / 1000, 10 / 1000**2
    law = stats.nbinom(mean**2 / variance, 1 / (1 + 500 * variance / mean))
    found = determined(new_categories(reference, {"a": 490, "new": 10}))
    assert found.p_value == pytest.approx(law.sf(9), rel=1e-9)


def test_a_long_tail_brings_new_names_without_any_drift() -> None:
    share = 1 / np.arange(1, 5001) ** 1.1
    rng = np.random.default_rng(1)
    reference, current = (
        {str(name): int(rows) for name, rows in enumerate(rng.multinomial(2000, share / share.sum())) if rows}
        for _ in range(2)
    )
    found = determined(new_categories(reference, current))
    assert found.value > 0.1
    assert found.effect < 0.03


def test_new_categories_name_the_most_frequent_first_and_say_how_many_more_there_are() -> None:
    new = {f"new{at}": 10 + at for at in range(7)}
    found = determined(new_categories({"a": 1000}, {"a": 1000, **new}))
    assert found.note == "new: new6 (16), new5 (15), new4 (14), new3 (13), new2 (12) and 2 more"
    assert found.p_value is not None and found.p_value < 1e-9 and found.effect > found.floor


def test_a_window_of_known_categories_is_not_suspicious() -> None:
    found = determined(new_categories({"a": 900, "b": 1}, {"a": 10}))
    assert (found.value, found.p_value, found.effect, found.note) == (0.0, 1.0, 0.0, "")


def test_fewer_than_four_reference_windows_are_too_few() -> None:
    found = volume(np.array([100, 100, 100]), 0)
    assert isinstance(found, Undetermined) and found.reason == "3 reference windows are too few: 4 are needed"


@pytest.mark.parametrize(("now", "significant"), [(1000, False), (1120, False), (3000, True), (300, True), (0, True)])
def test_volume_is_compared_with_how_much_the_reference_windows_vary(now: int, significant: bool) -> None:
    reference = np.random.default_rng(2).poisson(1000 * np.exp(np.random.default_rng(3).normal(0, 0.1, 28)))
    found = determined(volume(reference, now))
    assert found.p_value is not None and (found.p_value < 0.001) == significant
    assert (found.effect >= found.floor) == significant


def test_where_the_windows_agree_the_exact_test_of_poisson_counts_rules() -> None:
    for now in (0, 2, 5, 30):
        expected = [stats.binomtest(now, 40 + now, 1 / 9, alternative=side).pvalue for side in ("less", "greater")]
        assert determined(volume(np.full(8, 5), now)).p_value == pytest.approx(min(1.0, 2 * min(expected)), rel=1e-9)


def test_equal_reference_windows_do_not_make_the_next_row_an_alarm() -> None:
    found = determined(volume(np.full(8, 100), 103))
    assert found.p_value is not None and found.p_value > 0.5 and found.effect == 0.0
