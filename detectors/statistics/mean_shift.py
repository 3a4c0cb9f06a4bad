"""Has a mean moved? For scores and confidences, where the mean itself is what people read."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtr

from tidegauge.detectors.statistics.arrays import FloatArray, finite
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, beyond_noise, settled

FLOOR = 0.1


def mean_shift(reference: FloatArray, current: FloatArray, *, floor: float = FLOOR) -> Outcome:
    """Mean of the current window less mean of the reference, with Welch's t test.

    Range: any number, in the unit of the values; the sign says which way. ``effect`` is the size of the shift in
    deviations of the reference, after its mean square under no drift was taken off its square. NaN and infinities are
    dropped and counted. For bounded or mildly skewed values: the mean of a heavy tail needs far more rows than
    Welch's law allows for, use ``ks`` there. Source: Welch, Biometrika, 1947.

    >>> result = mean_shift(np.arange(100.0), np.arange(100.0) + 20)
    >>> round(result.value, 3), round(result.effect, 3), round(result.p_value, 8)
    (20.0, 0.675, 2.23e-06)
    """
    left, dropped_reference = finite(reference)
    right, dropped_current = finite(current)
    n, m = len(left), len(right)
    if min(n, m) < 2:
        short = "reference" if n < 2 else "current window"
        return Undetermined("mean_shift", f"the {short} has fewer than 2 finite values", n, m)
    if left.min() == left.max():
        return Undetermined("mean_shift", "the reference is constant: it has no deviation to measure in", n, m)
    with np.errstate(all="ignore"):
        value = float(np.mean(right) - np.mean(left))
        spreads = float(np.var(left, ddof=1)), float(np.var(right, ddof=1))
    numbers = judged_moments(value, spreads, (n, m))
    return settled(Result("mean_shift", value, *numbers, floor, n, m, dropped_reference, dropped_current))


def judged_moments(value: float, spreads: tuple[float, float], sizes: tuple[int, int]) -> tuple[float, float]:
    """Welch's p-value and the effect; NaN, which settles as Undetermined, where a variance over- or underflows.

    >>> p_value, effect = judged_moments(20.0, (841.67, 841.67), (100, 100))
    >>> round(effect, 3), round(p_value, 8)
    (0.675, 2.23e-06)
    """
    a, b = (spread / size for spread, size in zip(spreads, sizes, strict=True))
    if not (a > 0 and a * a > 0 and a + b < 1e150 and math.isfinite(value)):
        return math.nan, math.nan
    freedom = (a + b) ** 2 / (a * a / (sizes[0] - 1) + b * b / (sizes[1] - 1))
    error, deviation = math.sqrt(a + b), math.sqrt(spreads[0])
    p_value = 2 * float(stdtr(freedom, -abs(value) / error))
    return p_value, beyond_noise(value / deviation, error / deviation)
