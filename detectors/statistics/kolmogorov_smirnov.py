"""Kolmogorov-Smirnov test of two samples."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import kolmogorov
from scipy.stats import ks_2samp

from tidegauge.detectors.statistics.arrays import FloatArray, finite_sorted
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, beyond_noise, settled

FLOOR = 0.1
MERGED_FROM = 8
EXACT_UP_TO = 40_000
"""The exact p-value is computed while N times M is at most this; it costs a fraction of a millisecond."""


def ks(reference: FloatArray, current: FloatArray, *, reference_sorted: bool = False, floor: float = FLOOR) -> Outcome:
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
    right, dropped_current = finite_sorted(current)
    n, m = len(left), len(right)
    if not n or not m:
        return Undetermined("ks", f"the {'current window' if n else 'reference'} has no finite value", n, m)
    value = largest_gap(left, right)
    effect = beyond_noise(value, math.pi * math.sqrt((1 / n + 1 / m) / 12))
    dropped = dropped_reference, dropped_current
    return settled(Result("ks", value, _p_value(left, right, value), effect, floor, n, m, *dropped))


def largest_gap(left: FloatArray, right: FloatArray) -> float:
    """max |F - G| of two sorted samples: merge them if they are about as long, else look the shorter up in the longer.

    >>> largest_gap(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.5]))
    0.5
    """
    long, short = (left, right) if len(left) >= len(right) else (right, left)
    return _merged(long, short) if len(long) < MERGED_FROM * len(short) else _looked_up(long, short)


def _merged(long: FloatArray, short: FloatArray) -> float:
    pooled = np.concatenate([long, short])
    order = np.argsort(pooled, kind="stable")
    ordered = pooled[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    of_long = np.cumsum(order < len(long))
    of_short = np.arange(1, len(pooled) + 1) - of_long
    return float(np.max(np.abs(of_long / len(long) - of_short / len(short))[last]))


def _looked_up(long: FloatArray, short: FloatArray) -> float:
    """Between two points of the shorter sample its function is flat: the gap is largest at a point, or just before."""
    steps = np.arange(len(short) + 1) / len(short)
    at = np.searchsorted(long, short, side="right") / len(long)
    before = np.searchsorted(long, short, side="left") / len(long)
    return float(max(np.max(steps[1:] - at), np.max(before - steps[:-1]), 0.0))


def _p_value(left: FloatArray, right: FloatArray, value: float) -> float:
    n, m = len(left), len(right)
    if n * m <= EXACT_UP_TO:
        return float(ks_2samp(left, right, method="exact").pvalue)
    return float(kolmogorov(value * math.sqrt(n * m / (n + m))))
