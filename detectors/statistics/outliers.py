"""Do more, or fewer, values than before lie far out?"""

from __future__ import annotations

import numpy as np

from tidegauge.detectors.statistics.arrays import FloatArray, finite_sorted
from tidegauge.detectors.statistics.missing import share_shift
from tidegauge.detectors.statistics.result import Outcome, Undetermined

FLOOR = 0.01
FAR = 3.0
"""Tukey's outer fences."""
EDGE = 0.005
LEAST = 100
"""Values of the reference: of fewer, fences are what these happen to give."""


def outliers(
    reference: FloatArray,
    current: FloatArray,
    *,
    reference_sorted: bool = False,
    current_sorted: bool = False,
    floor: float = FLOOR,
) -> Outcome:
    """Share of the finite values beyond fences frozen on the reference, current less reference.

    Range: -1 to 1, in shares of rows; both directions count: where far values vanish, something cuts them off. The
    fences are Tukey's outer ones, three quartile distances below the lower and above the upper quartile; where the
    quartiles are equal, the quantiles of 0.5 % and 99.5 %. p and ``effect`` are those of ``share_shift``. NaN and
    infinities are dropped and counted. Sources: Tukey, Exploratory Data Analysis, 1977; those of ``share_shift``.

    >>> values = np.arange(1000.0)
    >>> result = outliers(values, np.append(values, [1e6] * 50))
    >>> round(result.value, 3), round(result.effect, 3), result.note
    (0.048, 0.047, 'fences at -1248.75 and 2247.75')
    """
    left, dropped_reference = finite_sorted(reference, reference_sorted)
    right, dropped_current = finite_sorted(current, current_sorted)
    n, m = len(left), len(right)
    if n < LEAST or not m:
        short = f"reference has fewer than {LEAST} finite values" if n < LEAST else "current window has no finite value"
        return Undetermined("outliers", f"the {short}", n, m)
    with np.errstate(all="ignore"):
        fences = fences_of(left)
    if not all(np.isfinite(fences)):
        return Undetermined("outliers", "the values are too large or too small to compute with", n, m)
    hits = [_beyond(side, fences) for side in (left, right)]
    note = f"fences at {fences[0]:.6g} and {fences[1]:.6g}"
    return share_shift("outliers", hits[0], n, hits[1], m, floor, note, (dropped_reference, dropped_current))


def fences_of(ordered: FloatArray) -> tuple[float, float]:
    """Of values in order.

    >>> fences_of(np.arange(5.0))
    (-5.0, 9.0)
    """
    low, high = np.quantile(ordered, [0.25, 0.75]).tolist()
    if low == high:
        return float(np.quantile(ordered, EDGE)), float(np.quantile(ordered, 1 - EDGE))
    return low - FAR * (high - low), high + FAR * (high - low)


def _beyond(ordered: FloatArray, fences: tuple[float, float]) -> int:
    below, upto = np.searchsorted(ordered, fences[0], side="left"), np.searchsorted(ordered, fences[1], side="right")
    return int(below + len(ordered) - upto)
