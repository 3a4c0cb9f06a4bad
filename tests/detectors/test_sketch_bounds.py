"""What cells say of rows: the true distance lies within the stated ends, sums are sums, and p errs on the safe side."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add

import numpy as np
import pytest

from tidegauge.detectors import statistics
from tidegauge.detectors.sketches import numeric
from tidegauge.detectors.sketches.numeric import NumericSketch
from tidegauge.detectors.statistics import NumericBins, Outcome, Result, Undetermined
from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.detectors.statistics.mean_shift import judged_moments

Draw = Callable[[np.random.Generator, int], FloatArray]
DRAWS: dict[str, Draw] = {
    "normal at 300 K": lambda rng, n: rng.normal(300, 1, n),
    "log-normal": lambda rng, n: rng.lognormal(3, 1.5, n),
    "two values in five are 0": lambda rng, n: np.where(rng.random(n) < 0.4, 0.0, rng.exponential(3, n)),
    "hours": lambda rng, n: rng.integers(0, 24, n).astype(np.float64),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "t(3)": lambda rng, n: rng.standard_t(3, n),
    "two values": lambda rng, n: rng.integers(0, 2, n).astype(np.float64),
    "tiny": lambda rng, n: rng.normal(size=n) * 1e-100,
    "large": lambda rng, n: rng.normal(1e12, 1, n),
}
CELLS = 256


def sketches(reference: FloatArray, *samples: FloatArray) -> list[NumericSketch]:
    """All in the cells of the first."""
    edges = np.array(NumericBins.fit(reference, CELLS).edges)
    known = reference[np.isfinite(reference)]
    center = float(np.median(known)) if len(known) else 0.0
    return [NumericSketch.of(each, edges, center) for each in (reference, *samples)]


def result(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("rows", [(2000, 60), (9000, 3000)])
@pytest.mark.parametrize("name", DRAWS)
def test_the_true_distances_lie_between_the_stated_ends(
    rng: np.random.Generator, name: str, rows: tuple[int, int], shift: float
) -> None:
    left = DRAWS[name](rng, rows[0])
    right = DRAWS[name](rng, rows[1]) + shift * float(np.subtract(*np.quantile(left, [0.75, 0.25])))
    reference, current = sketches(left, right)
    least, most = numeric.gap(reference, current)
    exact = result(statistics.ks(left, right)).value
    assert least - 1e-12 <= exact <= most + 1e-12
    assert most - least <= np.max(np.minimum(reference.shares, current.shares)) + 1e-12
    near, far = numeric.distance(reference, current)
    moved = result(statistics.wasserstein(left, right)).value
    rounding = 1e-9 * max(abs(float(left.min())), abs(float(left.max())), abs(float(right.max())))
    assert near - rounding <= moved <= far + rounding


def test_the_bound_of_ks_is_the_share_of_one_cell_in_256(rng: np.random.Generator) -> None:
    reference, current = sketches(rng.normal(size=50_000), rng.normal(size=20_000))
    least, most = numeric.gap(reference, current)
    assert most - least <= 1.3 / CELLS


@pytest.mark.parametrize("name", DRAWS)
def test_mean_and_variance_are_those_of_the_rows(rng: np.random.Generator, name: str) -> None:
    left, right = DRAWS[name](rng, 4000), DRAWS[name](rng, 900)
    exact, cells = statistics.mean_shift(left, right), numeric.mean_shift(*sketches(left, right))
    if isinstance(exact, Undetermined):
        assert isinstance(cells, Undetermined)
        return
    assert result(cells).value == pytest.approx(exact.value, rel=1e-6, abs=1e-9 * abs(float(left.max())))
    spreads = float(np.var(left, ddof=1)), float(np.var(right, ddof=1))
    welch = judged_moments(exact.value, spreads, (len(left), len(right)))[0]
    assert (result(cells).p_value or 0) >= 0.98 * welch, "at 1e12 the mean of the rows is rounded"


@pytest.mark.parametrize("name", DRAWS)
def test_any_division_into_stretches_adds_up_to_the_whole(rng: np.random.Generator, name: str) -> None:
    values = DRAWS[name](rng, 3000)
    values[rng.random(3000) < 0.05] = np.nan
    values[:7] = np.inf
    cuts = np.sort(rng.integers(0, 3000, 9))
    whole, *parts = sketches(values, *np.split(values, cuts))
    together = reduce(add, parts)
    assert together.counts.tolist() == whole.counts.tolist()
    assert (together.rows, together.missing, together.non_finite) == (3000, whole.missing, 7)
    assert np.allclose(together.sums, whole.sums, rtol=1e-9)
    assert (together.low, together.high) == (whole.low, whole.high)
    left = whole - parts[3]
    assert left.counts.tolist() == reduce(add, parts[:3] + parts[4:]).counts.tolist()


@pytest.mark.parametrize("test", [numeric.ks, numeric.wasserstein])
@pytest.mark.parametrize("name", ["normal at 300 K", "log-normal", "hours", "two values in five are 0"])
def test_of_samples_that_are_alike_no_more_are_called_different_than_stated(
    rng: np.random.Generator, name: str, test: Callable[[NumericSketch, NumericSketch], Outcome]
) -> None:
    rounds, alpha = 300, 0.05
    found = [result(test(*sketches(DRAWS[name](rng, 2000), DRAWS[name](rng, 300)))) for _ in range(rounds)]
    hits = sum(1 for each in found if each.p_value is not None and each.p_value <= alpha)
    assert hits <= 30, f"{hits} of {rounds}: at 5 % more than 30 in 1 run of 3000"


def test_a_shift_is_as_significant_as_in_rows(rng: np.random.Generator) -> None:
    left, right = rng.lognormal(size=20_000), rng.lognormal(size=2000) * 1.15
    sides = sketches(left, right)
    for exact, cells in (
        (statistics.ks(left, right), numeric.ks(*sides)),
        (statistics.wasserstein(left, right), numeric.wasserstein(*sides)),
    ):
        p, q = result(exact).p_value, result(cells).p_value
        assert p is not None
        assert q is not None
        assert np.log(q) == pytest.approx(np.log(p), rel=0.15)
        assert result(cells).effect == pytest.approx(result(exact).effect, rel=0.1)


@pytest.mark.parametrize(
    "values",
    [[], [np.nan] * 9, [np.inf] * 9, [3.0] * 9, [3.0], [1e308, -1e308] * 40, [np.nan, np.inf, 1.0], list(range(5))],
)
@pytest.mark.parametrize("other", [[], [np.nan], [1.0, 2.0, 3.0] * 20, [3.0] * 60, [1e308] * 60])
def test_odd_samples_are_undetermined_or_finite(values: list[float], other: list[float]) -> None:
    sides = sketches(np.array(values, dtype=np.float64), np.array(other, dtype=np.float64))
    for test in (numeric.ks, numeric.wasserstein, numeric.mean_shift):
        found = test(*sides)
        if isinstance(found, Result):
            assert np.isfinite([found.value, found.effect, found.p_value or 0.0]).all()
        else:
            assert found.reason


def test_sides_in_other_cells_are_not_added_up(rng: np.random.Generator) -> None:
    one, other = (sketches(rng.normal(size=500))[0] for _ in range(2))
    with pytest.raises(ValueError, match="frozen on different references"):
        one + other


def test_ten_unions_of_cells_have_about_equal_mass_and_few_values_a_cell_each(rng: np.random.Generator) -> None:
    (many,) = sketches(rng.normal(size=9000))
    counts = many.coarse(many.unions())
    assert len(counts) == 10
    assert counts.min() > 800
    (few,) = sketches(np.array([0.0, 1.0, 1.0, 5.0] * 200))
    cells = few.coarse(few.unions())
    assert cells[cells > 0].tolist() == [200, 400, 200]
    unseen = NumericSketch.of(np.array([9.0]), few.edges, few.center).coarse(few.unions())
    assert np.flatnonzero(unseen) not in np.flatnonzero(cells), "what was never seen has a cell of its own"
