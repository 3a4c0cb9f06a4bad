"""A betting e-process for the mean of bounded values and for rates.

Somebody who does not believe that the mean is m stakes a share of his money on every value. While the mean is m, or
on the other side of it, his wealth is a supermartingale that began at 1, whatever the law of the values and however
often it is looked at: it exceeds 1/alpha with a chance of at most alpha, ever (Ville 1939). It grows as soon as the
mean is elsewhere. Source: Waudby-Smith and Ramdas, Journal of the Royal Statistical Society B, 2024 (arXiv 2010.09686).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log

import numpy as np
from scipy.special import logsumexp

from tidegauge.detectors.statistics.arrays import FloatArray, floats

STAKES: FloatArray = np.array([0.01, 0.03, 0.1, 0.3, 0.6, 0.9])
"""Shares of the largest bet that cannot ruin; a mixture of them needs no guess of how far the mean has moved."""


@dataclass(frozen=True)
class BettingProcess:
    """Evidence against the mean ``m`` of values from 0 to 1, given what came before each; plain data, to be stored.

    ``wealth`` holds logarithms, a row for each side (a greater mean, a smaller one) and a column for each stake.
    """

    m: float
    wealth: FloatArray
    rows: int = 0

    @classmethod
    def start(cls, m: float) -> BettingProcess:
        """Before the first value.

        Raises:
            ValueError: ``m`` is not between 0 and 1, both left out.
        """
        if not 0 < m < 1:
            raise ValueError(f"the mean to test must lie between 0 and 1, got {m}")
        return cls(m, np.zeros((2, len(STAKES))))

    def after(self, values: FloatArray) -> BettingProcess:
        """With these values, in their order of time.

        Raises:
            ValueError: a value is not from 0 to 1.

        >>> process = BettingProcess.start(0.5).after(np.full(100, 0.9))
        >>> process.e_value() > 1e6, process.e_value("smaller") < 1e-1
        (True, True)
        """
        x = floats(values)
        if not np.all((x >= 0) & (x <= 1)):
            raise ValueError("values must be from 0 to 1, without NaN; scale them by bounds that are known beforehand")
        sides = (STAKES / self.m, x - self.m), (STAKES / (1 - self.m), self.m - x)
        gains = [np.log1p(np.outer(gap, bets)).sum(axis=0) for bets, gap in sides]
        return replace(self, wealth=self.wealth + np.array(gains), rows=self.rows + len(x))

    def after_rates(self, hits: int, rows: int) -> BettingProcess:
        """With ``rows`` values of which ``hits`` are 1 and the others 0: the order does not matter.

        >>> one_by_one = BettingProcess.start(0.2).after(np.array([1.0, 0.0, 0.0]))
        >>> at_once = BettingProcess.start(0.2).after_rates(1, 3)
        >>> bool(np.allclose(one_by_one.wealth, at_once.wealth))
        True
        """
        if not 0 <= hits <= rows:
            raise ValueError(f"hits must be from 0 to rows, got {hits} of {rows}")
        m, misses = self.m, rows - hits
        greater = hits * np.log1p(STAKES / m * (1 - m)) + misses * np.log1p(-STAKES)
        smaller = hits * np.log1p(-STAKES) + misses * np.log1p(STAKES / (1 - m) * m)
        return replace(self, wealth=self.wealth + np.array([greater, smaller]), rows=self.rows + rows)

    def log_e(self, side: str = "both") -> float:
        """Logarithm of the e-value against: ``greater``, ``smaller``, or both by halves."""
        sides = {"greater": self.wealth[:1], "smaller": self.wealth[1:], "both": self.wealth}[side]
        return float(logsumexp(sides)) - log(sides.size)

    def e_value(self, side: str = "both") -> float:
        """How many times the stake has multiplied; its inverse is a p-value that holds at any time."""
        return float(np.exp(min(self.log_e(side), 700.0)))
