"""Does a higher score go with a better outcome? Correlation of prediction and later outcome, with an interval."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import rankdata

from tidegauge.detectors.performance.measured import Measured, Measurement, linearised, unknown
from tidegauge.detectors.statistics.arrays import FloatArray

FEWEST = 30
POINT_BISERIAL, SPEARMAN = "point_biserial", "spearman"


def correlation(score: FloatArray, outcome: FloatArray, weights: FloatArray) -> Measurement:
    """Point-biserial where the outcome has two values (clicked or not), else Spearman's rank correlation.

    >>> found = correlation(np.arange(40.0), (np.arange(40) > 25).astype(float), np.ones(40))
    >>> found.metric, round(found.value, 3)
    ('point_biserial', 0.826)
    """
    if len(np.unique(outcome)) == 2:
        return pearson(POINT_BISERIAL, score, outcome, weights)
    return pearson(SPEARMAN, rankdata(score), rankdata(outcome), weights)


def pearson(metric: str, x: FloatArray, y: FloatArray, weights: FloatArray) -> Measurement:
    """Pearson's r, -1 to 1, which for 0 and 1 is the point-biserial and for ranks Spearman's.

    Interval: normal after Fisher's z, with the standard error from each row's influence on r,
    zx zy - r (zx^2 + zy^2) / 2 (Devlin, Gnanadesikan and Kettenring 1975), so that neither variable need be normal.
    For ranks it leaves out that ranks move each other, which is conservative for strong correlation.
    """
    n = len(x)
    if n < FEWEST:
        return unknown(metric, f"fewer than {FEWEST} rows have an outcome", n)
    zx, zy = _standard(x, weights), _standard(y, weights)
    if zx is None or zy is None:
        return unknown(metric, "all scores are equal" if zx is None else "all outcomes are equal", n)
    r = max(-1.0, min(1.0, float(np.average(zx * zy, weights=weights))))
    plain = linearised(metric, r, zx * zy - r * (zx**2 + zy**2) / 2, weights)
    if not isinstance(plain, Measured) or abs(r) >= 1:
        return plain
    spread = (plain.high - plain.low) / 2 / (1 - r * r)
    return Measured(metric, r, math.tanh(math.atanh(r) - spread), math.tanh(math.atanh(r) + spread), n)


def _standard(values: FloatArray, weights: FloatArray) -> FloatArray | None:
    centred = values - np.average(values, weights=weights)
    deviation = math.sqrt(float(np.average(centred**2, weights=weights)))
    return centred / deviation if deviation > 0 and math.isfinite(deviation) else None
