"""Do the values of a window vary more, or less, than those of its reference?"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr, ndtri

from tidegauge.detectors.statistics.arrays import FloatArray, finite_sorted
from tidegauge.detectors.statistics.exchange import Nodes, mean_p_value
from tidegauge.detectors.statistics.result import CONFIDENCE, Outcome, Result, Undetermined, beyond_noise, settled

FLOOR = math.log(1.25)
LEAST = 20
"""Values on each side: of fewer the own median takes too much of the spread away."""


def variance_shift(
    reference: FloatArray,
    current: FloatArray,
    *,
    reference_sorted: bool = False,
    current_sorted: bool = False,
    floor: float = FLOOR,
) -> Outcome:
    """Spread of the current window over that of the reference, each the mean distance from its own median.

    Range: 0 upwards, a ratio; 1 is no change. Of normal values it is the ratio of standard deviations, and its square
    that of variances; a variance itself has no error to speak of under heavy tails. A shift of the mean leaves it as
    it is. p is the larger of two: the normal law of the ratio's logarithm, and the randomisation test of the distances
    (see ``exchange``), which holds for any law. ``effect`` is the size of the logarithm after its mean square under no
    drift was taken off its square; the floor is ln 1.25, a quarter more or a fifth less. ``interval`` is that of Bonett
    and Seier. NaN and infinities are dropped and counted. Sources: Brown and Forsythe, JASA, 1974; Bonett and Seier,
    Journal of Educational and Behavioral Statistics, 2003.

    >>> result = variance_shift(np.arange(100.0), 2 * np.arange(100.0))
    >>> round(result.value, 3), round(result.effect, 3), [round(end, 2) for end in result.interval]
    (2.0, 0.688, [1.7, 2.35])
    """
    left, dropped_reference = finite_sorted(reference, reference_sorted)
    right, dropped_current = finite_sorted(current, current_sorted)
    n, m = len(left), len(right)
    if min(n, m) < LEAST:
        reason = f"the {'reference' if n < LEAST else 'current window'} has fewer than {LEAST} finite values"
        return Undetermined("variance_shift", reason, n, m)
    with np.errstate(all="ignore"):
        offs = [np.sort(np.abs(side - _median(side))) for side in (left, right)]
        spreads = [float(np.mean(off)) for off in offs]
        if not all(0 < each < math.inf for each in spreads):
            return Undetermined("variance_shift", _why(spreads), n, m)
        value = spreads[1] / spreads[0]
        gap = math.log(value) if 0 < value < math.inf else math.nan
        shape = max(_shape(side, off) for side, off in zip((left, right), offs, strict=True))
        error = math.sqrt(shape * (1 / (n - 1) + 1 / (m - 1)))
        same = mean_p_value(*(Nodes.of(off) for off in offs))
    p_value = max(2 * float(ndtr(-abs(gap) / error)) if error else 0.0, same)
    far = float(ndtri((1 + CONFIDENCE) / 2)) * error
    ends = (value * math.exp(-far), value * math.exp(far)) if far < 700 else None
    dropped = dropped_reference, dropped_current
    effect = beyond_noise(gap, error)
    return settled(Result("variance_shift", value, p_value, effect, floor, n, m, *dropped, interval=ends))


def _median(ordered: FloatArray) -> float:
    """Without a sum that could overflow."""
    half = len(ordered) // 2
    return float(ordered[half] if len(ordered) % 2 else ordered[half - 1] / 2 + ordered[half] / 2)


def _shape(side: FloatArray, off: FloatArray) -> float:
    """n times the variance of the logarithm of the mean distance from the median: d² + g² - 1 (Bonett and Seier).

    d is the distance of mean and median, and g the standard deviation, both over the mean distance. A short sample
    shows too little of its tails, so the larger one of both sides is taken for both.
    """
    spread, middle = float(np.mean(off)), _median(side)
    tilt = float(np.mean((side - middle) / spread))
    square = float(np.mean((off / spread) ** 2)) - tilt * tilt
    return max(0.0, tilt * tilt + square - 1)


def _why(spreads: list[float]) -> str:
    if not all(math.isfinite(each) for each in spreads):
        return "the values are too large or too small to compute with"
    side = "current window" if spreads[0] else "reference"
    return f"the {side} is constant: it has no spread to compare"
