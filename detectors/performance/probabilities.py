"""How honest a probability is: log loss, Brier score, expected calibration error."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from tidegauge.detectors.performance.measured import Measurement, bounded, mean, unknown
from tidegauge.detectors.statistics.arrays import FloatArray, IntArray

TINY = 1e-15
BINS = 10


def log_loss(score: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Mean of -ln of the probability given to what came true, 0 upwards, in nats; probabilities are kept off 0 and 1 by
    1e-15. ``score`` and ``truth`` are rows, or rows by classes. Normal interval of the mean.

    >>> round(log_loss(np.array([0.9, 0.2]), np.array([1.0, 0.0]), np.ones(2)).value, 4)
    0.1643
    """
    safe = np.clip(score, TINY, 1 - TINY)
    if score.ndim == 1:
        return mean("log_loss", -(truth * np.log(safe) + (1 - truth) * np.log(1 - safe)), weights)
    return mean("log_loss", -(truth * np.log(safe / safe.sum(axis=1, keepdims=True))).sum(axis=1), weights)


def brier(score: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Mean squared distance of probability and outcome (Brier 1950), 0 to 1; of several classes their sum, 0 to 2.

    >>> round(brier(np.array([0.9, 0.2]), np.array([1.0, 0.0]), np.ones(2)).value, 4)
    0.025
    """
    squares = truth * (1 - score) ** 2 + (1 - truth) * score**2
    return mean("brier", squares if score.ndim == 1 else squares.sum(axis=1), weights)


def ece(score: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Expected calibration error: sum over 10 equal bins of [0, 1] of share of rows times abs(mean score - mean truth).

    Range: 0 to 1. Source: Naeini, Cooper and Hauskrecht, AAAI 2015. Chance alone keeps it above 0 in small samples; the
    interval is for what it amounts to at this number of rows (each bin's gap is normal, its absolute value folded).

    >>> round(ece(np.array([0.9, 0.9, 0.9, 0.2]), np.array([1.0, 1, 0, 0]), np.ones(4)).value, 4)
    0.225
    """
    if not len(score):
        return unknown("ece", "no rows", 0)
    place: IntArray = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    gap = truth - score
    totals = np.bincount(place, weights, BINS)
    used = totals > 0
    means = np.bincount(place, weights * gap, BINS)[used] / totals[used]
    full = np.zeros(BINS)
    full[used] = means
    spread = np.bincount(place, (weights * (gap - full[place])) ** 2, BINS)[used] / totals[used] ** 2
    shares = totals[used] / totals.sum()
    variance = np.dot(shares**2, _folded_variance(means, spread))
    return bounded("ece", float(np.dot(shares, np.abs(means))), float(np.sqrt(variance)), len(score))


def calibration_gap(score: FloatArray, truth: FloatArray) -> float:
    """The plain expected calibration error of unweighted rows; 0 for none."""
    found = ece(score, truth, np.ones(len(score)))
    return getattr(found, "value", 0.0)


def _folded_variance(centre: FloatArray, variance: FloatArray) -> FloatArray:
    """Variance of abs(x) for a normal x."""
    spread = np.sqrt(np.maximum(variance, 1e-300))
    z = np.minimum(np.abs(centre) / spread, 40.0)
    folded = spread * np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2) + np.abs(centre) * (1 - 2 * ndtr(-z))
    return np.asarray(np.maximum(0.0, centre**2 + variance - folded**2), dtype=np.float64)
