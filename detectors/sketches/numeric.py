"""A numeric feature as counts in frozen cells: what two of them say about the rows they were made of, and how surely.

With edges e_0 < ... < e_k frozen on a reference a sketch holds, per half-open cell, how many finite values fell in it
and their sum. It is additive, so any stretch of time is a sum of buckets, whatever the number of rows. Write F and G
for the two empirical distribution functions, h = F - G, f_i and g_i for the shares of cell i.

*Kolmogorov-Smirnov.* At the edges h is known exactly, so D_cells = max |h(e_i)| is one of the values that D is the
largest of: D_cells <= D. Between two edges a < b both functions only rise: h(a) - g_i <= h(x) <= h(a) + f_i, so

    D_cells <= D <= max_i max(h(a) + f_i, g_i - h(a)) <= D_cells + max_i min(f_i, g_i)

the last because h(a) + f_i = h(b) + g_i: the bound is the share of one cell, about 1/256 on the reference. The lower
end is what is tested, so p errs on the safe side without taking the bound off.

*Wasserstein.* The integral of F over a cell follows from count and sum alone: each value x adds (b - x)/n. So
I_i = integral of h over cell i is exact, the open outer cells included, and sum |I_i| <= W1, with equality wherever h
keeps its sign within the cells. A cell in which h may change sign (its range from above holds 0) has at most the
integral of |h| of a function that takes only the two ends of that range; an outer one at most that of F plus that of G.

A value that fills a cell of its own (its edges are neighbouring numbers) adds nothing to either bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

from tidegauge.detectors.statistics.anderson_darling import judged_levels
from tidegauge.detectors.statistics.arrays import FloatArray, IntArray, floats
from tidegauge.detectors.statistics.bins import default_bins
from tidegauge.detectors.statistics.exchange import Nodes, mean_p_value
from tidegauge.detectors.statistics.kolmogorov_smirnov import FLOOR as KS_FLOOR
from tidegauge.detectors.statistics.mean_shift import FLOOR as MEAN_FLOOR
from tidegauge.detectors.statistics.mean_shift import Moments, interval, judged_moments
from tidegauge.detectors.statistics.out_of_range import FLOOR as RANGE_FLOOR
from tidegauge.detectors.statistics.out_of_range import beyond_reference, told, widened
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, beyond_noise, settled
from tidegauge.detectors.statistics.share_rise import share_rise
from tidegauge.detectors.statistics.wasserstein import FLOOR as WASSERSTEIN_FLOOR
from tidegauge.detectors.statistics.wasserstein import NullDistance, ranks

SHAPES = np.linspace(0.01, 0.95, 40)
MANY_EDGES, CROWDED_INSIDE, CROWDED_OUTSIDE = 100, 0.25, 0.05


@dataclass(frozen=True, eq=False)
class NumericSketch:
    """Rows of one feature in one part of the traffic.

    Attributes:
        edges: Ascending and finite; one cell more than edges, the outer ones open.
        rows: All of them; ``missing`` are NaN or absent, ``non_finite`` plus or minus infinity.
        counts: Finite values by cell; ``sums`` the sums of x - center, ``squares`` the sum of (x - center)², with a
            ``center`` frozen on the reference so that nothing cancels.
        low: The smallest finite value, ``high`` the largest; infinities the wrong way round where there is none.
    """

    edges: FloatArray
    center: float
    rows: int
    missing: int
    non_finite: int
    counts: IntArray
    sums: FloatArray
    squares: float
    low: float
    high: float

    @classmethod
    def of(cls, values: FloatArray, edges: FloatArray, center: float) -> NumericSketch:
        """From the rows themselves.

        >>> NumericSketch.of(np.array([1.0, 3.0, np.nan, 5.0]), np.array([2.0]), 0.0).counts.tolist()
        [1, 2]
        """
        kept = values[np.isfinite(values)]
        cells = np.searchsorted(edges, kept, side="right")
        counts = np.bincount(cells, minlength=len(edges) + 1)
        missing = int(np.count_nonzero(np.isnan(values)))
        with np.errstate(all="ignore"):
            sums = floats(np.bincount(cells, weights=kept - center, minlength=len(edges) + 1))
            squares = float(np.sum((kept - center) ** 2))
        ends = (float(kept.min()), float(kept.max())) if len(kept) else (math.inf, -math.inf)
        rows = len(values)
        return cls(edges, center, rows, missing, rows - len(kept) - missing, counts, sums, squares, *ends)

    def __add__(self, other: NumericSketch) -> NumericSketch:
        """Both together. Raises ValueError where their cells differ."""
        return self._combined(other, 1)

    def __sub__(self, other: NumericSketch) -> NumericSketch:
        """The rest, where ``other`` is a part of it; the smallest and largest value may be those of the part."""
        return replace(self._combined(other, -1), low=self.low, high=self.high)

    def _combined(self, other: NumericSketch, sign: int) -> NumericSketch:
        if not (np.array_equal(self.edges, other.edges) and self.center == other.center):
            raise ValueError("the cells of the two sides were frozen on different references")
        return replace(
            self,
            rows=self.rows + sign * other.rows,
            missing=self.missing + sign * other.missing,
            non_finite=self.non_finite + sign * other.non_finite,
            counts=self.counts + sign * other.counts,
            sums=self.sums + sign * other.sums,
            squares=self.squares + sign * other.squares,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
        )

    @cached_property
    def finite(self) -> int:
        """How many finite values there are."""
        return self.rows - self.missing - self.non_finite

    @cached_property
    def mean(self) -> float:
        """Of the finite values, less the center."""
        return float(self.sums.sum()) / self.finite

    @property
    def variance(self) -> float:
        """Of the finite values, with n - 1."""
        n = self.finite
        return max(0.0, (self.squares - n * self.mean**2) / (n - 1)) if n > 1 else math.nan

    @cached_property
    def shares(self) -> FloatArray:
        """Of the finite values, by cell."""
        found: FloatArray = self.counts / max(1, self.finite)
        return found

    @property
    def crowded(self) -> bool:
        """Whether a twentieth of the values lies in one outer cell, or a quarter in one of many inner ones."""
        if not len(self.edges):
            return self.low < self.high
        inner = self.shares[1:-1][~_single(self)[1:-1]]
        many = len(self.edges) >= MANY_EDGES and bool(np.any(inner > CROWDED_INSIDE))
        return many or max(self.shares[0], self.shares[-1]) > CROWDED_OUTSIDE

    def unions(self) -> IntArray:
        """The cell of 10 or fewer, of about equal mass, that each cell belongs to: frozen with this reference.

        Where 10 or fewer cells are in use, each of them and what lies between two of them is one.
        """
        used, wanted = self.counts > 0, default_bins(self.finite)
        if np.count_nonzero(used) <= wanted:
            first = np.append(False, used[1:] | used[:-1])
            return np.cumsum(first).astype(np.int64)
        before = np.cumsum(self.counts) - self.counts / 2
        found: IntArray = np.minimum(before * wanted / max(1, self.finite), wanted - 1).astype(np.int64)
        return np.append(0, np.cumsum(found[1:] > found[:-1])).astype(np.int64)

    def coarse(self, unions: IntArray) -> IntArray:
        """The counts in ``unions`` of cells, for PSI and its kin."""
        found: IntArray = np.bincount(unions, weights=self.counts, minlength=int(unions.max()) + 1).astype(np.int64)
        return found

    def at_ranks(self, at: IntArray) -> FloatArray:
        """About the values at these ranks: evenly within inner cells, by a Pareto law in the outer ones.

        Only the law of Wasserstein's distance under no drift is taken from them.
        """
        ends = np.cumsum(self.counts)
        cell = np.minimum(np.searchsorted(ends, at, side="right"), len(self.counts) - 1)
        inside = (at + 0.5 - (ends - self.counts)[cell]) / np.maximum(1, self.counts[cell])
        low = np.concatenate([[self.low], self.edges])[cell]
        high = np.concatenate([self.edges, [self.high]])[cell]
        found = low + inside * (np.maximum(high, low) - low)
        if len(self.edges):
            first, last = cell == 0, cell == len(self.counts) - 1
            left, right = _tails(self) * self.finite / np.maximum(1, self.counts[[0, -1]])
            found[first] = self.edges[0] - _tail(1 - inside[first], left, self.edges[0] - self.low, self.counts[0])
            found[last] = self.edges[-1] + _tail(inside[last], right, self.high - self.edges[-1], self.counts[-1])
        found[[0, -1]] = self.low, self.high
        return np.sort(np.clip(found, self.low, self.high))


def gap(reference: NumericSketch, current: NumericSketch) -> tuple[float, float]:
    """The least and the most that KS's D can be.

    >>> edges = np.array([2.0])
    >>> gap(*(NumericSketch.of(np.array(rows), edges, 0.0) for rows in ([1.0, 1.0, 3.0, 3.0], [1.0, 3.0, 3.0, 3.0])))
    (0.25, 0.75)
    """
    f, g = reference.shares, current.shares
    before = np.cumsum(f - g) - (f - g)
    least = float(np.max(np.abs(before), initial=0.0))
    inner = np.maximum(before + f, g - before)
    single = _single(reference)
    most = float(np.max(inner[~single], initial=least))
    return least, min(1.0, max(least, most))


def distance(reference: NumericSketch, current: NumericSketch) -> tuple[float, float]:
    """The least and the most that Wasserstein's W1 can be, in the unit of the feature.

    >>> edges = np.array([2.0])
    >>> distance(*(NumericSketch.of(np.array(rows), edges, 0.0) for rows in ([1.0, 3.0], [1.0, 5.0])))
    (1.0, 3.0)
    """
    if not len(reference.edges):
        return abs(reference.mean - current.mean), math.inf
    f, g = reference.shares, current.shares
    below, above = _tails(reference), _tails(current)
    lower, upper = reference.edges[:-1], reference.edges[1:]
    start = (np.cumsum(f - g) - (f - g))[1:-1]
    ends = upper - reference.center
    parts = [(each.counts[1:-1] * ends - each.sums[1:-1]) / each.finite for each in (reference, current)]
    width = upper - lower
    signed = start * width + parts[0] - parts[1]
    outer = np.abs(below - above)
    least = float(np.abs(signed).sum() + outer.sum())
    low, high = start - g[1:-1], start + f[1:-1]
    crossing = (low < 0) & (high > 0) & ~_single(reference)[1:-1]
    span = np.maximum(high - low, 1e-300)
    share = np.clip((signed - low * width) / span, 0, width)
    most_inside = np.where(crossing, high * share - low * (width - share), np.abs(signed))
    most_outside = np.where((below == 0) | (above == 0), outer, below + above)
    return least, max(least, float(np.maximum(most_inside, np.abs(signed)).sum() + most_outside.sum()))


def ks(reference: NumericSketch, current: NumericSketch) -> Outcome:
    """D at the edges, which D is not below; see the module's text. The note says how much larger it can be."""
    n, m = reference.finite, current.finite
    if not n or not m:
        return Undetermined("ks", f"the {'current window' if n else 'reference'} has no finite value", n, m)
    least, most = gap(reference, current)
    p_value = float(kolmogorov(least * math.sqrt(n * m / (n + m))))
    effect = beyond_noise(least, math.pi * math.sqrt((1 / n + 1 / m) / 12))
    note = f"from {len(reference.counts)} cells: at most {most:.4g}" if most > least else ""
    return settled(Result("ks", least, p_value, effect, KS_FLOOR, n, m, *_dropped(reference, current), note=note))


