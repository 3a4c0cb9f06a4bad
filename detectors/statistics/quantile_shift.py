"""Have the low, the middle or the high values moved?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, ndtr, ndtri
from scipy.stats import hypergeom

from tidegauge.detectors.statistics.arrays import FloatArray, finite_sorted
from tidegauge.detectors.statistics.result import CONFIDENCE, Outcome, Result, Undetermined, beyond_noise, settled

FLOOR = 0.25
QUANTILES = (0.05, 0.5, 0.95)
OUTSIDE = (1 - CONFIDENCE) / (2 * len(QUANTILES))
"""On each side of an interval: the three hold together, so the one that is shown holds though it was picked."""
MANY = 5000
LEAST = 60
"""Values on each side: three must be expected beyond the outer quantiles."""


@dataclass(frozen=True, slots=True)
class Shift:
    """One quantile: how far it moved, from where to where that may be, and how likely that is without drift."""

    quantile: float
    value: float
    low: float
    high: float
    p_value: float


def quantile_shift(
    reference: FloatArray,
    current: FloatArray,
    *,
    reference_sorted: bool = False,
    current_sorted: bool = False,
    floor: float = FLOOR,
) -> Outcome:
    """How far the 5 %, 50 % or 95 % quantile moved, current less reference: the one of the three that is surest.

    Range: any number, in the unit of the values; the note says which quantile, and how the others moved. p is that of
    the rows of the window up to the quantile of both samples, which are hypergeometric without drift whatever the law
    of the values (Mood's median test), times three for the three. ``effect`` is the size of the shift in deviations of
    the reference (from its quartiles, 0.74 of their distance; the standard deviation where they are equal), after its
    error, from the interval's width, was taken off in squares. ``interval`` holds the shift that is shown, though it is
    one picked of three: each side's is by order statistics, both are put together in squares. NaN and infinities are
    dropped and counted. Sources: Mood 1950; Zou and Donner, Statistics in Medicine, 2008.

    >>> result = quantile_shift(np.arange(1000.0), np.arange(1000.0) + 200)
    >>> result.value, round(result.effect, 3), result.note
    (200.0, 0.539, '5 % quantile; 50 %: +200; 95 %: +200')
    """
    left, dropped_reference = finite_sorted(reference, reference_sorted)
    right, dropped_current = finite_sorted(current, current_sorted)
    n, m = len(left), len(right)
    if min(n, m) < LEAST:
        reason = f"the {'reference' if n < LEAST else 'current window'} has fewer than {LEAST} finite values"
        return Undetermined("quantile_shift", reason, n, m)
    if left[0] == left[-1]:
        return Undetermined("quantile_shift", "the reference is constant: it has no deviation to measure in", n, m)
    with np.errstate(all="ignore"):
        shifts = [shift(left, right, quantile) for quantile in QUANTILES]
        best = min(shifts, key=lambda each: (each.p_value, -abs(each.value)))
        deviation, error = _deviation(left), (best.high - best.low) / (-2 * float(ndtri(OUTSIDE)))
        effect = beyond_noise(best.value / deviation, error / deviation) if 0 < deviation < math.inf else math.nan
    numbers = best.value, min(1.0, len(QUANTILES) * best.p_value), effect
    dropped, ends = (dropped_reference, dropped_current), (best.low, best.high)
    known = ends if all(map(math.isfinite, ends)) else None
    return settled(Result("quantile_shift", *numbers, floor, n, m, *dropped, _told(best, shifts), known))


def shift(left: FloatArray, right: FloatArray, quantile: float) -> Shift:
    """One quantile of two sorted samples.

    >>> found = shift(np.arange(1000.0), np.arange(1000.0) + 20, 0.5)
    >>> found.value, round(found.low), round(found.high), round(found.p_value, 3)
    (20.0, -35, 75, 0.395)
    """
    at = [_quantile(side, quantile) for side in (left, right)]
    ends = [_order_interval(side, quantile) for side in (left, right)]
    value = at[1] - at[0]
    low = value - math.hypot(at[1] - ends[1][0], ends[0][1] - at[0])
    high = value + math.hypot(ends[1][1] - at[1], at[0] - ends[0][0])
    return Shift(quantile, value, low, high, _mood(left, right, quantile))


def _quantile(ordered: FloatArray, quantile: float) -> float:
    """The value that this share of the rows does not exceed."""
    return float(ordered[max(0, math.ceil(quantile * len(ordered) - 1e-9) - 1)])


def _order_interval(ordered: FloatArray, quantile: float) -> tuple[float, float]:
    """Two of the values, that hold the quantile: by the binomial law of how many lie below it."""
    n = len(ordered)
    spread = 4 * math.sqrt(n * quantile * (1 - quantile)) + 4
    counts = np.arange(max(0, int(n * quantile - spread)), min(n, int(n * quantile + spread) + 1))
    below = bdtr(counts.astype(np.float64), n, quantile)
    low = counts[max(0, int(np.searchsorted(below, OUTSIDE, side="right")) - 1)]
    high = counts[min(len(counts) - 1, int(np.searchsorted(below, 1 - OUTSIDE)))] + 1
    return float(ordered[max(0, int(low) - 1)]), float(ordered[min(n - 1, int(high) - 1)])


def _mood(left: FloatArray, right: FloatArray, quantile: float) -> float:
    """Two-sided p of the window's rows up to the quantile of both.

    The threshold depends only on both samples together, so the law holds with ties too.
    """
    pooled = np.concatenate([left, right])
    place = max(0, math.ceil(quantile * len(pooled) - 1e-9) - 1)
    threshold = float(np.partition(pooled, place)[place])
    found = [int(np.searchsorted(side, threshold, side="right")) for side in (left, right)]
    return _hypergeometric(len(pooled), sum(found), len(right), found[1])


def _hypergeometric(total: int, marked: int, drawn: int, hits: int) -> float:
    """Twice the smaller tail; by the normal law, with half a row of correction, where the counts are large."""
    expected = drawn * marked / total
    if min(expected, drawn - expected, marked - expected) < MANY:
        law = total, marked, drawn
        tails = float(hypergeom.cdf(hits, *law)), float(hypergeom.sf(hits - 1, *law))
        return min(1.0, 2 * min(tails))
    variance = expected * (1 - marked / total) * (total - drawn) / (total - 1)
    return min(1.0, 2 * float(ndtr(-(abs(hits - expected) - 0.5) / math.sqrt(variance))))


def _deviation(ordered: FloatArray) -> float:
    quartiles = (_quantile(ordered, 0.75) - _quantile(ordered, 0.25)) / 1.349
    return quartiles if quartiles > 0 else float(np.std(ordered, ddof=1))


def _told(best: Shift, shifts: list[Shift]) -> str:
    others = [f"{100 * each.quantile:.0f} %: {each.value:+.4g}" for each in shifts if each is not best]
    return "; ".join([f"{100 * best.quantile:.0f} % quantile", *others])
