"""A reference cut into windows like those that are watched; groups of them take turns in being left out.

What is left out plays the new traffic: as it is (whole windows, which keep all dependence within a window), and, where
a window has several days, put together from its group's days, each from the same place of a window drawn at random
(a block bootstrap of days, Künsch 1989; it keeps dependence within a day and loses that between days, so it is calmer
than whole windows where spells of weather last longer than a day).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.model import Window

HOUR_S, DAY_S = 3600, 86_400
LEAST_WINDOWS, LEAST_ROWS = 4, 50
GROUPS = 4


@dataclass(frozen=True)
class Cut:
    """Of each row its window (-1: none) and its day within it; ``windows`` are those with 50 rows or more."""

    window: IntArray
    day: IntArray
    windows: tuple[int, ...]
    first: int
    length_s: int

    @classmethod
    def of(cls, seconds: IntArray, length_s: int) -> Cut:
        """Cut into windows from the first midnight UTC on (shorter ones: from a multiple of their length).

        As in the drift loop, whole are windows from the hour of the first row to that of the last.
        """
        grid, hour = min(length_s, DAY_S), int(seconds.min()) // HOUR_S * HOUR_S
        first = -(-hour // grid) * grid
        number = (seconds - first) // length_s
        whole = (int(seconds.max()) // HOUR_S * HOUR_S + HOUR_S - first) // length_s
        number = np.where((seconds >= first) & (number < max(whole, 0)), number, -1)
        day = np.where(number >= 0, (seconds - first) % length_s // DAY_S, -1)
        counts = np.bincount(number[number >= 0], minlength=1)
        kept = tuple(int(at) for at in np.flatnonzero(counts >= LEAST_ROWS))
        return cls(number, day, kept, first, length_s)

    @property
    def days(self) -> int:
        """Days of a window, at least 1."""
        return max(1, self.length_s // DAY_S)

    def at(self, number: int) -> Window:
        """When a window is."""
        start = datetime.fromtimestamp(self.first + number * self.length_s, UTC)
        return Window(start, start + timedelta(seconds=self.length_s))

    def groups(self, rng: np.random.Generator) -> list[tuple[int, ...]]:
        """The windows in up to 4 groups at random, each window in one."""
        shuffled = rng.permutation(np.array(self.windows, dtype=np.int64))
        return [tuple(sorted(part.tolist())) for part in np.array_split(shuffled, min(GROUPS, len(shuffled)))]

    def rows_of(self, number: int) -> IntArray:
        """The rows of a window."""
        return np.flatnonzero(self.window == number)

    def drawn(self, group: tuple[int, ...], rng: np.random.Generator) -> IntArray:
        """The rows of a window put together from days of ``group``."""
        chosen = rng.choice(np.array(group), size=self.days)
        parts = [np.flatnonzero((self.window == at) & (self.day == day)) for day, at in enumerate(chosen)]
        return np.concatenate(parts)

    def others(self, group: tuple[int, ...]) -> IntArray:
        """The rows of no window of ``group``."""
        return np.flatnonzero(~np.isin(self.window, group))
