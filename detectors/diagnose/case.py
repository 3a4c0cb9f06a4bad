"""The two windows of a diagnosis, before and since, cut into days that are counted from ``since``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.diagnose.rows import Floats, Hashes, Ints, Mask, Rows, Truth
from tidegauge.detectors.diagnose.verdict import Part
from tidegauge.detectors.traffic import Category

if TYPE_CHECKING:
    from tidegauge.detectors.diagnose.design import Design

DAY_S = 86_400
FEWEST_DAYS = 3
"""Days before the change without which nothing can be called unusual."""


@dataclass(frozen=True)
class Notes:
    """What is counted rather than read row by row.

    Attributes:
        versions: Key of the version tuple, value, predictions before and since.
        times: Predictions by what was wrong with their time, and whether since.
        deployments: When, version, role, note.
        outcomes: Name, day counted from ``since``, how many, their sum.
    """

    versions: Sequence[tuple[str, str, int, int]] = ()
    times: Mapping[tuple[str, bool], int] = field(default_factory=dict)
    deployments: Sequence[tuple[datetime, str, str, str]] = ()
    outcomes: Sequence[tuple[str, int, int, float]] = ()


@dataclass(frozen=True)
class Case:
    """What the checks see. Days are those of 24 hours counted from ``since``: 0 is the first after it.

    Attributes:
        rows: Predictions of both windows, each id and time once.
        repeats: Of the rows as they came, which said again what an earlier one had said, with their days.
        truth: Labels of the model in that time, whether or not their prediction is known.
        ids_before: Ids of predictions of the days before both windows.
        copies: The same predictions as training has them, or None.
        slot_s: Seconds of a "day", where there is too little time for days of 24 hours.
    """

    model: str
    since: datetime
    until: datetime
    rows: Rows
    repeats: tuple[Mask, Ints]
    truth: Truth
    ids_before: Hashes
    copies: Rows | None = None
    notes: Notes = Notes()
    slot_s: int = DAY_S

    @cached_property
    def day(self) -> Ints:
        """The day of each row, negative before ``since``."""
        return days_of(self.rows.seconds, self.since, self.slot_s)

    @cached_property
    def before(self) -> Mask:
        """Rows of the days before."""
        return self.day < 0

    @cached_property
    def after(self) -> Mask:
        """Rows since."""
        return self.day >= 0

    @cached_property
    def first(self) -> int:
        """The first day that is there whole, negative."""
        start = int(self.day.min()) if self.rows.count else 0
        return start + 1 if start < -1 else start

    @cached_property
    def last(self) -> int:
        """The day of ``until``."""
        return int(np.ceil((self.until - self.since).total_seconds() / self.slot_s)) - 1

    @cached_property
    def whole(self) -> int:
        """How many days since are over."""
        return int((self.until - self.since).total_seconds() // self.slot_s)

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """Stretches of the days before, as long as that since or a quarter of all: first day, day after the last."""
        return stretches(self.first, max(1, self.last + 1))

    @cached_property
    def days(self) -> int:
        """How many days there are, from ``first`` on."""
        return self.last + 1 - self.first

    @cached_property
    def slot(self) -> Ints:
        """``day`` counted from ``first``: an index from 0 on; rows of the day before lie at -1."""
        return np.maximum(self.day - self.first, -1)

    @cached_property
    def dimensions(self) -> dict[str, Category]:
        """Dimensions with at least two values."""
        return {name: column for name, column in self.rows.traffic.dimensions.items() if _divides(column)}

    @cached_property
    def design(self) -> Design:
        """What features, and the score, should be by the others."""
        from tidegauge.detectors.diagnose.design import Design

        return Design.of(self)

    @cached_property
    def hourly(self) -> dict[str, Category]:
        """Numbers with one reading an hour, as of clock and weather, and the dimension in whose values it is."""
        from tidegauge.detectors.diagnose.timing import hours_of, steady

        hour, numbers = hours_of(self), self.rows.traffic.numeric
        found = {name: steady(self, values, hour) for name, values in numbers.items() if name != "score"}
        return {name: column for name, column in found.items() if column is not None}

    def only(self, keep: Mask) -> Case:
        """The same case with some of the rows."""
        return replace(self, rows=self.rows.take(keep))

    def without(self, part: Part) -> Case:
        """The same case with the rows of ``part`` left out."""
        return self.only(~self.rows.rows_in(part))

    def sums(self, values: NDArray[np.generic]) -> Floats:
        """The sum of a value per row, by day from ``first`` on."""
        kept = self.slot >= 0
        found = np.bincount(self.slot[kept], weights=values[kept].astype(np.float64), minlength=self.days)
        return found.astype(np.float64)

    def sums_by(self, column: Category, values: NDArray[np.generic]) -> Floats:
        """As ``sums``, one line for each value of a dimension."""
        kept = (self.slot >= 0) & (column.codes >= 0)
        at = column.codes[kept].astype(np.int64) * self.days + self.slot[kept]
        flat = np.bincount(at, weights=values[kept].astype(np.float64), minlength=len(column.names) * self.days)
        return flat.reshape(len(column.names), self.days).astype(np.float64)


def days_of(seconds: Floats, since: datetime, day_s: int = DAY_S) -> Ints:
    """Whole days from ``since`` to each moment, negative before it."""
    found: Ints = np.floor((seconds - since.timestamp()) / day_s).astype(np.int64)
    return found


def stretches(first: int, length: int) -> list[tuple[int, int]]:
    """Stretches of the days ``first`` to -1, overlapping by half.

    >>> stretches(-8, 2)
    [(-8, -6), (-7, -5), (-6, -4), (-5, -3), (-4, -2), (-3, -1), (-2, 0)]
    """
    size = max(1, min(length, -first // 4))
    return [(start, start + size) for start in range(first, -size + 1, max(1, size // 2))]


def _divides(column: Category) -> bool:
    return len(np.unique(column.codes[column.codes >= 0])) > 1