def wasserstein(reference: NumericSketch, current: NumericSketch) -> Outcome:
    """W1 as the sum over cells, which W1 is not below; see the module's text."""
    n, m = reference.finite, current.finite
    if n < 2 or not m:
        short = "reference has fewer than 2 finite values" if n < 2 else "current window has no finite value"
        return Undetermined("wasserstein", f"the {short}", n, m)
    if reference.low == reference.high:
        return Undetermined("wasserstein", "the reference is constant: it has no deviation to measure in", n, m)
    with np.errstate(all="ignore"):
        least, most = distance(reference, current)
        p_value, effect = _moved(reference, current, least)
    known = math.isfinite(most) and most - least > 1e-9 * max(1e-300, least)
    note = f"from {len(reference.counts)} cells: at most {most:.4g}" if known else ""
    dropped = _dropped(reference, current)
    return settled(Result("wasserstein", least, p_value, effect, WASSERSTEIN_FLOOR, n, m, *dropped, note=note))


def mean_shift(reference: NumericSketch, current: NumericSketch) -> Outcome:
    """Welch's test of the means, to which nothing is lost by the cells, and that by exchange, of the cells' means.

    What the rows of an outer cell differ by is not seen by the second, so that of a heavy tail it may be the smaller.
    """
    n, m = reference.finite, current.finite
    if min(n, m) < 2 or reference.low == reference.high:
        reason = "a side has fewer than 2 finite values" if min(n, m) < 2 else "the reference is constant"
        return Undetermined("mean_shift", reason, n, m)
    with np.errstate(all="ignore"):
        value, spreads = current.mean - reference.mean, (reference.variance, current.variance)
        nodes, sides = (_nodes(reference), _nodes(current)), (_sampled(reference), _sampled(current))
        p_value, effect = judged_moments(value, spreads, (n, m))
        p_value = max(p_value, mean_p_value(*nodes)) if math.isfinite(p_value) else p_value
        ends = interval(*sides)
    dropped = _dropped(reference, current)
    return settled(Result("mean_shift", value, p_value, effect, MEAN_FLOOR, n, m, *dropped, interval=ends))


