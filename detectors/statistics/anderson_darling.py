"""Anderson-Darling test of two samples: all gaps between two distributions, those in the tails weighed up.

Chosen over Cramer-von Mises, which it equals in the middle and beats in the tails: see docs/detectors.md for both
powers. With midranks (Scholz and Stephens 1987, their A²_akN for two samples)

    A² = (N - 1) / (N n m) sum_j l_j (N M_j - n B_j)² / (B_j (N - B_j) - N l_j / 4)

where N = n + m, l_j rows share the j-th value, B_j and M_j count the rows up to the middle of it, of both samples and
of one. Under no drift A² tends to sum Z_j² / (j (j + 1)). With ties it tends to another sum, whose weights are the
eigenvalues of the covariance of its terms: they are computed, over at most 96 steps of the pooled distribution.
"""

from __future__ import annotations

import math

import numpy as np

from tidegauge.detectors.statistics.arrays import FloatArray, IntArray, finite_sorted
from tidegauge.detectors.statistics.quadratic import tail
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled

FLOOR = 0.17
TERMS = np.arange(1.0, 201.0)
LIMIT = 1 / (TERMS * (TERMS + 1))
"""The weights without ties; what the other terms have together, 1/201, is a constant."""
STEPS = 96
TIED = 0.01
"""The share of rows of one value from which ties change the law."""


def anderson_darling(
    reference: FloatArray,
    current: FloatArray,
    *,
    reference_sorted: bool = False,
    current_sorted: bool = False,
    floor: float = FLOOR,
) -> Outcome:
    """A², the squared gap of the distribution functions over its variance, averaged over the rows of both.

    Range: 0 upwards, 1 on average without drift; no unit; symmetric. ``effect`` is sqrt((A² - 1)(1/n + 1/m)), the root
    of that squared gap without what chance gives: 0 to about 1.3. The floor, 0.17, is reached by a shift of a quarter
    of a deviation of normal values, as that of ``ks`` is. NaN and infinities are dropped and counted. Equal to
    ``scipy.stats.anderson_ksamp(midrank=True)`` to 1e-9, before that scales it; p, which scipy cuts off at 0.001 and
    0.25, is not cut. Sources: Pettitt, Biometrika, 1976; Scholz and Stephens, JASA, 1987; the module text.

    >>> result = anderson_darling(np.arange(100.0), np.arange(100.0) + 30)
    >>> round(result.value, 3), round(result.effect, 3)
    (20.81, 0.629)
    """
    left, dropped_reference = finite_sorted(reference, reference_sorted)
    right, dropped_current = finite_sorted(current, current_sorted)
    n, m = len(left), len(right)
    if not n or not m:
        return Undetermined(
            "anderson_darling", f"the {'current window' if n else 'reference'} has no finite value", n, m
        )
    return judged_levels(*levels(left, right), (dropped_reference, dropped_current), floor)


def judged_levels(
    rows: IntArray, of_left: IntArray, dropped: tuple[int, int] = (0, 0), floor: float = FLOOR
) -> Outcome:
    """From the rows of both samples, and those of the reference, at each value in ascending order, or in each cell.

    >>> round(judged_levels(np.array([100, 100]), np.array([60, 40])).p_value, 4)
    0.0048
    """
    n = int(of_left.sum())
    m = int(rows.sum()) - n
    if np.count_nonzero(rows) < 2:
        return Undetermined("anderson_darling", "all values are equal", n, m)
    rows, of_left = rows[rows > 0], of_left[rows > 0]
    value = statistic(rows, of_left)
    weights, constant = law(rows)
    p_value = tail(weights, value - constant)
    effect = math.sqrt(max(0.0, value - float(weights.sum()) - constant) * (1 / n + 1 / m))
    return settled(Result("anderson_darling", value, p_value, effect, floor, n, m, *dropped))


def levels(left: FloatArray, right: FloatArray) -> tuple[IntArray, IntArray]:
    """Of each different value in ascending order: the rows of both samples, and those of ``left``.

    Two sorted halves are one run each to a merging sort, so that it costs one pass.

    >>> levels(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    (array([1, 2, 1]), array([1, 1, 0]))
    """
    pooled = np.concatenate([left, right])
    order = np.argsort(pooled, kind="stable")
    ordered = pooled[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    of_left = np.cumsum(order < len(left))[last]
    return np.diff(last, prepend=-1), np.diff(of_left, prepend=0)


def statistic(rows: IntArray, of_left: IntArray) -> float:
    """A² from the rows of each value.

    >>> round(statistic(*levels(np.array([1.0, 2.0, 4.0]), np.array([2.0, 3.0, 5.0]))), 4)
    0.7351
    """
    total, n = float(rows.sum()), float(of_left.sum())
    below = np.cumsum(rows) - rows / 2
    gap = total * (np.cumsum(of_left) - of_left / 2) - n * below
    room = below * (total - below) - total * rows / 4
    return float(np.sum(rows * gap * gap / room)) * (total - 1) / (total * n * (total - n))


def law(rows: IntArray) -> tuple[FloatArray, float]:
    """The weights of A²'s law without drift, and a constant to add, from the rows of each value in both samples.

    >>> law(np.array([5, 5]))[0].round(3).tolist()
    [0.0, 1.0]
    """
    total, most = int(rows.sum()), int(rows.max())
    if most == 1 or most < TIED * total:
        return LIMIT, 1 / (len(LIMIT) + 1)
    large = rows >= total / STEPS
    step = np.cumsum(rows) * STEPS // (total + 1)
    first = (np.diff(step, prepend=-1) > 0) | large | np.append(False, large[:-1])
    share = np.add.reduceat(rows, np.flatnonzero(first)) / total
    middle = np.cumsum(share) - share / 2
    covariance = np.minimum.outer(middle, middle) - np.outer(middle, middle) - np.diag(share / 4)
    scale = np.sqrt(share / np.maximum(np.diag(covariance), 1e-300))
    found: FloatArray = np.linalg.eigvalsh(covariance * np.outer(scale, scale))
    return np.maximum(found, 0.0), 0.0
