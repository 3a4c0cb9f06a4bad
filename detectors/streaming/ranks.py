"""Has the law of the rows changed? Without a baseline, whatever that law is, rows one by one, in bounded memory.

Each row gets its rank among those before it as a p-value, p = (#{greater} + U (#{equal} + 1)) / (n + 1). While all
rows come from one law these are independent and uniform (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random
World, 2005), whatever the law: heavy tails, ties and two values alike. z = the normal quantile of 1 - p is then normal,
and each likelihood ratio of another normal law against it is a factor that is expected to be 1: a shift by b,
exp(b z - b²/2), and a spread s, exp(z² (1 - 1/s²) / 2) / s. Together they are a Shiryaev-Roberts e-detector:
**the mean number of rows to a false alarm is at least what is asked for**, exactly, for independent rows of one law.

Ranks among *all* earlier rows need them all. So after ``memory`` rows the rows are forgotten and ranks begin anew,
while the evidence goes on: p-values of the new stretch are again independent of all before. A window that slides would
not do: its ranks depend on each other. The price is that for some dozens of rows there is little to compare with, and
that what crept in before is taken for the usual. After an alarm both begin anew.

Not for rows that depend on each other: a daily season is a change of law to it, twice a day. The tests of the detector
loop look by the hour, against the same hour of the week, for that reason.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from math import isfinite, isnan, log, nan
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.detectors.streaming.alarm import Alarm, Change, Direction, loaded, one_dimension
from tidegauge.detectors.streaming.evidence import Crossing, Evidence

SHIFTS: FloatArray = np.array([0.15, 0.35, 0.75, 1.5])
SPREADS: FloatArray = np.array([0.5, 0.75, 1.4, 2.2])
CLIP = 1e-12
CHUNK = 2_048
KIND = "rank detector"


class RankDetector:
    """Finds that a stream of numbers has changed: its level, up or down, or its spread.

    Args:
        rows_between_false_alarms: At least, on average, while nothing has changed.
        rng: Breaks ties between equal rows.
        direction: ``both`` also finds a change of spread; ``up`` and ``down`` ignore all else.
        memory: Rows that are kept to compare with, at most; 8 bytes each.

    Raises:
        ValueError: a number is out of range.

    >>> detector = RankDetector(10_000, rng=np.random.default_rng(0))
    >>> rng = np.random.default_rng(1)
    >>> detector.update_many(rng.normal(size=1_000))
    []
    >>> [alarm.change for alarm in detector.update_many(rng.normal(2, size=30))]
    ['up']
    """

    def __init__(
        self,
        rows_between_false_alarms: float = 10_000,
        *,
        rng: np.random.Generator,
        direction: Direction = "both",
        memory: int = 5_000,
    ) -> None:
        if not (isfinite(rows_between_false_alarms) and rows_between_false_alarms > 1):
            raise ValueError(f"rows between false alarms must be more than 1, got {rows_between_false_alarms}")
        if memory < 50:
            raise ValueError(f"memory must be 50 rows or more, got {memory}")
        if direction not in ("both", "up", "down"):
            raise ValueError(f"direction must be both, up or down, got {direction!r}")
        self.rows_between_false_alarms, self.direction, self.memory = rows_between_false_alarms, direction, memory
        self.rows = self.left_out = 0
        self._rng = np.random.Generator(np.random.PCG64(int(rng.integers(2**63))))
        self._known: list[float] = []
        self._bets, self._log_threshold = _Bets(direction), log(rows_between_false_alarms)
        self._evidence = Evidence.start(len(self._bets))

    def update(self, value: float) -> Alarm | None:
        """Take in one row. One that is not finite is left out and counted in ``left_out``."""
        self.rows += 1
        luck = self._rng.random()
        p = self._rank(float(value), luck)
        self.left_out += isnan(p)
        factor = self._bets.nothing if isnan(p) else self._bets.log_factors(np.array([p]))[0]
        self._evidence, crossing = self._evidence.step(factor, self._log_threshold)
        return self._told(crossing, self.rows) if crossing else None

    def update_many(self, values: ArrayLike) -> list[Alarm]:
        """Take in rows in their order of time, as if one by one; every alarm among them.

        Raises:
            ValueError: they are not numbers in one dimension; nothing was taken in.
        """
        x = one_dimension(values)
        return [alarm for start in range(0, len(x), CHUNK) for alarm in self._chunk(x[start : start + CHUNK])]

    def to_json(self) -> str:
        """All of its state, to go on with after a restart."""
        state = {name: getattr(self, name) for name in ("rows_between_false_alarms", "direction", "memory")}
        seen = {"rows": self.rows, "left_out": self.left_out, "known": self._known}
        random = {"random": self._rng.bit_generator.state}
        return json.dumps({"kind": KIND} | state | seen | random | {"evidence": self._evidence.as_json()})

    @classmethod
    def from_json(cls, text: str) -> RankDetector:
        """The inverse of ``to_json``. Raises ValueError when ``text`` is no such state."""
        state = loaded(text, KIND)
        try:
            return cls._of(state)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not the state of a {KIND}: {type(error).__name__}: {error}") from error

    @classmethod
    def _of(cls, state: Mapping[str, Any]) -> RankDetector:
        made = cls(
            state["rows_between_false_alarms"],
            rng=np.random.default_rng(0),
            direction=state["direction"],
            memory=state["memory"],
        )
        made.rows, made.left_out, made._known = state["rows"], state["left_out"], sorted(map(float, state["known"]))
        made._rng.bit_generator.state = state["random"]
        made._evidence = Evidence.from_json(state["evidence"])
        return made

    def _chunk(self, x: FloatArray) -> list[Alarm]:
        """An alarm forgets everything, so what comes after it is ranked again."""
        alarms: list[Alarm] = []
        luck, done = self._rng.random(len(x)), 0
        while done < len(x):
            p = self._ranked(x[done:].tolist(), luck[done:].tolist())
            factors = np.nan_to_num(self._bets.log_factors(p), nan=0.0)
            self._evidence, crossing = self._evidence.after(factors, self._log_threshold)
            if crossing is None:
                break
            done += crossing.at + 1
            alarms.append(self._told(crossing, self.rows + done))
        self.rows += len(x)
        self.left_out += int(np.sum(~np.isfinite(x)))
        return alarms

    def _ranked(self, rows: list[float], luck: list[float]) -> FloatArray:
        return np.array([self._rank(x, u) for x, u in zip(rows, luck, strict=True)])

    def _rank(self, x: float, luck: float) -> float:
        """The p-value of a row, which is then kept; NaN for one that is left out.

        The old rows are forgotten *before* a row is ranked: one that was ranked among them and then compared with
        would carry what its rank told into the next p-value.
        """
        if not isfinite(x):
            return nan
        known = self._known
        if len(known) >= self.memory:
            known.clear()
        count, below, up_to = len(known), bisect_left(known, x), bisect_right(known, x)
        known.insert(below, x)
        return (count - up_to + luck * (up_to - below + 1)) / (count + 1)

    def _told(self, crossing: Crossing, row: int) -> Alarm:
        """The alarm, after which everything begins anew."""
        self._known.clear()
        self._evidence = Evidence.start(len(self._bets), row)
        return self._bets.alarm(crossing, row)


class _Bets:
    """The likelihood ratios z a - z² b - c, and what each is a bet on."""

    def __init__(self, direction: Direction) -> None:
        shifts = {"both": np.concatenate([SHIFTS, -SHIFTS]), "up": SHIFTS, "down": -SHIFTS}[direction]
        spreads = SPREADS if direction == "both" else np.empty(0)
        none = np.zeros(len(spreads)), np.zeros(len(shifts))
        self._linear = np.concatenate([shifts, none[0]])
        self._square = np.concatenate([none[1], (1 - spreads**-2) / 2])
        self._cost = np.concatenate([shifts**2 / 2, np.log(spreads)])
        self._names: list[Change] = ["up" if each > 0 else "down" for each in shifts.tolist()]
        self._names += ["wider" if each > 1 else "narrower" for each in spreads.tolist()]
        self.nothing = np.zeros(len(self))

    def __len__(self) -> int:
        return len(self._names)

    def log_factors(self, p: FloatArray) -> FloatArray:
        """n x bets; NaN where p is."""
        z = -ndtri(np.clip(p, CLIP, 1 - CLIP))[:, np.newaxis]
        return np.asarray(z * self._linear + z * z * self._square - self._cost)

    def alarm(self, crossing: Crossing, row: int) -> Alarm:
        """In words."""
        return Alarm(row, crossing.since, self._names[crossing.bet], crossing.log_e / log(10))