def anderson_darling(reference: NumericSketch, current: NumericSketch) -> Outcome:
    """The test of values of which only the cell is known."""
    dropped = _dropped(reference, current)
    if not reference.finite or not current.finite:
        empty = "current window" if reference.finite else "reference"
        reason = f"the {empty} has no finite value"
        return Undetermined("anderson_darling", reason, reference.finite, current.finite)
    return judged_levels(reference.counts + current.counts, reference.counts, dropped)


def out_of_range(
    reference: NumericSketch, current: NumericSketch, low: float | None = None, high: float | None = None
) -> Outcome:
    """At least so many rows of the window are under ``low`` or over ``high``, or outside of the reference.

    A cell that a limit divides counts for the window with the fewest of its rows that its smallest and largest value
    and its sum allow, and for the reference with the most.
    """
    n, m = reference.finite, current.finite
    if not n or not m:
        return Undetermined("out_of_range", f"the {'current window' if n else 'reference'} has no finite value", n, m)
    dropped = _dropped(reference, current)
    if low is None and high is None:
        ends = widened(reference.low, reference.high)
        return beyond_reference(ends, (_below(current, ends[0])[0], _above(current, ends[1])[0]), (n, m), dropped)
    ends = -math.inf if low is None else low, math.inf if high is None else high
    before = min(n, _below(reference, ends[0])[1] + _above(reference, ends[1])[1])
    now = _below(current, ends[0])[0], _above(current, ends[1])[0]
    return share_rise("out_of_range", before, n, sum(now), m, RANGE_FLOOR, told(ends, now), dropped)


