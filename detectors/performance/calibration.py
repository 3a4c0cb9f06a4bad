"""From scores to honest probabilities: isotonic regression on labelled rows, kept only where it lowers the error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from tidegauge.detectors.performance.probabilities import calibration_gap
from tidegauge.detectors.statistics.arrays import FloatArray

FEWEST = 200
"""Labelled rows below which a fitted curve is mostly chance."""


@dataclass(frozen=True)
class Calibration:
    """A rising curve from score to probability, straight between its knots; without knots the score is the answer.

    ``before`` and ``after`` are the expected calibration error of rows kept out of the fit.
    """

    knots: FloatArray
    values: FloatArray
    before: float = 0.0
    after: float = 0.0

    def __call__(self, score: FloatArray) -> FloatArray:
        """Probabilities, 0 to 1, of finite scores."""
        return np.interp(score, self.knots, self.values) if len(self.knots) else np.clip(score, 0.0, 1.0)

    @property
    def fitted(self) -> bool:
        """Whether scores are changed at all."""
        return len(self.knots) > 0


def calibrate(score: FloatArray, truth: FloatArray, probable: bool = True) -> Calibration | None:
    """The calibration of labelled rows with finite scores, or None where there are fewer than 200 of them.

    Isotonic regression (Zadrozny and Elkan, KDD 2002), by pool adjacent violators, of every second block of 50 rows is
    tried on the others and the reverse; where it does not lower the expected calibration error the scores stay as they
    are. Scores that are no probabilities (``probable`` False) are always fitted.
    """
    if len(score) < FEWEST:
        return None
    half = (np.arange(len(score)) // 50) % 2 == 0
    tried = np.empty(len(score))
    for part in (half, ~half):
        tried[~part] = fit(score[part], truth[part])(score[~part])
    before = calibration_gap(np.clip(score, 0, 1), truth)
    after = calibration_gap(tried, truth)
    if probable and after >= before:
        return Calibration(np.empty(0), np.empty(0), before, before)
    whole = fit(score, truth)
    return Calibration(whole.knots, whole.values, before, after)


def fit(score: FloatArray, truth: FloatArray, weights: FloatArray | None = None) -> Calibration:
    """The curve alone, of rows that may be weighted.

    >>> fit(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.0, 1.0, 0.0, 1.0]))(np.array([0.2, 0.8, 1.0])).tolist()
    [0.5, 0.5, 1.0]
    """
    knots, place = np.unique(score, return_inverse=True)
    mass = np.bincount(place, weights) if weights is not None else np.bincount(place).astype(np.float64)
    used = mass > 0
    hits = np.bincount(place, truth if weights is None else weights * truth)
    values = isotonic_regression(hits[used] / mass[used], weights=mass[used]).x
    return Calibration(knots[used], np.asarray(values, dtype=np.float64))
