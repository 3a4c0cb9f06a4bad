"""How far the reference's own windows lie from the rest of it: what an effect must exceed in traffic that is dependent.

A p-value for independent rows says that two samples differ, not that it matters: a week of flights shares one spell
of weather, so any week differs from any other beyond doubt. What a new window has to be compared with is therefore how
much windows differ anyway. The reference is cut into k disjoint windows as long as the current one, and each is
compared with the reference without it by the same detectors; one left in its own reference would look closer than a
new one does. Of the k effects, as distances d_1 .. d_k, the floor is

    max(own floor of the statistic, max d_i, sqrt(mean d² F(1 - a; nu, k nu))),  a = rate / tests in the family

The first is a matter of importance. The second needs no law: if the windows are exchangeable, a new one exceeds the
largest of k with probability 1/(k + 1). That is too often for many features at once (one in 13 for each, with a
quarter of weekly windows), so the third is the limit of prediction of one more distance, at a level divided by the
number of features, or of features times slices, tested together (Bonferroni). Distances are sizes: where weather
moves a feature one way or the other, d is half-normal, d² is a chi-squared with nu = 1, and one more over the mean of k
of them follows F(nu, k nu), which for nu = 1 is the square of Student's t. nu is estimated from the d² themselves
(2 mean² / variance, drawn towards 1 where it is more): more for what differs by about as much in each window, less,
down to 0.3, for what is mostly quiet and then is not. PSI and KL grow with the square of a shift, so their square
roots are the distances; the others are distances already.

Where a statistic ends before that limit (KS at 1, PSI where all rows fall in one cell), nothing could pass such a
floor: the third term takes at most half of the room that the largest distance leaves.

Limits. Of further windows of normal weather 3 to 6 % pass some floor where 5 % is asked for, with 5 to 60 windows and 7
to 30 features (1500 simulated ones each). Tails heavier than a normal law's need more windows than there are to be
promised anything: a law of which nothing is known would need tests / rate of them (140 for 7 features). Student's t(3)
gives 12 %, and what bursts in one window of ten 19 to 27 %; where nu is below 0.6 the finding says that its floor is
uncertain. Fewer than 4 windows: the own floor stands, and the finding says that it does not know the traffic's spread.
A reference of one season does not know the next one: that summer is warmer than spring is a finding, and a true one.
Neighbouring windows resemble each other, so with a short reference the floor is a little low. A fault inside the
reference raises the floor. Windows in which a detector cannot tell are left out of its k; a slice with fewer than 4
such windows takes the floor of all traffic, which is the least that its own would be.
What chance alone makes of few rows is in the distances too: of 12 windows of 400 rows a normal feature that never moves
has a Wasserstein floor of 0.18 instead of 0.1 (median of 400 simulated references; of one in a hundred 0.36), and looks
uneven; of 10,000 rows it keeps its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from scipy.special import fdtri

from tidegauge.config import Watch
from tidegauge.detectors.comparison import about_categorical, about_numeric
from tidegauge.detectors.profile import CategoryPart, NumericPart, Profile
from tidegauge.detectors.questions import STANDARD, Questions
from tidegauge.detectors.references import PASSING
from tidegauge.detectors.spans import DAY_S, starts_in
from tidegauge.detectors.statistics import Result, chi_squared, jensen_shannon, kl, psi
from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.detectors.traffic import Index
from tidegauge.detectors.verdicts import Hypothesis
from tidegauge.model import ALL, Slice, Window

LEAST_WINDOWS, MOST_WINDOWS = 4, 60
LEAST_SHAPE, UNEVEN = 0.3, 0.6
LEAST_ROWS = 50
"""Of a part of the traffic in one window of the reference; smaller ones are left out."""
HOUR_S = 3600
ROWS = "volume"
"""What is told of rows and not of a feature stands under this name."""
QUADRATIC = frozenset({"psi", "kl", "mmd", "random_features"})
NONE_IS_ZERO = {"missing": 0.0, "non_finite": 0.0, "new_categories": 0.0, "risen_category": 0.0, "wrong_type": 0.0}
"""Of these no answer means that there was nothing to count."""
ENDS = dict.fromkeys(("ks", "error_rate", "lost_categories", "out_of_range", "outliers", *NONE_IS_ZERO), 1.0)
BINNED = {"psi": psi, "kl": kl, "jensen_shannon": jensen_shannon, "chi_squared": chi_squared}


@dataclass(frozen=True, slots=True)
class Spread:
    """The effects of the reference's own windows, as distances."""

    detector: str
    distances: tuple[float, ...] = ()
    end: float = math.inf

    @classmethod
    def of(cls, detector: str, effects: Sequence[float], end: float = math.inf) -> Spread:
        """From effects, 0 upwards, one a window, and the largest that the detector could give.

        >>> Spread.of("psi", [0.04, 0.09, 0.01, 0.04]).distances
        (0.2, 0.3, 0.1, 0.2)
        """
        return cls(detector, tuple(_distance(detector, each) for each in effects), _distance(detector, end))

    @property
    def known(self) -> bool:
        """Whether there are enough windows to speak of a spread."""
        return len(self.distances) >= LEAST_WINDOWS

    @property
    def shape(self) -> float:
        """nu, by moments: 1 of half-normal distances, more of even ones, less of bursts; 0.3 to 30."""
        windows, squares = len(self.distances), np.square(self.distances)
        variance = float(squares.var(ddof=1))
        found = 2 * float(squares.mean()) ** 2 / variance * (windows - 2) / (windows + 4) if variance else 1.0
        return min(30.0, max(LEAST_SHAPE, found if found < 1 else (1 + found) / 2))

    @property
    def uneven(self) -> bool:
        """Whether the distances are those of bursts, of which so few windows say too little."""
        return self.shape < UNEVEN

    def floor(self, level: float) -> float:
        """The effect that a window like these exceeds with a chance of nominally ``level``, at most 1/(k + 1).

        >>> round(Spread.of("wasserstein", [0.2, 0.3, 0.1, 0.2]).floor(0.01), 3)
        1.047
        >>> round(Spread.of("ks", [0.5, 0.8, 0.2, 0.5], end=1.0).floor(0.001), 3)
        0.9
        """
        windows, largest = len(self.distances), max(self.distances)
        squares, shape = np.square(self.distances), self.shape
        usual = float(squares.mean()) * float(fdtri(shape, windows * shape, 1 - level))
        limit = min(math.sqrt(usual), (largest + self.end) / 2)
        distance = max(largest, limit)
        return distance * distance if self.detector in QUADRATIC else distance


