"""Has a window more, or fewer, rows than windows like it had?"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betainc, stdtr

from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, beyond_noise, settled

FLOOR = math.log(1.25)
LEAST_WINDOWS = 4


def volume(reference: IntArray, current: int, *, floor: float = FLOOR) -> Outcome:
    """Rows of the current window over the rows that k reference windows lead one to expect.

    Range: 0 upwards, a ratio; 1 is no change. Traffic varies by more than Poisson, and by factors, so the prediction
    is made on y = ln(rows + 1/2): t = (y - mean) / (s sqrt(1 + 1/k)) with k - 1 degrees of freedom, two-sided; exact
    for log-normal counts. Counts never vary by less than Poisson, so p is at least that of the exact binomial test of
    the current rows among all rows, share 1 / (k + 1); it rules where windows hold few rows, or agree by luck.
    ``effect`` is |ln ratio| after its mean square under no change was taken off its square; the floor is ln 1.25, a
    quarter more or a fifth less. ``n_reference`` counts windows, ``n_current`` is 1. At least 4 reference windows.
    Sources: the prediction interval of a normal sample (Fisher 1935); Przyborowski and Wilenski, Biometrika, 1940.

    >>> result = volume(np.array([1000, 1040, 980, 1010, 995]), 500)
    >>> round(result.value, 2), round(result.effect, 2)
    (0.5, 0.7)
    """
    rows = np.asarray(reference, dtype=np.float64).reshape(-1)
    windows = len(rows)
    if windows < LEAST_WINDOWS:
        reason = f"{windows} reference windows are too few: {LEAST_WINDOWS} are needed"
        return Undetermined("volume", reason, windows, 1)
    if min(float(rows.min()), current) < 0:
        return Undetermined("volume", "a window holds a negative number of rows", windows, 1)
    logs = np.log(rows + 0.5)
    gap = math.log(current + 0.5) - float(logs.mean())
    spread = float(logs.var(ddof=1)) * (1 + 1 / windows)
    p_value = max(_log_normal(gap, spread, windows), _poisson(int(rows.sum()), int(current), windows))
    noise = math.sqrt(max(spread, 1 / (float(rows.mean()) + 0.5)))
    return settled(Result("volume", math.exp(gap), p_value, beyond_noise(gap, noise), floor, windows, 1))


def _log_normal(gap: float, spread: float, windows: int) -> float:
    return 2 * float(stdtr(windows - 1, -abs(gap) / math.sqrt(spread))) if spread > 0 else 0.0


def _poisson(before: int, now: int, windows: int) -> float:
    """Twice the smaller tail of the binomial law of ``now`` among all rows."""
    share = 1 / (windows + 1)
    fewer = float(betainc(float(before), now + 1.0, 1 - share)) if before else 1.0
    more = float(betainc(float(now), before + 1.0, share)) if now else 1.0
    return min(1.0, 2 * min(fewer, more))
