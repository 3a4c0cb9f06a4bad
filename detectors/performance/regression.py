"""How far a number is off: MAE, RMSE, MAPE, sMAPE, bias and R2."""

from __future__ import annotations

import math

import numpy as np

from tidegauge.detectors.performance.measured import Measured, Measurement, linearised, mean, unknown
from tidegauge.detectors.statistics.arrays import FloatArray

quietly = np.errstate(over="ignore", invalid="ignore")
"""What overflows becomes undetermined."""


@quietly
def mae(said: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Mean absolute error, 0 upwards, in the label's unit. Normal interval of the mean, as for all here.

    >>> mae(np.array([1.0, 2.0]), np.array([2.0, 4.0]), np.ones(2)).value
    1.5
    """
    return mean("mae", np.abs(said - truth), weights)


@quietly
def rmse(said: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Root of the mean squared error, 0 upwards, in the label's unit; interval from that of the mean square."""
    return root(mean("rmse", (said - truth) ** 2, weights))


def root(square: Measurement) -> Measurement:
    """The root of a mean square and of its interval's ends."""
    if not isinstance(square, Measured):
        return square
    low, value, high = (math.sqrt(max(0.0, each)) for each in (square.low, square.value, square.high))
    return Measured("rmse", value, low, high, square.n, square.dropped)


@quietly
def mape(said: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Mean of abs(error / label), 0 upwards; rows whose label is 0 are dropped, and counted.

    >>> found = mape(np.array([1.0, 3.0, 1.0]), np.array([2.0, 2.0, 0.0]), np.ones(3))
    >>> found.value, found.dropped
    (0.5, 1)
    """
    kept = truth != 0
    found = mean("mape", np.abs((said[kept] - truth[kept]) / truth[kept]), weights[kept])
    return found.without(len(said) - int(kept.sum())) if isinstance(found, Measured) else found


@quietly
def smape(said: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Mean of 2 abs(error) / (abs(prediction) + abs(label)), 0 to 2; 0 where both are 0 (Makridakis 1993)."""
    size = np.abs(said) + np.abs(truth)
    return mean("smape", np.divide(2 * np.abs(said - truth), size, out=np.zeros(len(said)), where=size > 0), weights)


@quietly
def bias(said: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Mean of prediction less label, in the label's unit: above 0 the model says too much."""
    return mean("bias", said - truth, weights)


@quietly
def r2(said: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """1 - sum of squared errors / sum of squared distances from the mean label; up to 1, 0 is as good as the mean.

    Interval by the delta method on both sums.

    >>> round(r2(np.array([1.1, 1.9, 3.2]), np.array([1.0, 2.0, 3.0]), np.ones(3)).value, 4)
    0.97
    """
    if len(truth) < 3:
        return unknown("r2", "fewer than 3 rows", len(truth))
    squares = (truth - np.average(truth, weights=weights)) ** 2
    variance = float(np.average(squares, weights=weights))
    if variance <= 0:
        return unknown("r2", "all labels are equal", len(truth))
    wrong = (said - truth) ** 2
    unexplained = float(np.average(wrong, weights=weights)) / variance
    return linearised("r2", 1 - unexplained, -(wrong - unexplained * squares) / variance, weights)
