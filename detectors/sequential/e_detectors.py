"""E-detectors: has something changed at some time nobody knows, with the mean time to a false alarm as the threshold.

From factors L_t, none of which is expected to exceed 1 while nothing has changed, given what came before:

    e-CUSUM                M_t = L_t max(1, M_{t-1})
    e-Shiryaev-Roberts     M_t = L_t (1 + M_{t-1}),   M_0 = 0

M_t is at most the sum of t e-processes, one begun at each time, so the mean of M at any stopping time is at most
the mean of that time. An alarm at M >= A therefore comes, while nothing has changed, after A factors on average or
more (ARL >= A), however dependent, unequal or oddly distributed they are. A mixture of e-detectors is one.
Source: Shin, Ramdas and Rinaldo, E-detectors, New England Journal of Statistics in Data Science, 2024 (arXiv
2203.03532). Everything here is in logarithms, elementwise, on arrays of any shape.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import logsumexp

from tidegauge.detectors.statistics.arrays import BoolArray, FloatArray


def shiryaev_roberts(before: FloatArray, factor: FloatArray) -> FloatArray:
    """log M_t from log M_{t-1} (minus infinity at the start) and log L_t.

    >>> two = shiryaev_roberts(shiryaev_roberts(np.array([-np.inf]), np.log([3.0])), np.log([2.0]))
    >>> round(float(np.exp(two[0])), 6)
    8.0
    """
    return factor + np.logaddexp(0.0, before)


def e_cusum(before: FloatArray, factor: FloatArray) -> FloatArray:
    """log M_t from log M_{t-1} (minus infinity at the start) and log L_t; it began anew where log M_{t-1} <= 0.

    >>> two = e_cusum(e_cusum(np.array([-np.inf]), np.log([3.0])), np.log([2.0]))
    >>> round(float(np.exp(two[0])), 6)
    6.0
    """
    return factor + np.maximum(0.0, before)


def mixture(logs: FloatArray, axes: int) -> FloatArray:
    """The logarithm of the mean over the last ``axes`` axes, which is again an e-detector.

    >>> round(float(np.exp(mixture(np.log([[1.0, 3.0]]), 1)[0])), 6)
    2.0
    """
    over = tuple(range(logs.ndim - axes, logs.ndim))
    count = math.prod(logs.shape[axis] for axis in over)
    found: FloatArray = np.asarray(logsumexp(logs, axis=over)) - math.log(count)
    return found


def log_thresholds(whole: BoolArray, looks_per_month: float, false_pages_per_month: float) -> FloatArray:
    """log A of each stream: half of the false pages for streams of all traffic (``whole``), half for those of slices.

    What concerns all traffic is told first, and is not held up by how many slices there are.

    >>> np.exp(log_thresholds(np.array([True, False, False]), 730, 1.0)).round().tolist()
    [1460.0, 2920.0, 2920.0]
    """
    count = int(whole.sum())
    if count in (0, len(whole)):
        return np.full(len(whole), log_threshold(len(whole), looks_per_month, false_pages_per_month))
    shared = np.where(whole, count, len(whole) - count)
    return np.log(shared) + log_threshold(1, looks_per_month, false_pages_per_month / 2)


def log_threshold(streams: int, looks_per_month: float, false_pages_per_month: float) -> float:
    """log A, with A = streams x looks / wanted false pages: each stream errs once in A looks or more rarely.

    >>> round(math.exp(log_threshold(100, 730, 1.0)))
    73000

    Raises:
        ValueError: no stream, no look, or a wanted number that is not positive.
    """
    if streams < 1 or looks_per_month <= 0 or false_pages_per_month <= 0:
        raise ValueError("streams, looks and wanted false pages must be positive")
    return max(0.0, math.log(streams * looks_per_month / false_pages_per_month))