def _above(sketch: NumericSketch, limit: float) -> tuple[int, int]:
    """The least and the most rows over ``limit``."""
    if sketch.high <= limit:
        return 0, 0
    at = int(np.searchsorted(sketch.edges, limit, side="right"))
    full, part = int(sketch.counts[at + 1 :].sum()), int(sketch.counts[at])
    outer = at == len(sketch.edges)
    excess = float(sketch.sums[at]) - part * (limit - sketch.center) if outer else 0.0
    least = math.ceil(excess / (sketch.high - limit) * (1 - 1e-9)) if outer and math.isfinite(excess) else 0
    return max(full + min(part, max(0, least)), 1), full + part


def _below(sketch: NumericSketch, limit: float) -> tuple[int, int]:
    """The least and the most rows under ``limit``."""
    if sketch.low >= limit:
        return 0, 0
    at = int(np.searchsorted(sketch.edges, limit, side="left"))
    full, part = int(sketch.counts[:at].sum()), int(sketch.counts[at])
    outer = at == 0
    excess = part * (limit - sketch.center) - float(sketch.sums[at]) if outer else 0.0
    least = math.ceil(excess / (limit - sketch.low) * (1 - 1e-9)) if outer and math.isfinite(excess) else 0
    return max(full + min(part, max(0, least)), 1), full + part


