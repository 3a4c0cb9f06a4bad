"""Confidence sequences: intervals that hold at every look at once, so one may stop, or go on, whenever one likes."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log

import numpy as np
from scipy.special import betaln

from tidegauge.detectors.statistics.arrays import FloatArray, floats

GRID = 1000
MOST = 0.5
"""Share of the largest bet that cannot ruin."""


def bounded_mean(values: FloatArray, alpha: float = 0.05) -> tuple[float, float]:
    """The mean of values from 0 to 1, given what came before each, by hedged betting.

    For each candidate m two bettors stake lambda_t = min(sqrt(2 ln(2/alpha) / (s²_{t-1} t ln(1 + t))), 1/(2m)), and
    1/(2(1 - m)) for the other, on a greater and a smaller mean. Where the richer of the two has had 2/alpha times
    his stake m is out, at level alpha over all looks. Uses what the values show of their variance. Source:
    Waudby-Smith and Ramdas 2024, section 4.2.

    Raises:
        ValueError: a value is not from 0 to 1.

    >>> low, high = bounded_mean(np.tile([0.2, 0.4], 500))
    >>> round(low, 2), round(high, 2)
    (0.29, 0.31)
    """
    x = floats(values)
    if not np.all((x >= 0) & (x <= 1)):
        raise ValueError("values must be from 0 to 1, without NaN; scale them by bounds that are known beforehand")
    m = (np.arange(GRID) + 0.5) / GRID
    greater, smaller, richest = np.zeros(GRID), np.zeros(GRID), np.zeros(GRID)
    for value, bet in zip(x, _bets(x, alpha), strict=True):
        greater += np.log1p(np.minimum(bet, MOST / m) * (value - m))
        smaller += np.log1p(-np.minimum(bet, MOST / (1 - m)) * (value - m))
        np.maximum(richest, np.maximum(greater, smaller), out=richest)
    kept = np.flatnonzero(richest < log(2 / alpha))
    if not len(kept):
        return float(x.mean()), float(x.mean())
    return float(max(0.0, m[kept[0]] - 0.5 / GRID)), float(min(1.0, m[kept[-1]] + 0.5 / GRID))


def _bets(x: FloatArray, alpha: float) -> FloatArray:
    """What is staked on each value, from those before it alone."""
    t = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    return np.asarray(np.sqrt(2 * log(2 / alpha) / (before * t * np.log1p(t))))


def rate(hits: int, rows: int, alpha: float = 0.05) -> tuple[float, float]:
    """A rate from counts, as independent rows have it, looked at as often as one likes.

    p is in while its likelihood is more than alpha times the mean likelihood under a uniform law of p (a beta-binomial
    mixture; Robbins 1970).

    >>> low, high = rate(20, 100)
    >>> round(low, 3), round(high, 3)
    (0.093, 0.348)
    """
    if not 0 <= hits <= rows:
        raise ValueError(f"hits must be from 0 to rows, got {hits} of {rows}")
    if not rows:
        return 0.0, 1.0
    misses, middle = rows - hits, hits / rows
    limit = float(betaln(hits + 1, misses + 1)) + log(alpha)

    def inside(p: float) -> bool:
        likelihood = (hits * log(p) if hits else 0.0) + (misses * log(1 - p) if misses else 0.0)
        return likelihood >= limit

    low = _edge(inside, middle, 0.0) if hits else 0.0
    return low, _edge(inside, middle, 1.0) if misses else 1.0


def _edge(inside: Callable[[float], bool], within: float, beyond: float) -> float:
    for _ in range(60):
        middle = (within + beyond) / 2
        within, beyond = (middle, beyond) if inside(middle) else (within, middle)
    return beyond


def mean_radius(rows: FloatArray, alpha: FloatArray | float = 0.05, rho: float = 12.0) -> FloatArray:
    """Half the width for the mean of ``rows`` values that are sub-Gaussian with variance 1 (normal mixture).

    sqrt((t + rho) ln((t + rho) / (rho alpha²))) / t; tightest at about rho times 8 values for alpha = 0.05.
    Sources: Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics, 2021.

    >>> mean_radius(np.array([100.0])).round(3).tolist()
    [0.304]
    """
    t = np.asarray(rows, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = np.sqrt((t + rho) * np.log((t + rho) / (rho * np.square(alpha)))) / t
    return np.where(t > 0, radius, inf)


def difference(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Of two means or rates, second less first: each interval at half the level makes the difference hold at the whole.

    >>> difference((0.1, 0.2), (0.4, 0.6))
    (0.2, 0.5)
    """
    return round(second[0] - first[1], 12), round(second[1] - first[0], 12)


def separated(first: tuple[float, float], second: tuple[float, float], tolerance: float = 0.0) -> bool:
    """Whether the second is greater by more than ``tolerance``, beyond doubt at the level of the intervals.

    Source: Podkopaev and Ramdas, Tracking the risk of a deployed model, 2022 (arXiv 2110.06177).

    >>> separated((0.1, 0.2), (0.25, 0.4), 0.02)
    True
    """
    return difference(first, second)[0] > tolerance
