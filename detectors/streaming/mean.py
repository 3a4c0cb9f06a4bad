"""Has the mean of bounded rows left what is allowed? Errors, rates, probabilities, scores: one by one, no memory.

With rows scaled to 0..1, the wealth factor of a bet is 1 + stake (x - m) / m against means up to m, and 1 + stake
(m - x) / (1 - m) against means down to m. While the mean of each row, *given the rows before*, lies within tolerance of
the stated mean, each is expected to be at most 1: rows may depend on each other and differ in law. Together they are a
Shiryaev-Roberts e-detector: **the mean number of rows to a false alarm is at least what is asked for.** Source: Shin,
Ramdas and Rinaldo 2024; the bets are those of Waudby-Smith and Ramdas 2024.
"""

from __future__ import annotations

import json
from math import isfinite, log

import numpy as np
from numpy.typing import ArrayLike

from tidegauge.detectors.sequential.bets import STAKES
from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.detectors.streaming.alarm import Alarm, Change, Direction, loaded, one_dimension
from tidegauge.detectors.streaming.evidence import Crossing, Evidence

CHUNK = 2_048
KIND = "mean detector"
_FIELDS = ("mean", "tolerance", "low", "high", "rows_between_false_alarms", "direction")


class MeanDetector:
    """Finds that the mean of rows between ``low`` and ``high`` is no longer ``mean`` plus or minus ``tolerance``.

    Args:
        mean: What it should be.
        tolerance: How far off it does not matter.
        rows_between_false_alarms: At least, on average, while the mean stays within tolerance.
        direction: Whether a rise, a fall or both matter.

    Raises:
        ValueError: a number is out of range, or nothing could ever be found: the tolerance reaches the bounds.

    >>> errors = MeanDetector(0.1, tolerance=0.02, direction="up")
    >>> rng = np.random.default_rng(0)
    >>> errors.update_many(rng.random(2_000) < 0.1)
    []
    >>> [alarm.change for alarm in errors.update_many(rng.random(60) < 0.5)][:1]
    ['up']
    """

    def __init__(
        self,
        mean: float,
        tolerance: float = 0.0,
        rows_between_false_alarms: float = 10_000,
        *,
        low: float = 0.0,
        high: float = 1.0,
        direction: Direction = "both",
    ) -> None:
        if not (isfinite(rows_between_false_alarms) and rows_between_false_alarms > 1):
            raise ValueError(f"rows between false alarms must be more than 1, got {rows_between_false_alarms}")
        if not low < mean < high or not tolerance >= 0:
            raise ValueError(f"the mean must lie between {low} and {high} and the tolerance be 0 or more")
        if direction not in ("both", "up", "down"):
            raise ValueError(f"direction must be both, up or down, got {direction!r}")
        self.mean, self.tolerance, self.low, self.high = float(mean), float(tolerance), float(low), float(high)
        self.rows_between_false_alarms, self.direction = float(rows_between_false_alarms), direction
        self.rows = self.left_out = 0
        self._log_threshold = log(rows_between_false_alarms)
        self._sides = self._bets()
        self._starts, self._slopes = self._lines()
        self._evidence = Evidence.start(len(self._slopes))

    def update(self, value: float) -> Alarm | None:
        """Take in one row, as ``update_many`` does, and with its errors."""
        x = self._checked(np.array([value], dtype=np.float64))
        self.rows += 1
        self.left_out += not isfinite(value)
        self._evidence, crossing = self._evidence.step(self._log_factors(x)[0], self._log_threshold)
        return self._told(crossing, self.rows) if crossing else None

    def update_many(self, values: ArrayLike) -> list[Alarm]:
        """Take in rows in their order of time, as if one by one; every alarm among them, each of which begins anew.

        Rows that are not finite are left out and counted in ``left_out``.

        Raises:
            ValueError: a row lies outside the bounds, or they are no numbers in one dimension; nothing was taken in.
        """
        x = self._checked(one_dimension(values))
        self.left_out += int(np.sum(~np.isfinite(x)))
        return [alarm for start in range(0, len(x), CHUNK) for alarm in self._chunk(x[start : start + CHUNK])]

    def to_json(self) -> str:
        """All of its state, to go on with after a restart."""
        state = {name: getattr(self, name) for name in (*_FIELDS, "rows", "left_out")}
        return json.dumps({"kind": KIND} | state | {"evidence": self._evidence.as_json()})

    @classmethod
    def from_json(cls, text: str) -> MeanDetector:
        """The inverse of ``to_json``. Raises ValueError when ``text`` is no such state."""
        state = loaded(text, KIND)
        try:
            made = cls(**{name: state[name] for name in _FIELDS})
            made.rows, made.left_out = int(state["rows"]), int(state["left_out"])
            made._evidence = Evidence.from_json(state["evidence"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the state of a {KIND}: {type(error).__name__}: {error}") from error
        return made

    def _checked(self, x: FloatArray) -> FloatArray:
        """Infinite rows are none."""
        finite = np.isfinite(x)
        if np.any((x[finite] < self.low) | (x[finite] > self.high)):
            raise ValueError(f"rows must lie between {self.low} and {self.high}; the bounds are known beforehand")
        return np.where(finite, x, np.nan)

    def _chunk(self, x: FloatArray) -> list[Alarm]:
        alarms: list[Alarm] = []
        factors, done = self._log_factors(x), 0
        while done < len(x):
            self._evidence, crossing = self._evidence.after(factors[done:], self._log_threshold)
            if crossing is None:
                break
            done += crossing.at + 1
            alarms.append(self._told(crossing, self.rows + done))
        self.rows += len(x)
        return alarms

    def _bets(self) -> dict[Change, float]:
        """Direction -> the end of what is allowed, on the scale from 0 to 1."""
        width = self.high - self.low
        ends: dict[Change, float] = {
            "up": (self.mean + self.tolerance - self.low) / width,
            "down": (self.mean - self.tolerance - self.low) / width,
        }
        found = {side: end for side, end in ends.items() if self.direction in ("both", side) and 0 < end < 1}
        if not found:
            raise ValueError("the tolerance reaches the bounds: no row could ever speak against the mean")
        return found

    def _lines(self) -> tuple[FloatArray, FloatArray]:
        """Each bet's factor is a start plus a slope times the row, on its own scale."""
        slopes = {"up": lambda m: STAKES / m, "down": lambda m: -STAKES / (1 - m)}
        found = {side: slopes[side](end) for side, end in self._sides.items()}
        starts = [1 - found[side] * end for side, end in self._sides.items()]
        slope = np.concatenate(list(found.values())) / (self.high - self.low)
        return np.concatenate(starts) - slope * self.low, slope

    def _log_factors(self, x: FloatArray) -> FloatArray:
        """n x bets; 0 for a row that is left out."""
        return np.nan_to_num(np.log(self._starts + x[:, np.newaxis] * self._slopes), nan=0.0)

    def _told(self, crossing: Crossing, row: int) -> Alarm:
        """The alarm, after which evidence begins anew."""
        self._evidence = Evidence.start(len(self._slopes), row)
        side = list(self._sides)[crossing.bet // len(STAKES)]
        return Alarm(row, crossing.since, side, crossing.log_e / log(10))
