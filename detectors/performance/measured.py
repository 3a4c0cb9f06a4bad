"""One number about how well a model does, with its 95 % interval; and the three ways to an interval.

Rows may be weighted (by one over the chance that their label has arrived). Truth may be soft: a probability in 0..1 in
place of 0 or 1, which is how performance is estimated while labels are missing. Both need no formulas of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.detectors.statistics.result import Undetermined
from tidegauge.metrics.intervals import Z95, wilson


@dataclass(frozen=True, slots=True)
class Measured:
    """The value of ``metric`` on ``n`` rows and its 95 % interval; all three are finite.

    ``dropped`` rows could not be used, such as those without a score.
    """

    metric: str
    value: float
    low: float
    high: float
    n: int
    dropped: int = 0
    note: str = ""

    @property
    def error(self) -> float:
        """The standard error that the interval's width stands for."""
        return (self.high - self.low) / (2 * Z95)

    def without(self, dropped: int) -> Measured:
        """The same, with ``dropped`` rows left out before."""
        return replace(self, dropped=self.dropped + dropped) if dropped else self


Measurement: TypeAlias = Measured | Undetermined


def unknown(metric: str, reason: str, n: int) -> Undetermined:
    """``metric`` cannot be told of these ``n`` rows."""
    return Undetermined(metric, reason, 0, n)


def size(weights: FloatArray) -> float:
    """How many equally weighted rows are worth as much: (sum w)^2 / sum w^2 (Kish 1965). 0 for none.

    >>> size(np.array([1.0, 1.0, 2.0])), size(np.array([]))
    (2.6666666666666665, 0.0)
    """
    squares = float(np.dot(weights, weights))
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def share(metric: str, hits: float, total: float, effective: float, n: int) -> Measurement:
    """``hits / total`` (sums of weights) with the Wilson interval of ``effective`` rows.

    >>> round(share("accuracy", 90, 100, 100, 100).low, 4)
    0.8256
    """
    if total <= 0 or effective <= 0:
        return unknown(metric, "no row counts towards it", n)
    value = min(1.0, max(0.0, hits / total))
    low, high = wilson(value * effective, effective)
    return Measured(metric, value, min(low, value), max(high, value), n)


def linearised(metric: str, value: float, influence: FloatArray, weights: FloatArray) -> Measurement:
    """``value`` with the normal interval from each row's influence on it (the delta method; Hampel 1974).

    Variance: n/(n-1) sum (w i)^2 / (sum w)^2, which for a mean is its squared standard error.

    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> round(linearised("mae", 2.5, x - 2.5, np.ones(4)).error, 6)  # sqrt(5/3) / sqrt(4)
    0.645497
    """
    n = len(influence)
    if n < 2:
        return unknown(metric, "fewer than 2 rows", n)
    pushed = weights * influence
    variance = float(np.dot(pushed, pushed)) / float(weights.sum()) ** 2 * n / (n - 1)
    return bounded(metric, value, math.sqrt(variance) if math.isfinite(variance) else math.inf, n)


def mean(metric: str, values: FloatArray, weights: FloatArray) -> Measurement:
    """The weighted mean of one number a row, with the interval of ``linearised``."""
    if not len(values):
        return unknown(metric, "no rows", 0)
    value = float(np.average(values, weights=weights))
    return linearised(metric, value, values - value, weights)


def bounded(metric: str, value: float, error: float, n: int) -> Measurement:
    """``value`` with the normal interval of a standard error; undetermined where a number overflowed."""
    if not (math.isfinite(value) and math.isfinite(error)):
        return unknown(metric, "the values are too large to compute with", n)
    return Measured(metric, value, value - Z95 * error, value + Z95 * error, n)


def logit_interval(metric: str, value: float, error: float, n: int) -> Measurement:
    """A value in 0..1 with the normal interval of its logit, which stays inside 0..1.

    At 0 and 1 the logit has no end; there the plain normal interval is cut.

    >>> found = logit_interval("roc_auc", 0.9, 0.05, 40)
    >>> round(found.low, 4), round(found.high, 4)
    (0.7518, 0.9639)
    """
    plain = bounded(metric, value, error, n)
    if not isinstance(plain, Measured):
        return plain
    if not 0 < value < 1:
        return replace(plain, low=max(0.0, plain.low), high=min(1.0, plain.high))
    centre, spread = math.log(value / (1 - value)), min(700.0, Z95 * error / (value * (1 - value)))
    low, high = (1 / (1 + math.exp(-max(-700.0, min(700.0, centre + sign * spread)))) for sign in (-1, 1))
    return Measured(metric, value, low, high, n)
