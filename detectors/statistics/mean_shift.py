"""Has a mean moved? For scores and confidences, where the mean itself is what people read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from tidegauge.detectors.statistics.arrays import FloatArray, finite_sorted
from tidegauge.detectors.statistics.exchange import Nodes, mean_p_value
from tidegauge.detectors.statistics.result import CONFIDENCE, Outcome, Result, Undetermined, beyond_noise, settled

FLOOR = 0.1


def mean_shift(
    reference: FloatArray,
    current: FloatArray,
    *,
    reference_sorted: bool = False,
    current_sorted: bool = False,
    floor: float = FLOOR,
) -> Outcome:
    """Mean of the current window less mean of the reference, by Welch's t test and by exchange.

    Range: any number, in the unit of the values; the sign says which way. p is the larger of two: Welch's, which is
    not misled by a window that only varies more, and that of the randomisation test (see ``exchange``), which holds
    for any law: Welch's alone speaks four times too often of 50 log-normal rows. ``effect`` is the size of the shift
    in deviations of the reference, after its mean square under no drift was taken off its square. ``interval`` is
    Welch's, bent by the skewness of the difference (Johnson 1978; Hall 1992). NaN and infinities are dropped and
    counted. Sources: Welch, Biometrika, 1947; Hall, JRSS B, 1992.

    >>> result = mean_shift(np.arange(100.0), np.arange(100.0) + 20)
    >>> round(result.value, 3), round(result.effect, 3), round(result.p_value, 8)
    (20.0, 0.675, 2.68e-06)
    >>> [round(end, 2) for end in result.interval]
    [11.91, 28.09]
    """
    left, dropped_reference = finite_sorted(reference, reference_sorted)
    right, dropped_current = finite_sorted(current, current_sorted)
    n, m = len(left), len(right)
    if min(n, m) < 2:
        short = "reference" if n < 2 else "current window"
        return Undetermined("mean_shift", f"the {short} has fewer than 2 finite values", n, m)
    if left[0] == left[-1]:
        return Undetermined("mean_shift", "the reference is constant: it has no deviation to measure in", n, m)
    with np.errstate(all="ignore"):
        pots = Nodes.of(left), Nodes.of(right)
        sides = Moments.of(left), Moments.of(right)
        value = sides[1].mean - sides[0].mean
        p_value, effect = judged_moments(value, (sides[0].variance, sides[1].variance), (n, m))
        p_value = max(p_value, mean_p_value(*pots)) if math.isfinite(p_value) else p_value
        ends = interval(*sides)
    dropped = dropped_reference, dropped_current
    return settled(Result("mean_shift", value, p_value, effect, floor, n, m, *dropped, interval=ends))


@dataclass(frozen=True, slots=True)
class Moments:
    """Size, mean, variance (with n - 1) and third central moment of a sample."""

    size: int
    mean: float
    variance: float
    third: float

    @classmethod
    def of(cls, values: FloatArray) -> Moments:
        """Of at least two values.

        >>> Moments.of(np.array([1.0, 2.0, 6.0]))
        Moments(size=3, mean=3.0, variance=7.0, third=6.0)
        """
        mean = float(np.mean(values))
        off = values - mean
        square = off * off
        return cls(len(values), mean, float(square.sum()) / (len(values) - 1), float(square @ off) / len(values))

    @property
    def skewness(self) -> float:
        """The third moment in deviations; 0 where there is none."""
        found = self.third / self.variance**1.5 if self.variance > 0 else 0.0
        return found if math.isfinite(found) else 0.0


def judged_moments(value: float, spreads: tuple[float, float], sizes: tuple[int, int]) -> tuple[float, float]:
    """Welch's p-value and the effect; NaN, which settles as Undetermined, where a variance over- or underflows.

    >>> p_value, effect = judged_moments(20.0, (841.67, 841.67), (100, 100))
    >>> round(effect, 3), round(p_value, 8)
    (0.675, 2.23e-06)
    """
    a, b = (spread / size for spread, size in zip(spreads, sizes, strict=True))
    if not (a > 0 and a * a > 0 and a + b < 1e150 and math.isfinite(value)):
        return math.nan, math.nan
    error, deviation = math.sqrt(a + b), math.sqrt(spreads[0])
    p_value = 2 * float(stdtr(freedom(spreads, sizes), -abs(value) / error))
    return p_value, beyond_noise(value / deviation, error / deviation)


def freedom(spreads: tuple[float, float], sizes: tuple[int, int]) -> float:
    """Degrees of freedom of the difference of two means (Welch and Satterthwaite).

    >>> round(freedom((1.0, 1.0), (50, 50)), 6)
    98.0
    """
    a, b = (spread / size for spread, size in zip(spreads, sizes, strict=True))
    return (a + b) ** 2 / (a * a / (sizes[0] - 1) + b * b / (sizes[1] - 1))


def interval(reference: Moments, current: Moments) -> tuple[float, float] | None:
    """95 % interval of the shift of the mean; None where it cannot be computed.

    A short sample shows too little of its skewness: both are given the larger one, g, so that the difference has the
    skewness A = g (1/m² - 1/n²) / (1/m + 1/n)^1.5 if their shapes are the same. t is read on the scale of Hall's cubic,
    whose inverse is (3 / A)((1 + A (x - A / 6))^(1/3) - 1).

    >>> sides = Moments(1000, 1.0, 4.0, 0.0), Moments(100, 2.0, 4.0, 0.0)
    >>> [round(end, 3) for end in interval(*sides)]
    [0.585, 1.415]
    """
    sides = reference, current
    error = math.sqrt(sum(each.variance / each.size for each in sides))
    if not 1e-70 < error < 1e70:
        return None
    skew = max((each.skewness for each in sides), key=abs)
    n, m = reference.size, current.size
    bend = skew * (m**-2 - n**-2) / (1 / m + 1 / n) ** 1.5
    far = float(stdtrit(freedom((reference.variance, current.variance), (n, m)), (1 + CONFIDENCE) / 2))
    gap = current.mean - reference.mean
    ends = gap - error * _bent(far, bend), gap - error * _bent(-far, bend)
    return ends if all(map(math.isfinite, ends)) else None


def _bent(x: float, skew: float) -> float:
    return x if abs(skew) < 1e-6 else 3 / skew * (float(np.cbrt(1 + skew * (x - skew / 6))) - 1)
