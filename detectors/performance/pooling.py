"""How far windows of one part lie apart, known from a few of them, made surer by those of the other parts.

A standard deviation from eight windows has 7 degrees of freedom, so Student's t asks much of it. Parts of one traffic
vary in like measure, each above its own sampling error: how like, and so how many degrees of freedom a part may borrow
from the others, is told by how much their variances scatter (empirical Bayes; Smyth 2004, Linear Models and Empirical
Bayes Methods for Assessing Differential Expression, sections 3 and 6.2). What moves all parts at once is not known
better from many of them: of that share of the variance, told by all traffic, the degrees of freedom stay those of the
windows (Satterthwaite 1946).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import f

from tidegauge.detectors.performance.baseline import Baseline
from tidegauge.detectors.performance.book import Key
from tidegauge.model import ALL

FEWEST_PARTS = 8
LEAST_RATIO = 0.05
"""Of a variance to that of sampling alone; windows that agree better than chance have little to tell the others."""
ODD = 0.01
"""Parts whose variance is larger than so few of those that the others foretell keep their own."""


def pooled(bases: Mapping[Key, Baseline]) -> dict[Key, Baseline]:
    """The baselines by part and metric, those of slices and pairs with the spread that all of them tell together.

    All traffic keeps its own, and so do parts whose spread is not known, or far larger than the others foretell, and
    metrics of fewer than 8 parts.
    """
    found = dict(bases)
    groups: dict[str, list[Key]] = {}
    for key, base in bases.items():
        if key[0] != ALL and base.freedom and base.sampling > 0:
            groups.setdefault(key[1], []).append(key)
    for metric, keys in groups.items():
        everywhere = bases.get((ALL, metric))
        if everywhere and everywhere.freedom and len(keys) >= FEWEST_PARTS:
            found |= zip(keys, _moderated([bases[key] for key in keys], everywhere), strict=True)
    return found


def _moderated(bases: Sequence[Baseline], everywhere: Baseline) -> list[Baseline]:
    freedom = np.array([each.freedom for each in bases])
    ratios = np.array([max(LEAST_RATIO, (each.deviation / each.sampling) ** 2) for each in bases])
    usual, borrowed = prior(ratios, freedom)
    odd = ratios > usual * f.isf(ODD, freedom, borrowed)
    together = (borrowed * usual + freedom * ratios) / (borrowed + freedom)
    common = max(0.0, everywhere.deviation**2 - everywhere.sampling**2)
    found = []
    for base, own, ratio in zip(bases, odd.tolist(), together.tolist(), strict=True):
        variance = base.sampling**2 * ratio
        shared = min(1.0, common / variance)
        worth = 1 / (shared**2 / base.freedom + (1 - shared) ** 2 / (base.freedom + borrowed))
        found.append(base if own else replace(base, deviation=math.sqrt(variance), freedom=worth))
    return found


def prior(variances: np.ndarray, freedom: np.ndarray) -> tuple[float, float]:
    """The variance that is usual and the degrees of freedom that it is surely worth.

    From mean and variance of the logarithms: trigamma(d0 / 2) is by how much these scatter more than chi-squared's do.
    Few parts tell that badly, so their scatter is taken as one standard error larger than it is.

    >>> rng = np.random.default_rng(1)
    >>> usual, worth = prior(rng.chisquare(7, 5000) / 7 * 4 / rng.chisquare(4, 5000), np.full(5000, 7.0))
    >>> f"{usual:.1f} {worth:.1f}"  # drawn with 1 and 4
    '1.0 3.9'
    """
    logs = np.log(variances) - digamma(freedom / 2) + np.log(freedom / 2)
    scatter, chance = float(np.var(logs, ddof=1)), float(np.mean(polygamma(1, freedom / 2)))
    excess = max(scatter, chance) * (1 + math.sqrt(2 / (len(logs) - 1))) - chance
    worth = 2 * float(brentq(lambda half: polygamma(1, half) - excess, 1e-3, 1e6))
    return math.exp(float(logs.mean()) + float(digamma(worth / 2)) - math.log(worth / 2)), worth
