"""Cells are frozen on the reference, and every row is in exactly one of them."""

from __future__ import annotations

import numpy as np
import pytest

from tidegauge.detectors.statistics import CategoryBins, NumericBins, psi
from tidegauge.detectors.statistics.result import Result

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("values", [[], [1.0], [NAN], [INF], [2.0] * 500, [1.7e308, -1.7e308] * 60, [0.0, 5e-324] * 60])
def test_every_row_is_counted_once_whatever_the_bins_were_fitted_on(values: list[float]) -> None:
    probe = np.array([NAN, INF, -INF, 0.0, -0.0, 1.0, 2.0, 1e308, -1e308, 5e-324])
    bins = NumericBins.fit(values)
    assert bins.counts(probe).sum() == 7
    assert len(bins.counts(probe)) == bins.cells
    assert bins.tally(probe).sum() == len(probe)
    assert (bins.missing(probe), bins.non_finite(probe)) == (1, 2)
    assert all(np.isfinite(bins.edges)) and list(bins.edges) == sorted(set(bins.edges))


def test_counts_agree_with_looking_each_value_up() -> None:
    rng = np.random.default_rng(1)
    for draw in (rng.normal(size=3000), rng.poisson(2, 3000).astype(float), np.maximum(0, rng.normal(size=3000))):
        bins = NumericBins.fit(draw)
        expected = np.bincount(np.searchsorted(bins.edges, draw, side="right"), minlength=bins.cells)
        assert bins.counts(draw).tolist() == expected.tolist()


def test_the_edges_are_the_quantiles_of_the_reference() -> None:
    draw = np.random.default_rng(2).normal(size=5000)
    assert NumericBins.fit(draw).edges == pytest.approx(np.quantile(draw, np.arange(1, 10) / 10))


@pytest.mark.parametrize(("rows", "bins"), [(20, 2), (160, 3), (499, 9), (500, 10), (100_000, 10)])
def test_short_references_get_fewer_bins(rows: int, bins: int) -> None:
    assert NumericBins.fit(np.arange(float(rows))).cells == bins


def test_a_feature_of_few_values_gets_a_cell_for_each_and_one_on_either_side() -> None:
    bins = NumericBins.fit(np.array([1.0, 2.0, 3.0] * 200))
    assert bins.counts([0.0, 1.0, 2.0, 2.0, 3.0, 9.0]).tolist() == [1, 1, 2, 1, 1]


def test_a_constant_that_changes_is_seen() -> None:
    bins = NumericBins.fit(np.full(500, 5.0))
    found = psi(bins.counts(np.full(500, 5.0)), bins.counts(np.full(500, 6.0)))
    assert (
        isinstance(found, Result) and found.effect > found.floor and found.p_value is not None and found.p_value < 1e-9
    )


def test_a_value_that_fills_a_bin_has_a_cell_of_its_own() -> None:
    draw = np.concatenate([np.zeros(600), np.random.default_rng(3).exponential(size=400)])
    bins = NumericBins.fit(draw)
    assert 600 in bins.counts(draw).tolist()


def test_the_bins_do_not_depend_on_any_window() -> None:
    draw = np.random.default_rng(4).normal(size=1000)
    bins = NumericBins.fit(draw)
    before = bins.edges
    bins.counts(draw * 100)
    assert NumericBins.fit(draw).edges == before == bins.edges


def test_categories_are_kept_by_frequency_and_the_rest_is_other_or_unseen() -> None:
    bins = CategoryBins.fit({"a": 50, "b": 40, "c": 30, "d": 3, "e": 1, "gone": 0}, max_cells=2)
    assert bins.labels == ("a", "b", "other", "unseen")
    assert bins.reference == (50, 40, 33, 1)
    window = {"a": 5, "c": 2, "e": 4, "gone": 1, "new": 7}
    assert bins.counts(window).tolist() == [5, 0, 6, 8]
    assert bins.unseen(window) == {"gone": 1, "new": 7}


def test_category_cells_hold_every_row() -> None:
    rng = np.random.default_rng(5)
    drawn = [{str(name): int(n) for name, n in enumerate(rng.poisson(2, 200))} for _ in range(2)]
    bins = CategoryBins.fit(drawn[0])
    assert sum(bins.reference) == sum(drawn[0].values())
    assert bins.counts(drawn[1]).sum() == sum(drawn[1].values())


def test_bins_of_nothing_count_all_as_unseen() -> None:
    assert CategoryBins.fit({}).counts({"a": 3}).tolist() == [0, 3]
