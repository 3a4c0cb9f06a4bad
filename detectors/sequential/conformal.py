"""A conformal test martingale against a fixed reference, for any feature: it needs an order and nothing else.

The rank of a new value among k reference values gives p = (#{greater} + U (#{equal} + 1)) / (k + 1), uniform while
both come from one law. The simple jumper bets 1 + eps (p - 1/2) with eps in {-1, 0, 1}, and moves a share J of the
money between the three before each value (Vovk et al., arXiv 2102.10439); the wealth of several J is added up (the
mixture jumper), so that neither a sudden nor a lasting change must be guessed at.

Against a *fixed* reference the p-values share its luck: their mean lies off 1/2 by about 1/sqrt(12 k), for ever, and
a plain jumper finds that in the end. So the bet is charged ``slack``: the factor 1 + eps (p - 1/2) - |eps| slack is
expected to be at most 1 whenever the mean of p, given this reference, lies within slack of 1/2. By Hoeffding's
inequality slack = sqrt(ln(2/delta) / (2 k)) does it for all but a share delta of references.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, sqrt

import numpy as np
from scipy.special import logsumexp

from tidegauge.detectors.statistics.arrays import FloatArray, floats

SIDES: FloatArray = np.array([-1.0, 0.0, 1.0])
JUMPS: FloatArray = np.array([0.0001, 0.001, 0.01, 0.1])


def slack_of(k: int, delta: float = 0.05) -> float:
    """How far the mean rank may lie off 1/2 by the reference's luck, but for a share ``delta`` of references.

    >>> round(slack_of(10_000), 4)
    0.0136
    """
    return sqrt(log(2 / delta) / (2 * k))


def p_values(reference: FloatArray, values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Conformal p-values of ``values`` against a sorted reference, small for large values; ``rng`` breaks ties.

    >>> p_values(np.arange(99.0), np.array([1000.0, -1.0]), np.random.default_rng(0)).round(1).tolist()
    [0.0, 1.0]
    """
    known, x = floats(reference), floats(values)
    up_to = np.searchsorted(known, x, side="right")
    below = np.searchsorted(known, x, side="left")
    greater, equal = len(known) - up_to, up_to - below
    return np.asarray((greater + rng.random(len(x)) * (equal + 1)) / (len(known) + 1))


@dataclass(frozen=True)
class Jumper:
    """The wealth of the mixture jumper, plain data in logarithms: a row for each J, a column for each eps."""

    slack: float
    wealth: FloatArray

    @classmethod
    def start(cls, slack: float = 0.0) -> Jumper:
        """Before the first p-value; ``slack`` as the module text says, 0 only where the reference grows along.

        Raises:
            ValueError: ``slack`` is not from 0 to below 1/2: the reference is too short.
        """
        if not 0 <= slack < 0.5:
            raise ValueError(f"slack must be from 0 to below 0.5, got {slack:g}: take a longer reference")
        return cls(slack, np.full((len(JUMPS), len(SIDES)), -log(len(SIDES))))

    def after(self, p: FloatArray) -> Jumper:
        """With these p-values, in their order of time.

        >>> Jumper.start().after(np.full(50, 0.02)).log_e() > 10
        True
        """
        top = float(self.wealth.max())
        wealth, jumps = np.exp(self.wealth - top), JUMPS[:, np.newaxis]
        for factor in 1 + np.outer(floats(p) - 0.5, SIDES) - np.abs(SIDES) * self.slack:
            total = wealth.sum(axis=1, keepdims=True)
            wealth = ((1 - jumps) * wealth + jumps / len(SIDES) * total) * factor
            if not 1e-100 < (most := float(wealth.max())) < 1e100:
                wealth, top = wealth / most, top + log(most)
        with np.errstate(divide="ignore"):
            return replace(self, wealth=np.log(wealth) + top)

    def log_e(self) -> float:
        """Logarithm of the wealth: an e-value at any time."""
        return float(logsumexp(self.wealth)) - log(len(JUMPS))
