"""Pairs of values, such as country=de and device=ios: which of them are slices, and whether one is a story of its own.

A pair that only repeats what one of its two slices does is no finding. So its p-value is the larger of that of its
change and of those that it changed just as the rest of either slice did, country=de on other devices and device=ios in
other countries: small only where it did neither. That is a p-value for all three together (Berger 1982), so the rate of
false findings is one of pairs that have a story of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from scipy.stats import hypergeom

from tidegauge.detectors.questions import STANDARD, Questions
from tidegauge.detectors.statistics import Outcome, Result
from tidegauge.detectors.statistics.alike import changed_alike, distance
from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.detectors.verdicts import Hypothesis
from tidegauge.model import Slice, sides

LEAST_ROWS = 50
"""Of a pair on both sides, and of the rest of each of its slices, so that it can be told from them."""
MOST_SHARE = 0.9
"""Of a slice: a larger pair is that slice."""
TIMES = 2.0
"""A pair must have gone more than so many times as far as the rest of each slice."""
SHARES = ("missing", "non_finite", "new_categories", "lost_categories", "risen_category", "out_of_range")
"""Their effect is a share of rows."""


class Divided(Protocol):
    """Rows, or counts of rows, by dimension and value."""

    @property
    def dimensions(self) -> Mapping[str, Any]:
        """To the rows of each value, the most frequent first, as ``rows_by_name``."""
        ...

    def size(self, part: Slice) -> int:
        """How many rows ``part`` has."""
        ...


def candidates(traffic: Divided, slices: Collection[Slice]) -> list[Slice]:
    """The pairs of two of ``slices`` that have 50 rows and can be told from both, those with the most rows first."""
    known = set(slices)
    found = [part for name in pairs_in(traffic) for part in _of(name, traffic) if known.issuperset(part.sides)]
    return sorted((part for part in found if apart(part, traffic)), key=lambda part: (-traffic.size(part), part))


def pairs_in(traffic: Divided) -> list[str]:
    """The dimensions that are pairs of others."""
    known = traffic.dimensions
    return [name for name in known if len(sides(name)) == 2 and set(sides(name)) <= known.keys()]


def apart(pair: Slice, traffic: Divided) -> bool:
    """Whether both of its slices have rows outside of it, at least 50 and a tenth of theirs."""
    rows = traffic.size(pair)
    return all(
        traffic.size(side) - rows >= LEAST_ROWS and rows <= MOST_SHARE * traffic.size(side) for side in pair.sides
    )


def _of(name: str, traffic: Divided) -> Iterator[Slice]:
    for value, rows in traffic.dimensions[name].rows_by_name.items():
        if len(rows) >= LEAST_ROWS:
            yield Slice(name, value)


class Cells(Protocol):
    """A reference or a window, as rows or as counts."""

    def cells(self, feature: str, part: Slice, frozen: Any, within: Slice) -> IntArray:
        """Rows of ``part`` in a few cells, frozen on ``within`` of the reference ``frozen``."""
        ...

    def ranged(self, feature: str, part: Slice, frozen: Any, within: Slice, questions: Questions) -> Outcome:
        """How many rows of ``part`` are out of the range of ``within`` in the reference ``frozen``."""
        ...


class Beside:
    """Tells what pairs did from what the rest of their slices did."""

    def __init__(
        self, reference: Cells, current: Cells, hypotheses: Sequence[Hypothesis], questions: Questions = STANDARD
    ) -> None:
        self._reference, self._current, self._questions = reference, current, questions
        self._outcomes = {(each.feature, each.part, each.detector): each.outcome for each in hypotheses}

    def __call__(self, asked: Hypothesis) -> float:
        """The p-value that a pair changed as the rest of one of its slices did; 1 where that went half as far."""
        compare = self._by_share if asked.detector in SHARES else self._by_cells
        return max(compare(asked, side) for side in asked.part.sides)

    def _by_cells(self, asked: Hypothesis, side: Slice) -> float:
        before, now, all_before, all_now = (
            each.cells(asked.feature, part, self._reference, side)
            for part in (asked.part, side)
            for each in (self._reference, self._current)
        )
        # Of names beyond the thousand that are counted a slice may know fewer than one of its pairs.
        rest = np.maximum(0, all_before - before), np.maximum(0, all_now - now)
        if distance(before, now) < TIMES * distance(*rest):
            return 1.0
        return changed_alike((before, now), rest)

    def _by_share(self, asked: Hypothesis, side: Slice) -> float:
        """From the rows that the detector complains of in the window: how many of a slice's are in the pair."""
        outcome = asked.outcome
        if asked.detector == "out_of_range":
            outcome = self._current.ranged(asked.feature, asked.part, self._reference, side, self._questions)
        hits, rows = _complaints(outcome)
        all_hits, all_rows = _complaints(self._outcomes.get((asked.feature, side, asked.detector)))
        left, others = max(0, all_hits - hits), max(1, all_rows - rows)
        if hits / max(1, rows) < TIMES * left / others:
            return 1.0
        return float(hypergeom.sf(hits - 1, rows + others, hits + left, rows))


def _complaints(outcome: Outcome | None) -> tuple[int, int]:
    if not isinstance(outcome, Result):
        return 0, 0
    return round(outcome.effect * outcome.n_current), outcome.n_current
