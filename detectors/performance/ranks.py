"""How well a score ranks: area under the ROC curve and average precision."""

from __future__ import annotations

import math

import numpy as np

from tidegauge.detectors.performance.measured import Measurement, linearised, logit_interval, size, unknown
from tidegauge.detectors.statistics.arrays import FloatArray

FEWEST = 5
"""Rows of each class below which an area's interval means nothing."""


def roc_auc(score: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """The chance that a positive row scores above a negative one, ties counted half.

    Range: 0 to 1, 0.5 is chance. Variance by placements (DeLong, DeLong and Clarke-Pearson, Biometrics 1988),
    computed from mid-ranks in n log n (Sun and Xu, IEEE Signal Processing Letters 2014); interval on the logit scale.
    ``truth`` lies in 0..1; scores must be finite.

    >>> found = roc_auc(np.arange(10.0), np.array([0, 0, 0, 1, 0, 1, 0, 1, 1, 1.0]), np.ones(10))
    >>> round(found.value, 2), round(found.error, 2)
    (0.88, 0.13)
    """
    positive, negative = weights * truth, weights * (1 - truth)
    if min(size(positive), size(negative)) < FEWEST:
        return unknown("roc_auc", f"fewer than {FEWEST} rows of a class", len(score))
    value, above, below = placements(score, positive, negative)
    error = math.sqrt(_variance(above - value, positive) + _variance(below - value, negative))
    return logit_interval("roc_auc", value, error, len(score))


def macro_roc_auc(score: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """The mean over classes of the area of one class against the rest; both arrays are rows by classes.

    Classes of fewer than 5 rows (or all but 5) are left out. Source: Provost and Domingos 2000; influence as in
    ``roc_auc``.
    """
    values: list[float] = []
    influence = np.zeros(len(score))
    for own, truly in zip(score.T, truth.T, strict=True):
        positive, negative = weights * truly, weights * (1 - truly)
        if min(size(positive), size(negative)) >= FEWEST:
            value, above, below = placements(own, positive, negative)
            values.append(value)
            rate = positive.sum() / weights.sum()
            influence += truly * (above - value) / rate + (1 - truly) * (below - value) / (1 - rate)
    if not values:
        return unknown("roc_auc", f"fewer than {FEWEST} rows of every class", len(score))
    return linearised("roc_auc", float(np.mean(values)), influence / len(values), weights)


def average_precision(score: FloatArray, truth: FloatArray, weights: FloatArray) -> Measurement:
    """Sum over thresholds of precision times the step in recall: the area under the precision-recall curve.

    Range: the share of positives (chance) to 1; as scikit-learn's, without interpolation. Interval: normal on the
    logit scale, from each row's influence on the sum. Compare Boyd, Eng and Page, ECML 2013.

    >>> found = average_precision(np.array([0.1, 0.4, 0.35, 0.8] * 5), np.array([0, 0, 1, 1.0] * 5), np.ones(20))
    >>> round(found.value, 4)
    0.8333
    """
    positive = weights * truth
    if size(positive) < FEWEST:
        return unknown("average_precision", f"fewer than {FEWEST} positive rows", len(score))
    _, place = np.unique(-score, return_inverse=True)
    hits, rows = np.bincount(place, positive), np.bincount(place, weights)
    seen, taken = np.cumsum(hits), np.cumsum(rows)
    precision, total = seen / taken, seen[-1]
    value = float(np.dot(precision, hits) / total)
    # what one more row at a place adds: to precision there, as a positive; and to every precision below it
    gain = np.cumsum((hits / taken)[::-1])[::-1]
    loss = np.cumsum((hits * precision / taken)[::-1])[::-1]
    share = weights.sum() / total
    influence = share * (truth * (precision[place] - value + gain[place]) - loss[place])
    plain = linearised("average_precision", value, influence, weights)
    return logit_interval("average_precision", value, getattr(plain, "error", math.inf), len(score))


def placements(score: FloatArray, positive: FloatArray, negative: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """The area, and for each row the share of the other class that it ranks rightly against, as a positive and as a
    negative; the weights need not be whole numbers, and a row may be part of both classes.

    >>> area, above, below = placements(np.array([1.0, 2.0, 2.0]), np.array([0, 0, 1.0]), np.array([1, 1.0, 0]))
    >>> area, above.tolist(), below.tolist()
    (0.75, [0.25, 0.75, 0.75], [1.0, 0.5, 0.5])
    """
    _, place = np.unique(score, return_inverse=True)
    plus, minus = np.bincount(place, positive), np.bincount(place, negative)
    above = (np.cumsum(minus) - minus / 2) / minus.sum()
    below = (plus.sum() - np.cumsum(plus) + plus / 2) / plus.sum()
    return float(np.dot(plus, above) / plus.sum()), above[place], below[place]


def _variance(deviation: FloatArray, weights: FloatArray) -> float:
    """Of the weighted mean of placements of one class, n/(n - 1) times the plain one."""
    n, pushed = size(weights), weights * deviation
    return float(np.dot(pushed, pushed)) / float(weights.sum()) ** 2 * n / (n - 1)
