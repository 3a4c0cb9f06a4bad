"""A factor for e-processes of which nothing is asked but a bounded mean and variance.

For a value w whose mean is at most nu and whose variance is at most 1, given what came before, and for any bet b > 0

    L = exp phi(b (w - nu)) / (1 + b²/2),   phi(x) = log(1 + x + x²/2) for x >= 0, and -phi(-x) below

is expected to be at most 1: phi rises and lies under log(1 + x + x²/2), whose exponential has the mean 1 + b²/2. For
small bets it grows like the likelihood ratio of a normal law; of one far value it believes only the logarithm, so a
heavy tail does no harm. A bet pays best on a shift of about its own size. Source: Catoni, Annales de l'Institut Henri
Poincaré B, 2012; as a confidence sequence: Wang and Ramdas, Stochastic Processes and their Applications, 2023.
"""

from __future__ import annotations

import numpy as np

from tidegauge.detectors.statistics.arrays import FloatArray

BETS: FloatArray = np.array([0.1, 0.25, 0.6, 1.5])
_COST: FloatArray = np.log1p(BETS * BETS / 2)


def influence(x: FloatArray) -> FloatArray:
    """phi, elementwise.

    >>> influence(np.array([0.0, 2.0, -2.0])).round(3).tolist()
    [0.0, 1.609, -1.609]
    """
    size = np.abs(x)
    return np.asarray(np.sign(x) * np.log1p(size * (1 + size / 2)))


def log_factor(excess: FloatArray) -> FloatArray:
    """log L of every bet, in a new last axis, from w - nu.

    >>> log_factor(np.array([3.0])).round(2).tolist()
    [[0.29, 0.68, 1.32, 2.0]]
    """
    return influence(excess[..., np.newaxis] * BETS) - _COST