def _nodes(sketch: NumericSketch) -> Nodes:
    used = sketch.counts > 0
    return Nodes(sketch.sums[used] / sketch.counts[used], sketch.counts[used].astype(np.float64))


def _sampled(sketch: NumericSketch) -> Moments:
    """The third moment is that of the cells' means."""
    nodes = _nodes(sketch)
    third = float(nodes.counts @ (nodes.values - sketch.mean) ** 3) / sketch.finite
    return Moments(sketch.finite, sketch.mean, sketch.variance, third)


def _moved(reference: NumericSketch, current: NumericSketch, value: float) -> tuple[float, float]:
    noise, deviation = math.sqrt(1 / reference.finite + 1 / current.finite), math.sqrt(reference.variance)
    both = reference + current
    at = ranks(both.finite)
    null = NullDistance.of_ranks(both.at_ranks(at), at, both.finite)
    if not (0 < deviation < math.inf and value < math.inf and null.mean < math.inf):
        return math.nan, math.nan
    return null.p_value(value / noise), beyond_noise(value / deviation, null.mean * noise / deviation)


def _tail(inside: FloatArray, mean: float, largest: float, rows: int) -> FloatArray:
    """Quantiles of the generalized Pareto law with this mean whose largest of ``rows`` values is about ``largest``."""
    expected = ((2.0 * max(1, rows)) ** SHAPES - 1) * (1 - SHAPES) / SHAPES * mean
    best = float(SHAPES[np.argmin(np.abs(np.log(np.maximum(expected, 1e-300) / max(largest, 1e-300))))])
    found: FloatArray = ((1 - inside) ** -best - 1) * (1 - best) / best * mean
    return found


def _tails(sketch: NumericSketch) -> FloatArray:
    """The integrals of F below the first edge and of 1 - F above the last."""
    first, last = float(sketch.edges[0]) - sketch.center, float(sketch.edges[-1]) - sketch.center
    below = int(sketch.counts[0]) * first - float(sketch.sums[0])
    above = float(sketch.sums[-1]) - int(sketch.counts[-1]) * last
    return np.array([max(0.0, below / sketch.finite), max(0.0, above / sketch.finite)])


def _single(reference: NumericSketch) -> NDArray[np.bool_]:
    """Cells too narrow to hold two different numbers: a value that fills a cell of its own."""
    found = np.zeros(len(reference.counts), dtype=bool)
    if len(reference.edges) > 1:
        found[1:-1] = reference.edges[1:] <= np.nextafter(reference.edges[:-1], np.inf)
    return found


def _dropped(reference: NumericSketch, current: NumericSketch) -> tuple[int, int]:
    return reference.rows - reference.finite, current.rows - current.finite
