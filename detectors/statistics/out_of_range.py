"""Do values lie outside the range that is declared, or that the reference has?"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

from tidegauge.detectors.statistics.arrays import FloatArray, finite
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled
from tidegauge.detectors.statistics.share_rise import share_rise

FLOOR = 0.01


def out_of_range(
    reference: FloatArray,
    current: FloatArray,
    *,
    low: float | None = None,
    high: float | None = None,
    floor: float = FLOOR,
) -> Outcome:
    """Share of the finite values under ``low`` or over ``high``; where neither is given, far outside of the reference.

    Range: 0 to 1. Declared: compared with the share of the reference, see ``share_rise``. Not declared: the range of
    the reference, widened by half of its width on each side, since a season or a spell of weather goes a little beyond
    what was seen and is no fault. Of n rows the smallest and the largest leave room, and h of m rows of the same law
    lie beyond with the chance ((h + 1) C(N - h - 1, n - 1) + C(N - h - 1, n)) / C(N, n), N = n + m, whatever that law
    is, and beyond the wider range with less: p errs on the safe side. ``effect`` is the share beyond the expected one,
    2 / (n + 1); the floor is 1 % of the rows. NaN and infinities are dropped and counted. Source: Wilks, Annals of
    Mathematical Statistics, 1942.

    >>> result = out_of_range(np.arange(1000.0), np.arange(100.0) + 1449)
    >>> result.value, round(result.effect, 3), result.p_value < 1e-9, result.note
    (0.5, 0.498, True, 'outside -499.5 to 1498.5: 50 above')
    >>> out_of_range(np.arange(100.0), np.arange(100.0) - 5, low=0).note
    'outside 0 to any: 5 below'
    """
    left, dropped_reference = finite(reference)
    right, dropped_current = finite(current)
    n, m = len(left), len(right)
    if not n or not m:
        return Undetermined("out_of_range", f"the {'current window' if n else 'reference'} has no finite value", n, m)
    if low is None and high is None:
        ends = widened(float(left.min()), float(left.max()))
        return beyond_reference(ends, _outside(right, *ends), (n, m), (dropped_reference, dropped_current), floor)
    ends = -math.inf if low is None else low, math.inf if high is None else high
    before, now = sum(_outside(left, *ends)), _outside(right, *ends)
    return share_rise(
        "out_of_range", before, n, sum(now), m, floor, told(ends, now), (dropped_reference, dropped_current)
    )


def widened(low: float, high: float) -> tuple[float, float]:
    """The range with half of its width on each side, as far as there are such numbers.

    >>> widened(0.0, 10.0)
    (-5.0, 15.0)
    """
    most = float(np.finfo(np.float64).max)
    half = high / 2 - low / 2
    return max(-most, low - half), min(most, high + half)


def beyond_reference(
    ends: tuple[float, float],
    outside: tuple[int, int],
    sizes: tuple[int, int],
    dropped: tuple[int, int] = (0, 0),
    floor: float = FLOOR,
) -> Result | Undetermined:
    """From a range that holds the reference, and the window's rows below and above it.

    >>> round(beyond_reference((0.0, 1.0), (0, 1), (99, 1)).p_value, 3)
    0.02
    """
    n, m = sizes
    hits = sum(outside)
    effect = max(0.0, hits / m - 2 / (n + 1))
    p_value = _beyond(hits, n, m)
    return settled(Result("out_of_range", hits / m, p_value, effect, floor, n, m, *dropped, told(ends, outside)))


def _outside(values: FloatArray, low: float, high: float) -> tuple[int, int]:
    return int(np.count_nonzero(values < low)), int(np.count_nonzero(values > high))


def _beyond(hits: int, n: int, m: int) -> float:
    """Of the C(N, n) orders of both samples, the share that has ``hits`` of the window's rows or more at the ends."""
    if not hits:
        return 1.0
    whole = _log_choose(n + m, n)
    first = math.log(hits + 1) + _log_choose(n + m - hits - 1, n - 1) - whole
    second = _log_choose(n + m - hits - 1, n) - whole if n + m - hits - 1 >= n else -math.inf
    return min(1.0, math.exp(first) + math.exp(second))


def _log_choose(n: int, k: int) -> float:
    return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def told(ends: tuple[float, float], outside: tuple[int, int]) -> str:
    """How many rows lie below and above which ends.

    >>> told((0.0, math.inf), (3, 0))
    'outside 0 to any: 3 below'
    """
    if not sum(outside):
        return ""
    shown = [f"{end:.6g}" if math.isfinite(end) else "any" for end in ends]
    where = [f"{count} {side}" for count, side in zip(outside, ("below", "above"), strict=True) if count]
    return f"outside {shown[0]} to {shown[1]}: {', '.join(where)}"
