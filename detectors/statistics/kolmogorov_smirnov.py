"""Kolmogorov-Smirnov test of two samples."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy.special import kolmogorov
from scipy.stats import ks_2samp

from tidegauge.detectors.statistics.arrays import FloatArray, IntArray, finite_sorted
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, beyond_noise, settled

FLOOR = 0.1
BLOCKS = (512, 64, 8, 1)
SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
EXACT_UP_TO = 40_000
"""The exact p-value is computed while N times M is at most this; it costs a fraction of a millisecond."""


def ks(
    reference: FloatArray,
    current: FloatArray,
    *,
    reference_sorted: bool = False,
    current_sorted: bool = False,
    floor: float = FLOOR,
) -> Outcome:
    """D = max |F(x) - G(x)| of the two empirical distribution functions.

    Range: 0 (equal) to 1 (disjoint); no unit; symmetric. p is exact for small samples, else it is that of the limit,
    P(K >= D sqrt(NM / (N + M))) with K of Kolmogorov's law (``scipy.stats.kstwobign``); with ties both err on the
    safe side. ``effect`` is D after its mean square under no drift, (pi²/12)(1/N + 1/M), was taken off its square.
    NaN and infinities are dropped and counted. Sources: Kolmogorov 1933; Smirnov 1939; Hodges 1958.

    >>> result = ks(np.arange(100.0), np.arange(100.0) + 30)
    >>> round(result.value, 3), round(result.effect, 3)
    (0.3, 0.271)
    """
    left, dropped_reference = finite_sorted(reference, reference_sorted)
    right, dropped_current = finite_sorted(current, current_sorted)
    n, m = len(left), len(right)
    if not n or not m:
        return Undetermined("ks", f"the {'current window' if n else 'reference'} has no finite value", n, m)
    value = largest_gap(left, right)
    effect = beyond_noise(value, math.pi * math.sqrt((1 / n + 1 / m) / 12))
    dropped = dropped_reference, dropped_current
    return settled(Result("ks", value, _p_value(left, right, value), effect, floor, n, m, *dropped))


def largest_gap(left: FloatArray, right: FloatArray) -> float:
    """max |F - G| of two sorted samples, exact, without merging them.

    Between two points of the shorter sample its function is flat, so the gap is largest at a point, or just before one.
    Blocks of points are looked up by their ends. Both functions only rise, so that bounds the gaps within; only blocks
    that may hold a larger one than was found are looked at more closely, down to single points.

    >>> largest_gap(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.5]))
    0.5
    """
    long, short = (left, right) if len(left) >= len(right) else (right, left)
    starts, largest = np.zeros(1, dtype=np.int64), 0.0
    for size, length in pairwise((len(short), *BLOCKS)):
        if length < size:
            starts = (starts[:, None] + np.arange(0, size, length)).reshape(-1)
            starts = starts[starts < len(short)]
            found, most = _gaps(long, short, starts, np.minimum(starts + length, len(short)))
            largest, starts = max(largest, found), starts[most > max(largest, found)]
    return largest


def _gaps(long: FloatArray, short: FloatArray, starts: IntArray, ends: IntArray) -> tuple[float, FloatArray]:
    """The largest gap at the first and the last point of each block, and the largest that each can have within."""
    n, m = len(long), len(short)
    first, last = short[starts], short[ends - 1]
    before_first, at_first, before_last, at_last = (
        np.searchsorted(long, values, side=side) / n for values in (first, last) for side in SIDES
    )
    met = (starts + 1) / m - at_first, before_first - starts / m, ends / m - at_last, before_last - (ends - 1) / m
    most: FloatArray = np.maximum(ends / m - at_first, before_last - starts / m)
    return max((float(each.max(initial=0.0)) for each in met), default=0.0), most


def _p_value(left: FloatArray, right: FloatArray, value: float) -> float:
    n, m = len(left), len(right)
    if n * m <= EXACT_UP_TO:
        return float(ks_2samp(left, right, method="exact").pvalue)
    return float(kolmogorov(value * math.sqrt(n * m / (n + m))))
