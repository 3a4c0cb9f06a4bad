"""One window of one model: every feature and output, in all traffic and in every slice, against the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from itertools import chain
from typing import TypeAlias

import numpy as np

from tidegauge.config import Watch
from tidegauge.detectors.comparison import about_categorical, about_numeric
from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.integrity import about_types
from tidegauge.detectors.pairs import LEAST_ROWS as PAIR_ROWS
from tidegauge.detectors.pairs import apart, candidates, pairs_in
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.questions import STANDARD, Questions
from tidegauge.detectors.sketches.profile import SketchProfile
from tidegauge.detectors.spread import LEAST_WINDOWS
from tidegauge.detectors.statistics import Undetermined, volume
from tidegauge.detectors.traffic import OUTPUTS, Index, Traffic
from tidegauge.detectors.verdicts import Hypothesis
from tidegauge.model import ALL, Slice, Window, both

Side: TypeAlias = Profile | SketchProfile
"""A reference or a window, as rows or as counts; both sides of a comparison are of one sort."""
LEAST_ROWS = 50
"""Of a slice, on both sides: below that no effect worth a finding can be told from chance."""
WEEK_S = 7 * 86_400
"""What a part must have been there for: fewer days have not seen every weekday."""
LEAST_COVER = 0.8
"""Of the window's time, from a version's first row to its last: one that came or went has other hours than a day."""
HISTORY_WINDOWS, HISTORY_DAYS, FEWEST_WINDOWS = 28, 28, 8


def dimensions_of(watch: Watch) -> tuple[str, ...]:
    """The dimensions of a watch, then the pairs of them.

    >>> dimensions_of(Watch(slices=("carrier",)))
    ('version', 'carrier', 'version & carrier')
    """
    return (*watch.dimensions, *(both(*each) for each in watch.paired))


def history(window: Window) -> int:
    """How many earlier windows the volume is compared with: 28, or those in 28 days but at least 8."""
    days = max(1.0, window.length / timedelta(days=1))
    return max(FEWEST_WINDOWS, min(HISTORY_WINDOWS, int(HISTORY_DAYS / days)))


def compare_volume(rows: int, before: Sequence[int]) -> Hypothesis:
    """The number of rows against windows before."""
    return Hypothesis("volume", ALL, "volume", volume(np.array(before, dtype=np.int64), rows))


def untested(reason: str, reference: int, current: int, part: Slice = ALL) -> Claim:
    """Nothing could be tested in ``part``: one claim that stands for all features."""
    detector = "reference" if part == ALL else "slice"
    return Claim("*", detector, part, Verdict.UNDETERMINED, Undetermined(detector, reason, reference, current))


class Parts:
    """The parts of the traffic that can be tested, and why the others cannot.

    With ``window``, the current one, and where the rows' times are known, a part that is new to the reference is not
    tested: one day of it differs from the next by its weather and its weekday.
    """

    def __init__(
        self, reference: Side, current: Side, most: int, window: Window | None = None, most_pairs: int = 0
    ) -> None:
        self._reference, self._current = reference.traffic, current.traffic
        self._length_s = int(window.length.total_seconds()) if window else 0
        self.tested: list[Slice] = [ALL]
        self.untested: list[Claim] = []
        pairs = pairs_in(self._current)
        for dimension in self._current.dimensions:
            if dimension not in pairs:
                self._divide(dimension, most)
        if pairs:
            self._pair(most_pairs)

    def _divide(self, dimension: str, most: int) -> None:
        found = self._current.dimensions[dimension].rows_by_name
        for name in list(found)[:most]:
            self._sort(Slice(dimension, name))
        rest = sum(len(rows) for rows in list(found.values())[most:])
        if rest:
            reason = f"the {len(found) - most} values after the {most} most frequent are not tested"
            self.untested.append(untested(reason, 0, rest, Slice(dimension, "other")))

    def _sort(self, part: Slice) -> None:
        before, now = self._reference.size(part), self._current.size(part)
        if before == self._reference.rows and now == self._current.rows:
            return
        if not before:
            self.untested.append(untested(f"{part} is not in the reference", before, now, part))
        elif min(before, now) < LEAST_ROWS:
            side = "window" if now < before else "reference"
            reason = f"{min(before, now)} rows in the {side} are too few for {part}: {LEAST_ROWS} are needed"
            self.untested.append(untested(reason, before, now, part))
        elif reason := self._young(part) or self._passing(part):
            self.untested.append(untested(reason, before, now, part))
        else:
            self.tested.append(part)

    def _pair(self, most: int) -> None:
        """Pairs of what is tested; of each pair of dimensions one claim says how many are not, and why."""
        left: dict[str, Counter[str]] = {}
        room = most
        for part in candidates(self._current, self.tested):
            if not apart(part, self._reference):
                continue  # the slice itself, which is tested
            reason = self._unfit(part) if room else f"come after the {most} with the most rows"
            if reason:
                left.setdefault(part.dimension, Counter())[reason] += 1
            else:
                self.tested.append(part)
                room -= 1
        for dimension, reasons in left.items():
            told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            self.untested.append(untested(f"pairs that are not tested: {told}", 0, 0, Slice(dimension, "other")))

    def _unfit(self, part: Slice) -> str:
        if self._reference.size(part) < PAIR_ROWS:
            return f"with fewer than {PAIR_ROWS} rows in the reference"
        return "that were not there long enough" if self._young(part) or self._passing(part) else ""

    def _young(self, part: Slice) -> str:
        """Says that a part is in too few of the windows that the reference has."""
        reference = self._reference
        if not self._length_s or not isinstance(reference, Traffic) or reference.seconds is None:
            return ""
        windows, all_ = self._windows
        there = len(np.unique(windows[reference.index(part)]))
        needed = max(LEAST_WINDOWS, WEEK_S // self._length_s)
        if there >= needed or all_ < needed:
            return ""
        return f"{part} is in {there} of the {all_} windows of the reference: {needed} are needed"

    @cached_property
    def _windows(self) -> tuple[Index, int]:
        """The window of each row of the reference, and how many there are."""
        assert isinstance(self._reference, Traffic)
        assert self._reference.seconds is not None
        found = self._reference.seconds // self._length_s
        return found, len(np.unique(found))

    def _passing(self, part: Slice) -> str:
        """Says that a version came or went within the window."""
        current = self._current
        if not self._length_s or not isinstance(current, Traffic) or current.seconds is None:
            return ""
        short = np.ptp(current.seconds[current.index(part)]) < LEAST_COVER * np.ptp(current.seconds)
        of_version = any(each.dimension == "version" for each in part.sides)
        return f"{part} came or went within the window" if short and of_version else ""


def hypotheses(
    reference: Side, current: Side, parts: Sequence[Slice], questions: Questions = STANDARD
) -> Iterator[Hypothesis]:
    """All hypotheses about features and outputs."""
    features = sorted({*_features(reference), *_features(current)})
    return chain.from_iterable(about_feature(name, reference, current, parts, questions) for name in features)


def about_feature(
    name: str, reference: Side, current: Side, parts: Sequence[Slice], questions: Questions = STANDARD
) -> Iterator[Hypothesis]:
    """The hypotheses about one feature; of one that is new, gone or of another kind only that the schema changed."""
    if change := _schema_change(name, reference, current):
        outcome = Undetermined("schema", f"schema changed: {change}", reference.traffic.rows, current.traffic.rows)
        yield Hypothesis(name, ALL, "schema", outcome)
        return
    for part in parts if current.has(name) else parts[:1]:
        yield from _about(name, part, reference, current, questions)
    if name not in OUTPUTS:
        kind = questions.kind(name) or ("number" if reference.is_numeric(name) else "text")
        wrong = reference.wrong(name, kind), current.wrong(name, kind)
        yield from about_types(name, wrong, (reference.traffic.rows, current.traffic.rows), questions)


def _schema_change(name: str, reference: Side, current: Side) -> str:
    """What became of the feature itself, or nothing; the model's outputs are none."""
    if not reference.has(name):
        return "the reference does not have this feature"
    if name in OUTPUTS:
        return ""
    if not current.has(name):
        return "the window does not have this feature"
    before, now = reference.kind(name), current.kind(name)
    readable = before == "number" and current.readable(name)
    return (
        f"{before} in the reference, {now} in the window" if before and now and before != now and not readable else ""
    )


def _about(name: str, part: Slice, reference: Side, current: Side, questions: Questions) -> list[Hypothesis]:
    if isinstance(reference, SketchProfile) and isinstance(current, SketchProfile):
        return reference.about(name, part, current, questions)
    assert isinstance(reference, Profile) and isinstance(current, Profile)
    if reference.is_numeric(name):
        bins = reference.bins(name)
        sides = reference.numeric(name, part, bins), current.numeric(name, part, bins)
        return about_numeric(name, part, bins, *sides, questions)
    return about_categorical(name, part, reference.categorical(name, part), current.categorical(name, part), questions)


def _features(profile: Side) -> Iterator[str]:
    return chain(profile.traffic.numeric, profile.traffic.categorical)


def sampling_note(reference: Side, current: Side) -> str:
    """What to add to a finding that rests on a sample."""
    notes = {"reference": reference.traffic.note, "window": current.traffic.note}
    return "; ".join(f"{side}: {note}" for side, note in notes.items() if note)
