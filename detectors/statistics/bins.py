"""Cells frozen on the reference, so that two evaluations count the same things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from heapq import nsmallest

import numpy as np
from numpy.typing import ArrayLike

from tidegauge.detectors.statistics.arrays import FloatArray, IntArray, finite, floats

MOST_BINS = 10
ROWS_PER_BIN = 50
LEAST_COUNT = 10
"""Categories under this are rare: those that made 5 rows by luck would look as if they shrank in every window."""
MOST_CATEGORIES = 20
BLOCK = 65_536
SAMPLED_FROM, SAMPLE, FEWEST = 200_000, 20_000, 1_000


def default_bins(rows: int) -> int:
    """min(10, floor(N / 50)), and at least 2.

    >>> default_bins(30), default_bins(260), default_bins(9000)
    (2, 5, 10)
    """
    return max(2, min(MOST_BINS, rows // ROWS_PER_BIN))


@dataclass(frozen=True, slots=True)
class NumericBins:
    """Half-open cells between ``edges``, the two outer ones open: (-inf, e0), [e0, e1), ..., [ek, inf)."""

    edges: tuple[float, ...]

    @classmethod
    def fit(cls, reference: ArrayLike, bins: int | None = None) -> NumericBins:
        """Quantile edges of the finite values.

        A feature with no more values than bins gets one cell a value, and one on each side for what was never seen.
        Otherwise a value that fills a whole bin gets a cell of its own. Of more than 200,000 rows 20,000 are drawn, the
        same at every call: any edges do that were frozen before the window came, and a cell between these holds the
        share of rows that it should to within about 0.3 % of all rows.

        >>> NumericBins.fit(np.arange(1000.0), bins=4).edges
        (249.75, 499.5, 749.25)
        >>> NumericBins.fit(np.array([0.0, 1.0] * 500)).edges
        (-0.5, 0.5, 1.5)
        """
        values = finite(_drawn(floats(reference)))[0]
        if not len(values):
            return cls(())
        wanted = default_bins(len(values)) if bins is None else max(2, bins)
        ordered = np.sort(values)
        found = _first_values(ordered, wanted)
        edges = _around(found) if len(found) <= wanted else _quantiles(ordered, wanted)
        return cls(tuple(edges.tolist()))

    @property
    def cells(self) -> int:
        """How many finite cells there are."""
        return len(self.edges) + 1

    def counts(self, values: ArrayLike) -> IntArray:
        """Rows in each finite cell; NaN and infinities are in none of them.

        A comparison and a count per edge, over rows that stay in the processor's cache, is about twenty times as fast
        as looking each value up.

        >>> NumericBins((0.0, 2.0)).counts([-1.0, 0.0, 1.0, 2.0, float("nan"), float("inf")]).tolist()
        [1, 2, 1]
        """
        array = floats(values)
        below, rows = np.zeros(len(self.edges), dtype=np.int64), 0
        room = np.empty(min(len(array), BLOCK), dtype=np.bool_)
        for at in range(0, len(array), BLOCK):
            block = array[at : at + BLOCK]
            mask = np.isfinite(block, out=room[: len(block)])
            if (kept := int(np.count_nonzero(mask))) < len(block):
                block, mask = block[mask], room[:kept]
            rows += kept
            for cell, edge in enumerate(self.edges):
                below[cell] += np.count_nonzero(np.less(block, edge, out=mask))
        return np.diff(below, prepend=0, append=rows)

    def missing(self, values: ArrayLike) -> int:
        """Rows whose value is NaN or None.

        >>> NumericBins(()).missing([1.0, None, float("nan")])
        2
        """
        return int(np.count_nonzero(np.isnan(floats(values))))

    def non_finite(self, values: ArrayLike) -> int:
        """Rows whose value is plus or minus infinity.

        >>> NumericBins(()).non_finite([1.0, float("inf"), float("-inf")])
        2
        """
        return int(np.count_nonzero(np.isinf(floats(values))))

    def tally(self, values: ArrayLike) -> IntArray:
        """The finite cells, then the missing and the non-finite rows: every row is counted once.

        >>> NumericBins((0.0,)).tally([-1.0, 1.0, float("nan"), float("inf")]).tolist()
        [1, 1, 1, 1]
        """
        return np.append(self.counts(values), [self.missing(values), self.non_finite(values)])


def _drawn(values: FloatArray) -> FloatArray:
    """Some rows of very many, or all where too few of those have a value."""
    if len(values) <= SAMPLED_FROM:
        return values
    some = values[_places(len(values))]
    return some if np.count_nonzero(np.isfinite(some)) >= FEWEST else values


@lru_cache(maxsize=4)
def _places(rows: int) -> IntArray:
    return np.random.default_rng(0).integers(0, rows, SAMPLE)


def _first_values(ordered: FloatArray, wanted: int) -> FloatArray:
    """The distinct values in order; stops soon after more than ``wanted`` were met."""
    found: list[float] = []
    at = 0
    while at < len(ordered) and len(found) <= wanted:
        found.append(float(ordered[at]))
        at = int(np.searchsorted(ordered, ordered[at], side="right"))
    return np.array(found)


def _around(values: FloatArray) -> FloatArray:
    """Edges half-way between the values, and half a gap outside the first and the last."""
    if len(values) == 1:
        return np.array([values[0], np.nextafter(values[0], np.inf)])
    half = values[1:] / 2 - values[:-1] / 2
    with np.errstate(over="ignore"):
        edges = np.concatenate([[values[0] - half[0]], values[:-1] + half, [values[-1] + half[-1]]])
    return np.unique(edges[np.isfinite(edges)])


def _quantiles(ordered: FloatArray, bins: int) -> FloatArray:
    at = np.arange(1, bins) / bins * (len(ordered) - 1)
    low = at.astype(np.int64)
    share = at - low
    edges = ordered[low] * (1 - share) + ordered[low + 1] * share
    filled = edges[1:][edges[1:] == edges[:-1]]
    return np.unique(np.concatenate([edges, np.nextafter(filled, np.inf)]))


@dataclass(frozen=True, slots=True)
class CategoryBins:
    """One cell for each frequent category, one for the rare ones, one for those the reference never showed."""

    names: tuple[str, ...]
    rare: frozenset[str]
    reference: tuple[int, ...]
    """The reference's own rows in these cells: compare windows with this.

    A row stands in the last cell if no *other* row of the reference has its category. That is how a row of the current
    window gets there, so that without drift both sides have the same share of it (Good 1953).
    """

    @classmethod
    def fit(cls, reference_counts: Mapping[str, int], max_cells: int = MOST_CATEGORIES) -> CategoryBins:
        """Keep the most frequent categories of 10 rows or more, at most ``max_cells`` of them; the others are rare.

        >>> bins = CategoryBins.fit({"a": 90, "b": 17, "c": 2, "d": 1})
        >>> bins.labels, bins.reference
        (('a', 'b', 'other', 'unseen'), (90, 17, 2, 1))
        """
        seen = {name: count for name, count in reference_counts.items() if count > 0}
        frequent = [name for name, count in seen.items() if count >= LEAST_COUNT]
        names = tuple(nsmallest(max_cells, frequent, key=lambda name: (-seen[name], name)))
        rare = frozenset(seen.keys() - set(names))
        once = list(seen.values()).count(1)
        others = sum(seen.values()) - sum(seen[name] for name in names) - once
        return cls(names, rare, (*(seen[name] for name in names), others, once))

    @property
    def labels(self) -> tuple[str, ...]:
        """What each cell holds."""
        return (*self.names, "other", "unseen")

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self.names) + 2

    def counts(self, counts: Mapping[str, int]) -> IntArray:
        """Rows of the current window in each cell.

        >>> CategoryBins.fit({"a": 90, "b": 17, "c": 3}).counts({"a": 5, "c": 1, "new": 4}).tolist()
        [5, 0, 1, 4]
        """
        kept = [counts.get(name, 0) for name in self.names]
        other = sum(count for name, count in counts.items() if name in self.rare)
        return np.array([*kept, other, sum(counts.values()) - sum(kept) - other], dtype=np.int64)

    def unseen(self, counts: Mapping[str, int]) -> dict[str, int]:
        """The categories of a window that the reference never showed.

        >>> CategoryBins.fit({"a": 90}).unseen({"a": 5, "new": 4})
        {'new': 4}
        """
        known = self.rare.union(self.names)
        return {name: count for name, count in counts.items() if name not in known and count > 0}
