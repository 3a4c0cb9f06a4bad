"""A mixture of Shiryaev-Roberts e-detectors over several bets, fed with one row or many at once; pure.

For factors L_t that are expected to be at most 1, given what came before, while nothing has changed:

    M_t = L_t (1 + M_{t-1}),  M_0 = 0;   alarm once the mean of M over the bets reaches A

comes after A rows on average or later (``tidegauge.detectors.sequential.e_detectors``). Many rows take one pass:
with C_t the sum of log L up to t, log M_t = C_t + log(M_0 + sum of exp(-C_{j-1}) for j = 1..t). Beside it runs the
e-CUSUM K_t = L_t max(1, K_{t-1}) of each bet, whose last beginning dates the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np

from tidegauge.detectors.sequential.e_detectors import mixture
from tidegauge.detectors.statistics.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where in the rows that were given an alarm was reached.

    ``at`` counts from 0; ``since`` is the row at which the leading ``bet`` began to win, counted as ``Evidence.rows``
    does; ``log_e`` is natural.
    """

    at: int
    since: int
    bet: int
    log_e: float


@dataclass(frozen=True)
class Evidence:
    """Where the e-detectors of one stream stand, plain data: logarithms, one a bet.

    Attributes:
        sums: log M.
        chains: log K.
        began: Row (the first is 1) at which each K began anew.
        rows: How many factors were taken in.
    """

    sums: FloatArray
    chains: FloatArray
    began: FloatArray
    rows: int = 0

    @classmethod
    def start(cls, bets: int, rows: int = 0) -> Evidence:
        """None yet; the next row is ``rows`` + 1."""
        return cls(np.full(bets, -np.inf), np.full(bets, -np.inf), np.full(bets, float(rows + 1)), rows)

    def after(self, factors: FloatArray, log_threshold: float) -> tuple[Evidence, Crossing | None]:
        """With the logarithms of further factors (n x bets), up to and including the first that reaches the threshold.

        >>> evidence, crossing = Evidence.start(1).after(np.log([[3.0], [2.0], [9.0]]), np.log(8.0))
        >>> crossing.at, round(float(np.exp(evidence.sums[0])), 6)
        (1, 8.0)
        """
        total = np.cumsum(factors, axis=0)
        before = np.vstack([np.zeros(factors.shape[1]), total[:-1]])
        sums = total + np.logaddexp.accumulate(np.vstack([self.sums, -before]), axis=0)[1:]
        found = mixture(sums, 1)
        over = np.flatnonzero(found >= log_threshold)
        last = int(over[0]) if len(over) else len(factors) - 1
        least = np.minimum.accumulate(np.vstack([-self.chains, before]), axis=0)[1:]
        anew = before <= least
        place = np.where(anew, np.arange(1, len(factors) + 1)[:, None], 0)
        newest = np.maximum.accumulate(place, axis=0)[last]
        began = np.where(newest > 0, self.rows + newest, self.began)
        after = replace(self, sums=sums[last], chains=(total - least)[last], began=began, rows=self.rows + last + 1)
        if not len(over):
            return after, None
        leading = int(np.argmax(sums[last]))
        return after, Crossing(last, int(began[leading]), leading, float(found[last]))

    def step(self, factor: FloatArray, log_threshold: float) -> tuple[Evidence, Crossing | None]:
        """The same as ``after`` with the factors of one row, several times as fast."""
        sums = factor + np.logaddexp(0.0, self.sums)
        began = np.where(self.chains <= 0, self.rows + 1.0, self.began)
        after = Evidence(sums, factor + np.maximum(0.0, self.chains), began, self.rows + 1)
        top = float(sums.max())
        if top < log_threshold:  # the mean is no more than the greatest
            return after, None
        found = top + log(float(np.exp(sums - top).mean()))
        if found < log_threshold:
            return after, None
        leading = int(np.argmax(sums))
        return after, Crossing(0, int(began[leading]), leading, found)

    def as_json(self) -> dict[str, Any]:
        """Plain data; minus infinity is None."""
        logs = {name: [_none(each) for each in getattr(self, name)] for name in ("sums", "chains")}
        return logs | {"began": self.began.tolist(), "rows": self.rows}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Evidence:
        """The inverse of ``as_json``."""
        logs = [np.array([-np.inf if each is None else each for each in state[name]]) for name in ("sums", "chains")]
        return cls(logs[0], logs[1], np.array(state["began"], dtype=np.float64), int(state["rows"]))


def _none(value: float) -> float | None:
    return None if value == -np.inf else float(value)
