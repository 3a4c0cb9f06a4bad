"""The law of sum lambda_j Z_j², Z_j independent normal: what quadratic statistics tend to when nothing drifted.

P(Q > x) by Lugannani and Rice's saddlepoint (Kuonen, Biometrika, 1999), at most 5 % too large, and so far out in the
tail, where matched moments are off by factors: K(t) = -1/2 sum ln(1 - 2 t lambda_j), K'(t) = x,
w = sign(t) sqrt(2 (t x - K(t))), u = t sqrt(K''(t)), P = P(Z > w + ln(u / w) / w).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtrc, gammaincc, log_ndtr

from tidegauge.detectors.statistics.arrays import FloatArray

NEAR = 1e-4


def tail(weights: FloatArray, x: float) -> float:
    """P(sum lambda_j Z_j² > x) for weights that are not negative, one at least above 0.

    >>> round(tail(np.ones(9), 21.666), 4)
    0.01
    >>> round(tail(1 / np.arange(1, 200) / np.arange(2, 201), 2.492 - 1 / 200), 2)
    0.05
    """
    used = weights[weights > 1e-12 * weights.max()]
    if x <= 0:
        return 1.0
    if len(used) == 1:
        return float(chdtrc(1, x / used[0]))
    mean, variance = float(used.sum()), 2 * float(used @ used)
    if abs(x - mean) < NEAR * mean:
        return float(gammaincc(mean * mean / variance, mean * x / variance))
    end = 0.5 / float(used.max())
    t = brentq(lambda at: float(np.sum(used / (1 - 2 * at * used))) - x, -0.5 * len(used) / x - end, end * (1 - 1e-14))
    left = 1 - 2 * t * used
    w = math.copysign(math.sqrt(max(2 * (t * x + 0.5 * float(np.log(left).sum())), 1e-300)), t)
    u = t * math.sqrt(2 * float(np.sum((used / left) ** 2)))
    return min(1.0, math.exp(float(log_ndtr(-(w + math.log(u / w) / w)))))
