"""Two samples that changed: whether both changed alike."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import chdtrc

from tidegauge.detectors.statistics.arrays import FloatArray, IntArray


def changed_alike(one: tuple[IntArray, IntArray], other: tuple[IntArray, IntArray]) -> float:
    """p-value that the share of every cell changed by the same factor in both, up to one factor for all cells.

    Each is counts before and now in the same cells. With half a row added to each cell the logarithms of the ratios of
    the factors are compared with their mean, weighted by their variances, the sums of 1/n: chi-squared with B - 1
    degrees of freedom, and where the cells are in order also by their slope, with 1; the smaller p counts twice.
    Sources: Woolf, Annals of Human Genetics, 1955; Grizzle, Starmer and Koch, Biometrics, 1969.

    >>> before = np.array([500, 500])
    >>> alike = changed_alike((before, np.array([50, 150])), (before, np.array([100, 300])))
    >>> odd = changed_alike((before, np.array([50, 150])), (before, np.array([200, 200])))
    >>> alike > 0.9, odd < 1e-6
    (True, True)
    """
    table = np.stack([*one, *other]).astype(np.float64)
    table = table[:, table.any(axis=0)] + 0.5
    cells = table.shape[1]
    if cells < 2:
        return 1.0
    logs, weights = np.log(table), 1 / np.sum(1 / table, axis=0)
    factors = (logs[1] - logs[0]) - (logs[3] - logs[2])
    gaps = factors - np.average(factors, weights=weights)
    places = np.arange(cells) - np.average(np.arange(cells), weights=weights)
    slope = float(weights @ (places * gaps)) ** 2 / float(weights @ places**2)
    return min(1.0, 2 * float(min(chdtrc(cells - 1, weights @ gaps**2), chdtrc(1, slope))))


def distance(before: IntArray, now: IntArray) -> float:
    """The square root of PSI, half a row added to each cell, less what chance adds to it on average."""
    used = (before > 0) | (now > 0)
    cells = np.count_nonzero(used)
    if not before.sum() or not now.sum():
        return 0.0
    p, q = _shares(before[used]), _shares(now[used])
    noise = (cells - 1) * (1 / before.sum() + 1 / now.sum())
    return math.sqrt(max(0.0, float(np.sum((q - p) * np.log(q / p)) - noise)))


def _shares(counts: IntArray) -> FloatArray:
    found: FloatArray = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return found
