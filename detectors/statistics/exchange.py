"""If a window were drawn from the same pot as its reference, how often would its mean lie as far away?

Put both samples together: N values, of which the window holds m. Without drift every choice of m of them was as likely
(Fisher's randomisation test), whatever the law of the values, so the p-value holds for skewed and heavy tails and for
any sizes. The chance is computed by a double saddlepoint (Robinson, Journal of the Royal Statistical Society B, 1982;
Booth and Butler, Biometrika, 1990) instead of by drawing: no random numbers, and p-values of 1e-12 are as good as those
of 0.05. With K(s, t) = sum ln(1 + exp(s + t x)), which minus s m and t S is smallest at (s, t), S the window's sum,

    w = sign(t) sqrt(2 (K(s0, 0) - s0 m - K(s, t) + s m + t S)),  u = t sqrt(det K''(s, t) / K''_ss(s0, 0))

P(sum >= S) = P(Z > w + ln(u / w) / w), Z normal (Barndorff-Nielsen's form). Values may be given in groups, by their
mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_ndtr

from tidegauge.detectors.statistics.arrays import FloatArray, IntArray

SINGLE = 64
GROWTH = 1.05
STEPS = 60
NEAR = 1e-3
"""Deviations from the mean under which p is 1: there the two signs of the tail meet."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """Values by groups: ``values`` are the groups' means, ``counts`` how many values each stands for."""

    values: FloatArray
    counts: FloatArray

    @classmethod
    def of(cls, ordered: FloatArray) -> Nodes:
        """From finite values in ascending order: the 64 at each end alone, the others with their neighbours.

        A group holds a twentieth of what lies between it and the nearer end, so that tails keep their shape.

        >>> nodes = Nodes.of(np.arange(10_000.0))
        >>> len(nodes.values), float(nodes.values @ nodes.counts) / 10_000
        (307, 4999.5)
        """
        starts = _starts(len(ordered))
        counts = np.diff(starts, append=len(ordered)).astype(np.float64)
        return cls(np.add.reduceat(ordered, starts) / counts, counts)

    @property
    def size(self) -> float:
        """How many values there are."""
        return float(self.counts.sum())


def _starts(n: int) -> IntArray:
    half = np.arange(SINGLE)
    if n > 2 * SINGLE:
        steps = max(0, int(math.log(n / (2 * SINGLE)) / math.log(GROWTH)))
        half = np.append(half, (SINGLE * GROWTH ** np.arange(steps + 1)).astype(np.int64))
    found = np.unique(np.concatenate([half, n - half]))
    inside: IntArray = found[(found >= 0) & (found < n)].astype(np.int64)
    return inside


def mean_p_value(reference: Nodes, current: Nodes) -> float:
    """Two-sided: twice the smaller tail. NaN where the values are too large or too small to compute with.

    >>> left, right = np.arange(10.0), np.array([7.0, 8.0, 9.5])
    >>> round(mean_p_value(Nodes.of(left), Nodes.of(right)), 3)
    0.059
    """
    values = np.concatenate([reference.values, current.values])
    counts = np.concatenate([reference.counts, current.counts])
    total, size = float(counts.sum()), current.size
    mean = float(counts @ values) / total
    deviation = math.sqrt(float(counts @ (values - mean) ** 2) / total)
    if not 0 < deviation < math.inf:
        return math.nan
    scaled = (values - mean) / deviation
    wanted = float(current.counts @ scaled[len(reference.values) :])
    return min(1.0, 2 * _tail(scaled, counts, size, wanted))


def _tail(values: FloatArray, counts: FloatArray, size: float, wanted: float) -> float:
    """P(sum beyond ``wanted``, on its side of 0), of ``size`` values drawn from the pot, whose mean is 0."""
    total = float(counts.sum())
    share = size / total
    deviation = math.sqrt(total * share * (1 - share))
    if abs(wanted) <= NEAR * deviation:
        return 0.5
    side = math.copysign(1.0, wanted)
    values, wanted = side * values, abs(wanted)
    start = math.log(share / (1 - share))
    s, t, found = _saddlepoint(values, counts, size, wanted, start)
    weights, at = _hessian(values, counts, s, t)
    gain = _cumulant(values, counts, start, 0.0) - start * size - found
    w = math.sqrt(max(2 * gain, 1e-12))
    spread = float(weights @ (values - at) ** 2)
    u = t * math.sqrt(max(float(weights.sum()) * spread, 1e-300)) / deviation
    return math.exp(float(log_ndtr(-(w + math.log(max(u, 1e-300) / w) / w))))


def _cumulant(values: FloatArray, counts: FloatArray, s: float, t: float) -> float:
    return float(counts @ np.logaddexp(0.0, s + t * values))


def _hessian(values: FloatArray, counts: FloatArray, s: float, t: float) -> tuple[FloatArray, float]:
    """The weight of each value, and their mean under it: together the second derivatives."""
    drawn = expit(s + t * values)
    weights: FloatArray = counts * drawn * (1 - drawn)
    return weights, float(weights @ values) / max(float(weights.sum()), 1e-300)


def _saddlepoint(
    values: FloatArray, counts: FloatArray, size: float, wanted: float, start: float
) -> tuple[float, float, float]:
    """(s, t) that makes K - s m - t S smallest, and that value: Newton's steps, halved while they go uphill."""
    s, t = start, 0.0
    now = _cumulant(values, counts, s, t) - s * size
    for _ in range(STEPS):
        step = _step(values, counts, size, wanted, (s, t))
        factor, best = 1.0, now
        while factor > 1e-6:
            trial = s + factor * step[0], t + factor * step[1]
            best = _cumulant(values, counts, *trial) - trial[0] * size - trial[1] * wanted
            if best <= now:
                break
            factor /= 2
        if not best <= now:
            break
        s, t = trial
        gained, now = now - best, best
        if gained < 1e-9:
            break
    return s, t, now


def _step(
    values: FloatArray, counts: FloatArray, size: float, wanted: float, at: tuple[float, float]
) -> tuple[float, float]:
    drawn = expit(at[0] + at[1] * values)
    weights, middle = _hessian(values, counts, *at)
    over = float(counts @ drawn) - size, float((counts * drawn) @ values) - wanted
    total, spread = float(weights.sum()), float(weights @ (values - middle) ** 2)
    turn = -(over[1] - middle * over[0]) / max(spread, 1e-12)
    return -over[0] / max(total, 1e-12) - middle * turn, turn
