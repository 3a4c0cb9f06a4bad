"""Many tests at once: the false discovery rate."""

from __future__ import annotations

import numpy as np

from tidegauge.detectors.statistics.arrays import BoolArray, FloatArray


def benjamini_hochberg(p_values: FloatArray, q: float = 0.05) -> tuple[BoolArray, FloatArray]:
    """Reject the k smallest p-values, k = max{i: p_(i) <= i q / m}: of all rejections a share q is false, on average.

    Returns which are rejected, and the adjusted p-values, min over j >= i of p_(j) m / j, in the order given; an
    adjusted value is at most q exactly where its test is rejected. Holds for independent and for positively dependent
    tests. Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B, 1995.

    Raises:
        ValueError: a p-value is not in 0..1, or q is not in 0..1.

    >>> rejected, adjusted = benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5]), q=0.05)
    >>> rejected.tolist(), adjusted.round(4).tolist()
    ([True, False, False, False], [0.04, 0.0533, 0.0533, 0.5])
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError("p_values must be one row of numbers from 0 to 1, without NaN")
    if not 0 <= q <= 1:
        raise ValueError(f"q must be from 0 to 1, got {q}")
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return adjusted <= q, adjusted


def e_benjamini_hochberg(e_values: FloatArray, q: float = 0.05) -> tuple[BoolArray, FloatArray]:
    """Reject the k largest e-values, k = max{i: e_(i) >= m / (q i)}: of all rejections a share q is false, on average.

    Holds however the tests depend on each other, as those of overlapping windows and of slices within slices do, and
    whenever one looks, if the e-values are those of e-processes. Returns which are rejected, and adjusted values in the
    manner of p-values, min over j >= i of m / (j e_(j)), at most q exactly where a test is rejected. Source: Wang and
    Ramdas, Journal of the Royal Statistical Society B, 2022 (arXiv 2009.02824).

    Raises:
        ValueError: an e-value is negative or NaN, or q is not in 0..1.

    >>> rejected, adjusted = e_benjamini_hochberg(np.array([100.0, 30.0, 1.0, 0.5]), q=0.1)
    >>> rejected.tolist(), adjusted.round(4).tolist()
    ([True, True, False, False], [0.04, 0.0667, 1.0, 1.0])
    """
    e = np.asarray(e_values, dtype=np.float64)
    if e.ndim != 1 or not np.all(e >= 0):
        raise ValueError("e_values must be one row of numbers from 0 upwards, without NaN")
    with np.errstate(divide="ignore"):
        return benjamini_hochberg(np.minimum(1.0, 1 / e), q)
