"""Counts behind the same questions as rows: a reference or a window of which no row was read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from tidegauge.detectors.comparison import (
    about_categorical,
    asked,
    compare_missing,
    compare_non_finite,
    divergences,
    numeric_labels,
    shares_of,
)
from tidegauge.detectors.integrity import about_risen
from tidegauge.detectors.profile import CategoryPart, Profile
from tidegauge.detectors.questions import STANDARD, Questions
from tidegauge.detectors.sketches.counts import OTHER, Counts, Kinds, folded, less, named, together, uncounted
from tidegauge.detectors.sketches.integrity import about_cells
from tidegauge.detectors.sketches.numeric import NumericSketch, ks, out_of_range, wasserstein
from tidegauge.detectors.spans import own_windows
from tidegauge.detectors.spread import MOST_WINDOWS, Own, OwnWindows, Spread, ends_of, gathered
from tidegauge.detectors.statistics import NumericBins, Outcome, Undetermined, psi
from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.detectors.verdicts import Hypothesis
from tidegauge.model import ALL, Slice, Window

LEAST_ROWS = 50
WindowCounts = Callable[[Sequence[Window], str, Slice], list[Counts]]
"""Windows, a feature and a part of the traffic to the counts of each window."""


@dataclass(frozen=True)
class Sizes:
    """The values of one dimension, the most frequent first, each with a range as long as it has rows."""

    rows_by_name: Mapping[str, Sequence[int]]


class CountedTraffic:
    """What ``Traffic`` tells of rows, told of counts."""

    every, note = 1, ""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self.rows = counts.sizes[ALL]
        self.numeric, self.categorical = sorted(counts.kinds), ()

    def size(self, part: Slice) -> int:
        """How many rows ``part`` has."""
        return self._counts.sizes[part]

    @cached_property
    def dimensions(self) -> dict[str, Sizes]:
        """The values that are counted apart, and the rest under one name."""
        found: dict[str, dict[str, int]] = {name: {} for name in self._counts.binning.slices}
        for part, rows in self._counts.sizes.items():
            if part != ALL and rows:
                found.setdefault(part.dimension, {})[part.value] = rows
        return {name: Sizes(dict(_ranked(sizes))) for name, sizes in found.items()}


class SketchProfile:
    """The counterpart of ``Profile``.

    Args:
        counts: Of the whole reference or window.
        spans: The stretches of time of a reference; ``windows`` tells the counts within them.
        sample: Some of the rows of training, which tell how far their windows lie from each other.
    """

    def __init__(
        self,
        counts: Counts,
        spans: Sequence[Window] = (),
        windows: WindowCounts | None = None,
        sample: Profile | None = None,
    ) -> None:
        self.counts = counts
        self.traffic = CountedTraffic(counts)
        self._spans, self._windows, self._sample = spans, windows, sample

    def has(self, feature: str) -> bool:
        """Whether any row has the feature."""
        return feature in self.counts.kinds

    def is_numeric(self, feature: str) -> bool:
        """Which kind the feature had where the cells were frozen."""
        return feature in self.counts.binning.edges

    def kind(self, feature: str) -> str:
        """``number`` or ``text``, whichever most of its values are; empty where all are missing."""
        return self.counts.kinds[feature].kind

    def readable(self, feature: str) -> bool:
        """Whether most of its texts read as numbers."""
        return 2 * self.counts.kinds[feature].readable > self.counts.kinds[feature].texts

    def wrong(self, feature: str, kind: str) -> int:
        """Rows whose value is not of ``kind``: a text that reads as no number, or a number where text is due."""
        kinds = self.counts.kinds.get(feature, Kinds())
        return kinds.numbers if kind == "text" else kinds.texts - kinds.readable

    def cells(self, feature: str, part: Slice, frozen: SketchProfile, within: Slice) -> IntArray:
        """Rows of ``part`` in a few unions of cells, those of ``within`` in the reference ``frozen``."""
        if frozen.is_numeric(feature):
            return self.counts.number(part, feature).coarse(frozen.counts.number(within, feature).unions())
        whole, names = frozen.counts.category(ALL, feature), self.counts.category(part, feature)
        if OTHER in whole.counts:
            whole, names = folded(whole, names)
        return whole.bins.counts(names.counts)

    def ranged(self, feature: str, part: Slice, frozen: SketchProfile, within: Slice, questions: Questions) -> Outcome:
        """Rows of ``part`` out of the declared range, or of that of ``within`` in the reference ``frozen``."""
        sides = frozen.counts.number(within, feature), self.counts.number(part, feature)
        return out_of_range(*sides, *questions.ends(feature))

    def about(
        self, feature: str, part: Slice, current: SketchProfile, questions: Questions = STANDARD
    ) -> list[Hypothesis]:
        """All that is asked about a feature, with this profile as the reference; nothing of one in other cells."""
        if self.counts.binning.name != current.counts.binning.name:
            reason = "not comparable: the cells of the two sides were frozen on different references"
            refused = Undetermined("reference", reason, self.traffic.rows, current.traffic.rows)
            return [Hypothesis(feature, part, "reference", refused)]
        if feature in self.counts.uncounted:
            reason = "the cells were frozen before the feature came; it is counted once new ones are"
            unknown = Undetermined("schema", reason, self.traffic.rows, current.traffic.rows)
            return [Hypothesis(feature, part, "schema", unknown)] if part == ALL else []
        if self.is_numeric(feature):
            numbers = self.counts.number(part, feature), current.counts.number(part, feature)
            return about_sketch(feature, part, *numbers, questions)
        names = self.counts.category(part, feature), current.counts.category(part, feature)
        return about_capped(feature, part, *names, questions)

    def own_windows(self, window: Window, questions: Questions = STANDARD) -> Own:
        """The reference cut into windows as long as ``window``, at its time of day."""
        if self._sample:
            return OwnWindows(self._sample, window, questions)
        return SketchedWindows(self, own_windows(self._spans, window, MOST_WINDOWS), self._windows, questions)


class SketchedWindows:
    """How far the windows of a reference lie from the rest of it, from counts alone."""

    def __init__(
        self,
        reference: SketchProfile,
        windows: Sequence[Window],
        read: WindowCounts | None,
        questions: Questions = STANDARD,
    ) -> None:
        self._reference, self._chosen, self._read = reference, windows, read
        self._questions = questions
        self._known: dict[tuple[str, Slice], dict[str, Spread]] = {}

    def spread(self, feature: str, part: Slice, detector: str) -> Spread:
        """Of no window where there is no telling."""
        key = (feature, part)
        if key not in self._known:
            known = self._read is not None and self._chosen and self._reference.has(feature)
            self._known[key] = self._compared(feature, part) if known else {}
        return self._known[key].get(detector, Spread(detector))

    def _compared(self, feature: str, part: Slice) -> dict[str, Spread]:
        assert self._read
        found = [each for each in self._read(self._chosen, feature, part) if each.sizes[part] >= LEAST_ROWS]
        return gathered(self._divided(feature, part, found), self._ends(feature, part, len(found)))

    def _divided(self, feature: str, part: Slice, found: Sequence[Counts]) -> Iterator[list[Hypothesis]]:
        """Each window and the reference without it."""
        whole = self._reference.counts
        for each in found:
            if self._reference.is_numeric(feature):
                now = each.number(part, feature)
                yield about_sketch(feature, part, whole.number(part, feature) - now, now, self._questions)
            else:
                here = each.category(part, feature)
                yield about_capped(feature, part, less(whole.category(part, feature), here), here, self._questions)

    def _ends(self, feature: str, part: Slice, windows: int) -> dict[str, float]:
        counts, rows = self._reference.counts, self._reference.counts.sizes[part] // max(1, windows)
        if not self._reference.is_numeric(feature):
            return ends_of(np.array(counts.category(part, feature).bins.reference, dtype=np.int64), rows)
        sketch = counts.number(part, feature)
        return ends_of(sketch.coarse(sketch.unions()), rows)


def about_capped(
    feature: str, part: Slice, reference: CategoryPart, current: CategoryPart, questions: Questions
) -> list[Hypothesis]:
    """Where names beyond the most frequent were left out, none is called lost or new; one may have risen."""
    if OTHER not in reference.counts and OTHER not in current.counts:
        return about_categorical(feature, part, reference, current, questions)
    few = folded(reference, current)
    known = replace(questions, tests=questions.tests - {"lost_categories", "new_categories", "risen_category"})
    found = about_categorical(feature, part, *few, known, together(reference, current))
    if "risen_category" in questions.tests and current.counts:
        apart, left = few[0].bins.names, uncounted(reference, current)
        found.append(about_risen(feature, part, named(reference), named(current), apart, left))
    return found


def about_sketch(
    feature: str, part: Slice, reference: NumericSketch, current: NumericSketch, questions: Questions = STANDARD
) -> list[Hypothesis]:
    """All that is asked about a numeric feature, answered from cells."""
    if not current.finite + current.non_finite:
        return asked(compare_missing(feature, part, reference, current), questions)
    unions = reference.unions()
    counts = reference.coarse(unions), current.coarse(unions)
    moved = partial(wasserstein, reference, current)
    evidence = partial(shares_of, partial(_labels, reference, unions), *counts)
    follows = part != ALL and "ks" in questions.tests and "wasserstein" in questions.tests
    found = [
        Hypothesis(feature, part, "psi", psi(*counts), divergences(*counts), evidence),
        Hypothesis(feature, part, "ks", ks(reference, current), (("wasserstein", moved),) if follows else ()),
        *([] if follows else [Hypothesis(feature, part, "wasserstein", moved())]),
        *compare_missing(feature, part, reference, current),
        *compare_non_finite(feature, part, reference, current),
    ]
    return asked(found, questions) + about_cells(feature, part, reference, current, questions)


def _labels(reference: NumericSketch, unions: IntArray) -> list[str]:
    return numeric_labels(NumericBins(tuple(reference.edges[np.flatnonzero(np.diff(unions))].tolist())))


def _ranked(sizes: Mapping[str, int]) -> Iterator[tuple[str, Sequence[int]]]:
    for value in sorted(sizes, key=lambda name: (name == OTHER, -sizes[name], name)):
        yield value, range(sizes[value])
