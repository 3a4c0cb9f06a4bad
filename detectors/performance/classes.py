"""How often a class is right: accuracy, precision, recall and F1, of one class or averaged over classes."""

from __future__ import annotations

import numpy as np

from tidegauge.detectors.performance.measured import Measured, Measurement, linearised, share, size, unknown
from tidegauge.detectors.statistics.arrays import FloatArray


def accuracy(right: FloatArray, weights: FloatArray) -> Measurement:
    """Share of rows whose prediction is the label; ``right`` lies in 0..1. Wilson's interval (1927).

    >>> accuracy(np.array([1.0, 1, 0, 1]), np.ones(4)).value
    0.75
    """
    return share("accuracy", float(np.dot(right, weights)), float(weights.sum()), size(weights), len(right))


def precision(said: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Of the rows that were called positive, the share that is; Wilson's interval. ``said`` is 0 or 1."""
    called = weights * said
    return share("precision", float(np.dot(called, truth)), float(called.sum()), size(called), len(said))


def recall(said: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Of the positive rows, the share that was called so; Wilson's interval."""
    positive = weights * truth
    return share("recall", float(np.dot(positive, said)), float(positive.sum()), size(positive), len(said))


def f1(said: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """2 TP / (2 TP + FP + FN), 0 to 1.

    J = TP / (TP + FP + FN) is a plain share among the rows that are positive or called so, and F1 = 2 J / (1 + J)
    grows with it, so the ends of J's Wilson interval give those of F1.

    >>> found = f1(np.array([1.0, 1, 0, 0]), np.array([1.0, 0, 1, 0]), np.ones(4))
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (0.5, 0.116, 0.884)
    """
    either = weights * (said + truth - said * truth)
    jaccard = share("f1", float(np.dot(weights * said, truth)), float(either.sum()), size(either), len(said))
    if not isinstance(jaccard, Measured):
        return jaccard
    value, low, high = (2 * each / (1 + each) for each in (jaccard.value, jaccard.low, jaccard.high))
    return Measured("f1", value, low, high, len(said))


def macro(metric: str, said: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Precision, recall or F1 of each class against the rest, averaged over the classes that have labels.

    Both arrays are rows by classes. A class that was never predicted has precision 0. Interval by each row's influence.

    >>> said = np.eye(3)[[0, 1, 1, 2, 0]]
    >>> round(macro("recall", said, np.eye(3)[[0, 1, 2, 2, 0]], np.ones(5)).value, 4)
    0.8333
    """
    there = (weights[:, None] * truth).sum(axis=0) > 0
    if not there.any():
        return unknown(metric, "no rows", len(said))
    said, truth = said[:, there], truth[:, there]
    scale = weights.sum()
    top, bottom = _parts(metric, said, truth)
    sums = weights @ bottom
    values = np.divide(weights @ top, sums, out=np.zeros(len(sums)), where=sums > 0)
    rates = np.where(sums > 0, sums / scale, 1.0)
    influence = ((top - values * bottom) / rates).mean(axis=1)
    return linearised(metric, float(values.mean()), influence, weights)


def _parts(metric: str, said: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Numerator and denominator that each row adds."""
    both = said * truth
    return {"precision": (both, said), "recall": (both, truth), "f1": (2 * both, said + truth)}[metric]
