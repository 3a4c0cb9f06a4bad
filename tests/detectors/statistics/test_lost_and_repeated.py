"""Lost categories, duplicates, repeated ids, wrong types."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tidegauge.detectors.statistics import duplicates, lost_categories, repeated_ids, wrong_type
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined


def determined(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def test_the_loss_of_one_category_has_the_hypergeometric_chance() -> None:
    found = determined(lost_categories({"a": 980, "b": 20}, {"a": 200}))
    assert found.p_value == pytest.approx(stats.hypergeom.pmf(0, 1200, 20, 200), rel=1e-9)


def test_a_lost_category_is_found_among_ten_thousand_rare_ones() -> None:
    rng = np.random.default_rng(1)
    share = 1 / np.arange(1, 10_001)
    reference, current = (rng.multinomial(rows, share / share.sum()) for rows in (50_000, 2000))
    before, now = ({str(at): int(rows) for at, rows in enumerate(each) if rows} for each in (reference, current))
    usual = determined(lost_categories(before, now))
    assert usual.value > 0.1 and usual.p_value is not None and usual.p_value > 0.01 and usual.effect < usual.floor
    gone = determined(lost_categories(before, {name: rows for name, rows in now.items() if name != "4"}))
    assert gone.p_value is not None and gone.p_value < 1e-6 and gone.effect > gone.floor


def test_a_window_of_new_categories_alone_has_lost_all_old_ones() -> None:
    found = determined(lost_categories({"a": 500, "b": 400}, {"z": 300}))
    assert found.value == 1 and found.note == "lost: a (500), b (400)"


def test_a_producer_that_repeats_itself_is_found_and_a_longer_window_of_the_same_law_is_not() -> None:
    found = determined(duplicates(3, 10_000, 40, 1000))
    assert found.p_value is not None and found.p_value < 1e-9 and found.effect > found.floor
    rng = np.random.default_rng(2)
    short, long = (rows - len(np.unique(rng.integers(0, 50_000, rows))) for rows in (1000, 5000))
    assert long / 5000 > 3 * short / 1000, "repeats grow with the number of rows"
    usual = determined(duplicates(short, 1000, long, 5000))
    assert usual.p_value is not None and usual.p_value > 0.01


def test_a_row_that_is_stuck_is_all_repeats_but_one() -> None:
    found = determined(repeated_ids(0, 5000, 299, 300))
    assert found.effect > 0.9 and found.p_value is not None and found.p_value < 1e-12


def test_as_many_repeats_as_rows_cannot_be() -> None:
    assert isinstance(duplicates(5, 5, 0, 10), Undetermined)


def test_text_where_a_number_is_due_counts_only_if_it_becomes_more() -> None:
    more, fewer = determined(wrong_type(0, 2000, 12, 300)), determined(wrong_type(100, 2000, 0, 300))
    assert more.p_value is not None and more.p_value < 1e-6 and more.effect > more.floor
    assert fewer.effect == 0 and fewer.p_value is not None and fewer.p_value > 0.99
