"""Distributions day by day: every feature counted in cells frozen on the days before, for all traffic and each part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.rows import Floats, Ints, Mask
from tidegauge.detectors.diagnose.verdict import MOST_STRENGTH
from tidegauge.detectors.statistics.bins import NumericBins
from tidegauge.detectors.traffic import Category

CELLS = 20
FLOOR = 0.05
"""A distance of distribution functions below this does not matter."""
SURE = 1.7
"""Times the square root of 1/n + 1/m: the Kolmogorov-Smirnov distance that chance exceeds once in 200."""


@dataclass(frozen=True)
class Cells:
    """The cell of each row, -1 where the value is missing, and the edges."""

    codes: Ints
    edges: Floats

    @classmethod
    def of(cls, values: Floats, before: Mask) -> Cells:
        """Cells between quantiles of the days before."""
        edges = np.array(NumericBins.fit(values[before], CELLS).edges)
        return cls(cut(values, edges), edges)

    @property
    def count(self) -> int:
        """How many cells."""
        return len(self.edges) + 1


def cut(values: Floats, edges: Floats) -> Ints:
    """The cell of each value; -1 for what is not finite."""
    found = np.searchsorted(edges, values, side="right")
    return np.where(np.isfinite(values), found, -1).astype(np.int64)


def daily(case: Case, cells: Cells, column: Category | None = None) -> Floats:
    """Rows by (part, day, cell); one part, all traffic, without ``column``."""
    part = np.zeros(case.rows.count, dtype=np.int64) if column is None else column.codes.astype(np.int64)
    parts = 1 if column is None else len(column.names)
    kept = (case.slot >= 0) & (cells.codes >= 0) & (part >= 0)
    at = (part[kept] * case.days + case.slot[kept]) * cells.count + cells.codes[kept]
    counted = np.bincount(at, minlength=parts * case.days * cells.count).astype(np.float64)
    return counted.reshape(parts, case.days, cells.count)


@dataclass(frozen=True)
class Moved:
    """For each part: the distance since from before, the usual one, and how many rows there were since."""

    distance: Floats
    usual: Floats
    rows: Floats

    @property
    def strength(self) -> Floats:
        """Distance over usual, at most 32."""
        found: Floats = np.minimum(self.distance / self.usual, MOST_STRENGTH)
        return found


def moved(case: Case, counts: Floats) -> Moved:
    """How far each part's distribution went, against stretches of the days before among themselves."""
    zero = -case.first
    before, since = counts[:, :zero].sum(1), counts[:, zero:].sum(1)
    usual = np.full(len(counts), FLOOR)
    for start, end in case.spans:
        inside = counts[:, start + zero : end + zero].sum(1)
        usual = np.maximum(usual, distance(inside, before - inside))
    n, m = before.sum(-1), since.sum(-1)
    with np.errstate(divide="ignore"):
        chance = SURE * np.sqrt(1 / np.maximum(n, 1e-9) + 1 / np.maximum(m, 1e-9))
    return Moved(distance(since, before), np.maximum(usual, chance), m)


def distance(one: Floats, other: Floats) -> Floats:
    """The largest distance of two distribution functions over the cells (last axis), 0 to 1; 0 where one is empty."""
    n, m = one.sum(-1, keepdims=True), other.sum(-1, keepdims=True)
    gap = np.abs(np.cumsum(one, -1) / np.maximum(n, 1) - np.cumsum(other, -1) / np.maximum(m, 1)).max(-1)
    found: Floats = np.where((n[..., 0] > 0) & (m[..., 0] > 0), gap, 0.0)
    return found