class OwnWindows:
    """One reference cut into windows like ``window``: as long, and beginning at the same time of day.

    Of more than 60 windows 60 are drawn, the same each time. Spreads are computed when asked for, and kept.
    """

    def __init__(self, reference: Profile, window: Window, questions: Questions = STANDARD) -> None:
        self._reference, self._questions = reference, replace(questions, exact=False)
        seconds, rows = reference.traffic.seconds, reference.traffic.rows
        nowhere: tuple[Index, list[int]] = np.full(rows, -1, dtype=np.int64), []
        self._of_row, self._chosen = (
            nowhere if seconds is None or not rows else _cut(seconds, window, reference.traffic.spans)
        )
        self._known: dict[tuple[str, Slice], dict[str, Spread]] = {}

    def spread(self, feature: str, part: Slice, detector: str) -> Spread:
        """How far the windows lie from the rest of the reference; of no window where there is no telling."""
        key = (feature, part)
        if key not in self._known:
            self._known[key] = self._compared(feature, part) if self._reference.has(feature) else {}
        return self._known[key].get(detector, Spread(detector))

    def _windows(self, part: Slice) -> tuple[Index, list[int]]:
        """The window of each row of ``part``, and the chosen windows that have enough of them."""
        index = self._reference.traffic.index(part)
        of_row = self._of_row if index is None else self._of_row[index]
        found = np.bincount(of_row[of_row >= 0], minlength=1)
        return of_row, [at for at in self._chosen if at < len(found) and found[at] >= LEAST_ROWS]

    def _compared(self, feature: str, part: Slice) -> dict[str, Spread]:
        of_row, chosen = self._windows(part)
        divide = self._numeric if self._reference.is_numeric(feature) else self._categorical
        ends = self._ends(feature, part, len(of_row) // max(1, len(self._chosen)))
        return gathered(divide(feature, part, of_row, chosen), ends)

    def _ends(self, feature: str, part: Slice, rows: int) -> dict[str, float]:
        if self._reference.is_numeric(feature):
            counts = self._reference.numeric(feature, part, self._reference.bins(feature)).counts
        else:
            counts = np.array(self._reference.categorical(feature, part).bins.reference, dtype=np.int64)
        return ends_of(counts, rows)

    def _numeric(self, feature: str, part: Slice, of_row: Index, chosen: Sequence[int]) -> Iterator[list[Hypothesis]]:
        """Sort once; a window and the rest of the reference are then picked from the order."""
        bins, index = self._reference.bins(feature), self._reference.traffic.index(part)
        values = self._reference.values(feature)
        assert values is not None
        values = values if index is None else values[index]
        finite, gone = np.isfinite(values), np.isnan(values)
        order = np.argsort(values[finite], kind="stable")
        ordered, window_of = values[finite][order], of_row[finite][order]
        for at in chosen:
            own, rows, missing = window_of == at, of_row == at, int(np.count_nonzero(gone & (of_row == at)))
            count = int(np.count_nonzero(rows))
            now = NumericPart.of_ordered(count, missing, ordered[own], bins)
            left = len(values) - count, int(np.count_nonzero(gone)) - missing
            rest = NumericPart.of_ordered(*left, ordered[~own], bins)
            yield about_numeric(feature, part, bins, rest, now, self._questions)

    def _categorical(
        self, feature: str, part: Slice, of_row: Index, chosen: Sequence[int]
    ) -> Iterator[list[Hypothesis]]:
        column, index = self._reference.traffic.categorical[feature], self._reference.traffic.index(part)
        rows = np.arange(len(column.codes)) if index is None else index
        whole = self._reference.categorical(feature, part)
        for at in chosen:
            own = rows[of_row == at]
            now = CategoryPart(len(own), column.counts(own))
            left = {name: count - now.counts.get(name, 0) for name, count in whole.counts.items()}
            seen = {name: count for name, count in left.items() if count}
            rest = CategoryPart(whole.rows - len(own), seen)
            yield about_categorical(feature, part, rest, now, self._questions)


def gathered(windows: Iterable[Sequence[Hypothesis]], ends: Mapping[str, float]) -> dict[str, Spread]:
    """The spread of every detector, from what it said of each window and the largest that it could say."""
    told = [NONE_IS_ZERO | dict(_effects(each)) for each in windows]
    known = {**ENDS, **ends}
    return {
        name: Spread.of(name, [each[name] for each in told if name in each], known.get(name, math.inf))
        for name in {name for each in told for name in each}
    }


def ends_of(counts: IntArray, rows: int) -> dict[str, float]:
    """What the detectors over cells give where all of ``rows`` rows fall in the cell that has the fewest."""
    extreme = np.zeros_like(counts)
    extreme[np.argmin(counts)] = rows
    found = {name: compare(counts, extreme) for name, compare in BINNED.items()}
    return {name: outcome.effect for name, outcome in found.items() if isinstance(outcome, Result)}


class Own(Protocol):
    """Knows how far the own windows of a reference lie from the rest of it."""

    def spread(self, feature: str, part: Slice, detector: str) -> Spread:
        """Of no window where there is no telling."""
        ...


@dataclass(frozen=True, slots=True)
class WithRows:
    """Knows features by ``features``, and by ``rows`` what is told of rows."""

    features: Own
    rows: Own

    def spread(self, feature: str, part: Slice, detector: str) -> Spread:
        """Of the one that knows."""
        return (self.rows if feature == ROWS else self.features).spread(feature, part, detector)


class Floors:
    """Raises the floor of a result to what the reference's own windows ask for.

    ``features``, ``slices`` and ``pairs`` are the numbers of features in all traffic, and of features times slices and
    times pairs of them, that are tested together; pairs take half of what slices have. A ``passing`` reference is
    compared with one window only, so its spread is computed where the own floor was reached, and for nothing else; that
    of a lasting one is computed for all features of all traffic.
    """

    def __init__(self, own: Own, rate: float, features: int, slices: int, pairs: int = 0, *, passing: bool) -> None:
        self._own = own
        self._level = rate / max(1, features)
        self._level_in_slices = rate / (2 if pairs else 1) / max(1, slices)
        self._level_in_pairs = rate / 2 / max(1, pairs)
        self._passing = passing

    def __call__(self, feature: str, part: Slice, detector: str, result: Result) -> Result:
        """``result`` with its floor and a note on where that comes from."""
        if result.effect < result.floor and (self._passing or part != ALL or feature == ROWS):
            return result
        spread = self._own.spread(feature, part, detector)
        level = self._level if part == ALL else self._level_in_pairs if part.is_pair else self._level_in_slices
        known, where = (spread, "") if spread.known else self._wider(feature, part, detector, level)
        if not known.known:
            few = f"{len(spread.distances)} of the {LEAST_WINDOWS} reference windows needed"
            return _noted(result, f"the floor does not know the traffic's own spread: {few}")
        floor = known.floor(level)
        raised = replace(result, floor=max(result.floor, floor))
        doubt = ", uncertain: they are too uneven to promise a rate" if known.uneven else ""
        return _noted(raised, f"floor from {len(known.distances)} reference windows{where}{doubt}")

    def _wider(self, feature: str, part: Slice, detector: str, level: float) -> tuple[Spread, str]:
        """The spread of all traffic; for a pair that of the slice of it which asks for more, if either is known."""
        around = [(self._own.spread(feature, side, detector), f" of {side}") for side in part.sides if part.is_pair]
        known = [each for each in around if each[0].known]
        if known:
            return max(known, key=lambda each: each[0].floor(level))
        return self._own.spread(feature, ALL, detector), " of all traffic"


class Sketched(Protocol):
    """A reference of which only counts are known."""

    def own_windows(self, window: Window, questions: Questions) -> Own:
        """It cut into windows like ``window``."""
        ...


class Spreads:
    """Keeps the cut windows of every reference as long as somebody keeps the reference."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Any, dict[tuple[timedelta, int], Own]] = WeakKeyDictionary()

    def floors(
        self,
        reference: Profile | Sketched,
        window: Window,
        hypotheses: Sequence[Hypothesis],
        watch: Watch,
        kind: str,
        rows: Own | None = None,
    ) -> Floors | None:
        """The floors for the hypotheses about one window; None where ``watch`` wants none but the statistics' own.

        ``rows`` knows of what is told of rows how far the reference's windows lie from the rest.
        """
        if not watch.floor_from_reference:
            return None
        cuts = self._kept.setdefault(reference, {})
        key = (window.length, phase(window))
        if key not in cuts:
            questions = Questions.of(watch)
            cuts[key] = (
                OwnWindows(reference, window, questions)
                if isinstance(reference, Profile)
                else reference.own_windows(window, questions)
            )
        asked = {(each.feature, each.part) for each in hypotheses}
        everywhere, pairs = (sum(1 for _, part in asked if len(part.sides) == sides) for sides in (0, 2))
        counts = everywhere, len(asked) - everywhere - pairs, pairs
        own = WithRows(cuts[key], rows) if rows else cuts[key]
        return Floors(own, watch.false_discovery_rate, *counts, passing=kind in PASSING)


def phase(window: Window) -> int:
    """Seconds into the day, or into the window where that is shorter, at which ``window`` begins."""
    return int(window.start.timestamp()) % min(int(window.length.total_seconds()), DAY_S)


def _cut(seconds: Index, window: Window, spans: Sequence[Window]) -> tuple[Index, list[int]]:
    """The number of each row's window, -1 outside of all, and the windows chosen. Only whole windows are cut."""
    number = _numbered_in(seconds, window, spans) if spans else _numbered(seconds, window)
    present, rows = np.unique(number, return_inverse=True)
    of_row: Index = rows.reshape(-1) - int(present[0] == -1)
    full = np.flatnonzero(np.bincount(of_row[of_row >= 0], minlength=1) >= LEAST_ROWS)
    drawn = full if len(full) <= MOST_WINDOWS else np.random.default_rng(0).choice(full, MOST_WINDOWS, replace=False)
    return of_row, sorted(drawn.tolist())


def _numbered(seconds: Index, window: Window) -> Index:
    length = int(window.length.total_seconds())
    hour = int(seconds.min()) // HOUR_S * HOUR_S
    first = hour + (phase(window) - hour) % min(length, DAY_S)
    end = (int(seconds.max()) // HOUR_S + 1) * HOUR_S
    number = (seconds - first) // length
    return np.where((number >= 0) & (number < (end - first) // length), number, -1)


def _numbered_in(seconds: Index, window: Window, spans: Sequence[Window]) -> Index:
    """Of a reference with gaps: no window lies in or across one."""
    length, starts = int(window.length.total_seconds()), starts_in(spans, window)
    if not starts:
        return np.full(len(seconds), -1, dtype=np.int64)
    edges = np.array(sorted(starts), dtype=np.int64)
    at = np.searchsorted(edges, seconds, side="right") - 1
    return np.where((at >= 0) & (seconds < edges[at] + length), at, -1)


def _effects(hypotheses: Sequence[Hypothesis]) -> Iterator[tuple[str, float]]:
    for each in hypotheses:
        answers: list[tuple[str, Callable[[], object]]] = [(each.detector, lambda at=each: at.outcome), *each.followers]  # type: ignore[misc]
        for detector, compute in answers:
            outcome = compute()
            if isinstance(outcome, Result):
                yield detector, outcome.effect


def _distance(detector: str, effect: float) -> float:
    return math.sqrt(effect) if detector in QUADRATIC else effect


def _noted(result: Result, note: str) -> Result:
    return replace(result, note="; ".join(part for part in (result.note, note) if part))
