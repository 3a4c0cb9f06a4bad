"""Traffic made ready for the tests: sorted once, counted once, per feature and part of the traffic."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tidegauge.detectors.questions import Questions
from tidegauge.detectors.statistics import CategoryBins, NumericBins, Outcome, out_of_range
from tidegauge.detectors.statistics.arrays import FloatArray, IntArray, finite
from tidegauge.detectors.traffic import OUTPUTS, Index, Traffic
from tidegauge.model import ALL, Slice

SOME = 1000


@dataclass(frozen=True, eq=False)
class NumericPart:
    """One numeric feature in one part of the traffic; ``kept`` holds its finite values, ``ordered`` those in order."""

    rows: int
    missing: int
    non_finite: int
    kept: FloatArray
    counts: IntArray
    in_order: bool = True

    @classmethod
    def of(cls, values: FloatArray, bins: NumericBins, *, in_order: bool = True) -> NumericPart:
        """Sort once; the counts follow from the order. Not ``in_order`` they are counted, at a tenth of the cost.

        >>> NumericPart.of(np.array([3.0, np.nan, 1.0, np.inf]), NumericBins((2.0,))).counts.tolist()
        [1, 1]
        """
        counts = None if in_order else bins.counts(values)
        kept = values if counts is not None and counts.sum() == len(values) else finite(values)[0]
        missing = int(np.count_nonzero(np.isnan(values))) if len(kept) < len(values) else 0
        if counts is None:
            return cls.of_ordered(len(values), missing, np.sort(kept), bins)
        return cls(len(values), missing, len(values) - len(kept) - missing, kept, counts, in_order)

    @cached_property
    def ordered(self) -> FloatArray:
        """The finite values in order; sorted when asked for, where they are not."""
        return self.kept if self.in_order else np.sort(self.kept)

    @classmethod
    def of_ordered(cls, rows: int, missing: int, ordered: FloatArray, bins: NumericBins) -> NumericPart:
        """From finite values that are in order; the rows that are neither among them nor missing are non-finite."""
        below = np.searchsorted(ordered, bins.edges, side="left")
        counts = np.diff(below, prepend=0, append=len(ordered))
        return cls(rows, missing, rows - len(ordered) - missing, ordered, counts)


@dataclass(frozen=True)
class CategoryPart:
    """One categorical feature in one part of the traffic."""

    rows: int
    counts: dict[str, int]

    @property
    def missing(self) -> int:
        """Rows without a value."""
        return self.rows - sum(self.counts.values())

    @cached_property
    def bins(self) -> CategoryBins:
        """Cells frozen on these counts."""
        return CategoryBins.fit(self.counts)


class Profile:
    """A view of traffic that remembers what it computed; of a reference it is kept from window to window.

    Not ``in_order``, values are sorted only where a detector asks for their order.
    """

    def __init__(self, traffic: Traffic, *, in_order: bool = True) -> None:
        self.traffic = traffic
        self._in_order = in_order
        self._bins: dict[str, NumericBins] = {}
        self._numeric: dict[tuple[str, Slice], NumericPart] = {}
        self._categorical: dict[tuple[str, Slice], CategoryPart] = {}

    def bins(self, feature: str) -> NumericBins:
        """Cells of a numeric feature, frozen on all of this traffic."""
        if feature not in self._bins:
            values = self.values(feature)
            self._bins[feature] = NumericBins.fit(np.empty(0) if values is None else values)
        return self._bins[feature]

    def numeric(self, feature: str, part: Slice, bins: NumericBins) -> NumericPart:
        """A numeric feature in ``part``; all missing where this traffic never had it."""
        key = (feature, part)
        if key not in self._numeric:
            values = self.values(feature)
            found = np.full(self.traffic.size(part), np.nan) if values is None else _take(values, self._index(part))
            self._numeric[key] = NumericPart.of(found, bins, in_order=self._in_order)
        return self._numeric[key]

    def categorical(self, feature: str, part: Slice) -> CategoryPart:
        """A categorical feature in ``part``; all missing where this traffic never had it."""
        key = (feature, part)
        if key not in self._categorical:
            column = self.traffic.categorical.get(feature)
            counts = column.counts(self._index(part)) if column else {}
            self._categorical[key] = CategoryPart(self.traffic.size(part), counts)
        return self._categorical[key]

    def cells(self, feature: str, part: Slice, frozen: Profile, within: Slice) -> IntArray:
        """Rows of ``part`` in the few cells of the reference ``frozen``, the same in all parts."""
        if frozen.is_numeric(feature):
            return self.numeric(feature, part, frozen.bins(feature)).counts
        return frozen.categorical(feature, ALL).bins.counts(self.categorical(feature, part).counts)

    def ranged(self, feature: str, part: Slice, frozen: Profile, within: Slice, questions: Questions) -> Outcome:
        """Rows of ``part`` out of the declared range, or of that of ``within`` in the reference ``frozen``."""
        bins, (low, high) = frozen.bins(feature), questions.ends(feature)
        sides = frozen.numeric(feature, within, bins).kept, self.numeric(feature, part, bins).kept
        return out_of_range(*sides, low=low, high=high)

    def values(self, feature: str) -> FloatArray | None:
        """The feature as numbers; text that reads as one counts, so that a retyped feature is not lost."""
        texts = self.traffic.categorical.get(feature)
        found = self.traffic.numeric.get(feature)
        return found if found is not None or texts is None else texts.numbers()

    def is_numeric(self, feature: str) -> bool:
        """Which kind the feature mostly has here; predictions and labels come as text and may be numbers."""
        numbers, texts = self.traffic.numeric.get(feature), self.traffic.categorical.get(feature)
        if numbers is None:
            return texts is not None and feature in OUTPUTS and texts.numeric
        if texts is None:
            return True
        return bool(np.count_nonzero(~np.isnan(numbers)) >= np.count_nonzero(texts.codes >= 0))

    def kind(self, feature: str) -> str:
        """``number`` or ``text``, whichever most of its values are; empty where all are missing."""
        numbers, texts = self.traffic.numeric.get(feature), self.traffic.categorical.get(feature)
        if texts is None and numbers is not None and not np.isnan(numbers[:SOME]).all():
            return "number"
        counted = 0 if numbers is None else int(np.count_nonzero(~np.isnan(numbers)))
        told = 0 if texts is None else int(np.count_nonzero(texts.codes >= 0))
        return ("number" if counted >= told else "text") if counted + told else ""

    def readable(self, feature: str) -> bool:
        """Whether most of its texts read as numbers."""
        texts = self.traffic.categorical.get(feature)
        if texts is None:
            return False
        told = int(np.count_nonzero(texts.codes >= 0))
        return 2 * int(np.count_nonzero(~np.isnan(texts.numbers()))) > told

    def wrong(self, feature: str, kind: str) -> int:
        """Rows whose value is not of ``kind``: a text that reads as no number, or a number where text is due."""
        numbers, texts = self.traffic.numeric.get(feature), self.traffic.categorical.get(feature)
        if kind == "text":
            return 0 if numbers is None else int(np.count_nonzero(~np.isnan(numbers)))
        return 0 if texts is None else int(np.count_nonzero((texts.codes >= 0) & np.isnan(texts.numbers())))

    def has(self, feature: str) -> bool:
        """Whether any row has the feature."""
        return feature in self.traffic.numeric or feature in self.traffic.categorical

    def description(self, feature: str) -> str:
        """The frozen cells and their counts, as JSON."""
        if self.is_numeric(feature):
            bins = self.bins(feature)
            return json.dumps({"edges": bins.edges, "counts": self.numeric(feature, ALL, bins).counts.tolist()})
        part = self.categorical(feature, ALL)
        return json.dumps({"categories": part.bins.labels, "counts": part.bins.reference})

    def _index(self, part: Slice) -> Index | None:
        return self.traffic.index(part)


def _take(values: FloatArray, rows: Index | None) -> FloatArray:
    return values if rows is None else values[rows]
