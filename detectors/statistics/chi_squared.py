"""Chi-squared test of two samples over the same cells."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import chdtrc

from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.detectors.statistics.binned import merge_sparse, occupied, reason_against
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled

FLOOR = 0.1


def chi_squared(reference: IntArray, current: IntArray, *, floor: float = FLOOR) -> Outcome:
    """X² = N M sum (r/N - c/M)² / (r + c), the contingency statistic of two rows, with B - 1 degrees of freedom.

    Range: 0 upwards; no unit; symmetric. The reference is a sample too, not the truth. Cells that expect fewer than 5
    rows of the smaller sample are merged first. ``effect`` is Cramer's V with Bergsma's bias correction, at the
    balanced size 4NM / (N + M): V as it would be in two samples of equal size, so that a long reference does not
    shrink it. Sources: Pearson 1900; Cochran 1954; Bergsma, Journal of the Korean Statistical Society, 2013.

    >>> import numpy as np
    >>> result = chi_squared(np.array([500, 500]), np.array([300, 200]))
    >>> round(result.value, 4), round(result.p_value, 6), round(result.effect, 4)
    (13.3929, 0.000253, 0.0964)
    """
    reference, current = np.asarray(reference), np.asarray(current)
    n, m = int(reference.sum()), int(current.sum())
    reason = reason_against(reference, current)
    if reason:
        return Undetermined("chi_squared", reason, n, m)
    used = occupied(reference, current)
    merged = merge_sparse(*used)
    cells = len(merged[0])
    if cells < 2:
        return Undetermined("chi_squared", "fewer than 2 cells expect 5 rows of the smaller sample", n, m)
    value = _statistic(*merged)
    p_value = float(chdtrc(cells - 1, value))
    note = f"{len(used[0]) - cells + 1} sparse cells merged" if len(used[0]) > cells else ""
    return settled(Result("chi_squared", value, p_value, _v(value, cells, n, m), floor, n, m, note=note))


def _statistic(reference: IntArray, current: IntArray) -> float:
    n, m = int(reference.sum()), int(current.sum())
    gap = reference / n - current / m
    return float(np.sum(gap * gap / (reference + current))) * n * m


def _v(value: float, cells: int, n: int, m: int) -> float:
    size = max(2.0, 4 * n * m / (n + m))
    square = max(0.0, value / size - (cells - 1) / (size - 1))
    rows = 2 - 1 / (size - 1)
    columns = cells - (cells - 1) ** 2 / (size - 1)
    room = min(rows, columns) - 1
    return min(1.0, math.sqrt(square / room)) if room > 0 else 0.0
