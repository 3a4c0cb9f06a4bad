"""Windows through the code that judges windows: hypotheses, floors, verdicts, as in the drift loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tidegauge.config import Watch
from tidegauge.detectors import drift
from tidegauge.detectors.calibrate.shifts import Rng, Shift, moved_by, shifts
from tidegauge.detectors.calibrate.windows import Cut
from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.pairs import Beside
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.questions import Questions
from tidegauge.detectors.spread import Spreads
from tidegauge.detectors.traffic import Traffic, rows_at
from tidegauge.detectors.verdicts import Alone, Hypothesis, judge
from tidegauge.model import ALL, Window

FEATURES_A_WINDOW = 4
TREND = tuple(0.125 * step for step in range(1, 9))
"""Deviations by which a mean has moved, window after window: one deviation in eight windows."""


@dataclass
class Counts:
    """Windows and tests that were replayed without a change, and those called drift."""

    windows: int = 0
    alarmed: dict[str, int] = field(default_factory=dict)
    tests: dict[tuple[str, str], int] = field(default_factory=dict)
    found: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, claims: Sequence[Claim]) -> None:
        """One window's claims. A window is alarmed ``anywhere``, in all ``traffic``, or in ``slices``."""
        self.windows += 1
        for claim in claims:
            if claim.verdict is Verdict.UNDETERMINED:
                continue
            key = claim.detector, "traffic" if claim.part == ALL else "slices"
            self.tests[key] = self.tests.get(key, 0) + 1
            self.found[key] = self.found.get(key, 0) + (claim.verdict is Verdict.DRIFT)
        where = {"traffic" if claim.part == ALL else "slices" for claim in claims if claim.verdict is Verdict.DRIFT}
        for name in where | ({"anywhere"} if where else set()):
            self.alarmed[name] = self.alarmed.get(name, 0) + 1


@dataclass
class Power:
    """Windows with a change in one feature, and those in which that feature was found, by detector and at all."""

    tried: int = 0
    found: int = 0
    by_detector: dict[str, int] = field(default_factory=dict)

    def add(self, detectors: set[str]) -> None:
        """One window, and the detectors that found the change in all traffic."""
        self.tried += 1
        self.found += bool(detectors)
        for name in detectors:
            self.by_detector[name] = self.by_detector.get(name, 0) + 1


@dataclass
class Replay:
    """What came of all windows: ``whole`` ones, those ``drawn`` by days, ones with a shift, and slow trends.

    ``trends`` holds the number of windows until each was found, 0 for never.
    """

    whole: Counts = field(default_factory=Counts)
    drawn: Counts = field(default_factory=Counts)
    power: dict[tuple[str, float], Power] = field(default_factory=dict)
    trends: list[int] = field(default_factory=list)


class Judge:
    """One reference, and windows judged against it."""

    def __init__(self, reference: Traffic, watch: Watch, kind: str) -> None:
        self._reference = Profile(reference)
        self._watch, self._questions = watch, Questions.of(watch)
        self._kind = kind
        self._spreads = Spreads()

    def judged(self, current: Traffic, window: Window) -> tuple[list[Hypothesis], list[Claim]]:
        """All that is asked about a window, of volume nothing, and the verdicts."""
        profile = Profile(current)
        parts = drift.Parts(self._reference, profile, self._watch.max_slices, None, self._watch.max_pairs)
        asked = list(drift.hypotheses(self._reference, profile, parts.tested, self._questions))
        return asked, self.claims(asked, window, Beside(self._reference, profile, asked, self._questions))

    def about(self, feature: str, current: Traffic) -> list[Hypothesis]:
        """What is asked about one feature of all traffic."""
        return list(drift.about_feature(feature, self._reference, Profile(current), [ALL], self._questions))

    def claims(self, hypotheses: Sequence[Hypothesis], window: Window, alone: Alone | None = None) -> list[Claim]:
        """The verdicts."""
        floors = self._spreads.floors(self._reference, window, hypotheses, self._watch, self._kind)
        return judge(hypotheses, self._watch.false_discovery_rate, floors, alone)

    def deviation(self, feature: str) -> float:
        """Of a numeric feature in the reference."""
        values = self._reference.values(feature)
        finite = values[np.isfinite(values)] if values is not None else np.empty(0)
        return float(np.std(finite)) if len(finite) else 0.0


def replay(traffic: Traffic, watch: Watch, kind: str, draws: int, rng: Rng) -> Replay:
    """Leave out each group of windows of ``traffic`` once, judge it against the rest, and ``draws`` windows more.

    Raises:
        ValueError: the rows have no times, or fewer than 4 windows fit in.
    """
    if traffic.seconds is None or not traffic.rows:
        raise ValueError("the reference has no rows with a time")
    cut = Cut.of(traffic.seconds, int(watch.window_hours * 3600))
    if len(cut.windows) < 4:
        raise ValueError(
            f"{len(cut.windows)} windows of {watch.window_hours:g} h with 50 rows fit into the reference; 4 are needed"
        )
    found = Replay()
    for group in cut.groups(rng):
        _left_out(traffic, cut, group, Judge(rows_at(traffic, cut.others(group)), watch, kind), draws, rng, found)
    return found


def _left_out(
    traffic: Traffic, cut: Cut, group: tuple[int, ...], judging: Judge, draws: int, rng: Rng, found: Replay
) -> None:
    """Whole windows, with and without shifts; windows of drawn days; trends."""
    everywhere: list[Hypothesis] = []
    for number in group:
        current, window = rows_at(traffic, cut.rows_of(number)), cut.at(number)
        hypotheses, claims = judging.judged(current, window)
        found.whole.add(claims)
        everywhere = [each for each in hypotheses if each.part == ALL]
        _shifted(judging, current, window, everywhere, rng, found.power)
    for _ in range(draws if cut.days > 1 else 0):
        current = rows_at(traffic, cut.drawn(group, rng))
        found.drawn.add(judging.judged(current, cut.at(group[0]))[1])
    for feature in _some(traffic.numeric, rng):
        windows = [rows_at(traffic, cut.rows_of(number)) for number in rng.choice(np.array(group), size=len(TREND))]
        found.trends.append(_found_at(judging, windows, cut.at(group[0]), everywhere, feature, rng))


def _some(names: Iterable[str], rng: Rng) -> list[str]:
    found: list[str] = rng.permutation(np.array(sorted(names), dtype=object))[:FEATURES_A_WINDOW].tolist()
    return found


def _shifted(
    judging: Judge,
    current: Traffic,
    window: Window,
    everywhere: Sequence[Hypothesis],
    rng: Rng,
    power: dict[tuple[str, float], Power],
) -> None:
    for shift in shifts():
        able = [name for name in _features(current) if shift.fits(current, name)]
        for feature in _some(able, rng):
            detectors = _detectors(judging, current, window, everywhere, feature, shift, rng)
            power.setdefault((shift.kind, shift.size), Power()).add(detectors)


def _detectors(
    judging: Judge,
    current: Traffic,
    window: Window,
    everywhere: Sequence[Hypothesis],
    feature: str,
    shift: Shift,
    rng: Rng,
) -> set[str]:
    """Who finds the shift, all other features being as they were."""
    changed = shift.into(current, feature, judging.deviation(feature), rng)
    asked = [each for each in everywhere if each.feature != feature] + judging.about(feature, changed)
    claims = judging.claims(asked, window)
    return {claim.detector for claim in claims if claim.feature == feature and claim.verdict is Verdict.DRIFT}


def _found_at(
    judging: Judge, windows: Sequence[Traffic], window: Window, everywhere: Sequence[Hypothesis], feature: str, rng: Rng
) -> int:
    """The number of the window in which a mean that creeps away is found, 0 for none."""
    for step, (current, size) in enumerate(zip(windows, TREND, strict=True), 1):
        if _detectors(judging, current, window, everywhere, feature, moved_by(size), rng):
            return step
    return 0


def _features(traffic: Traffic) -> list[str]:
    return [*traffic.numeric, *(name for name in traffic.categorical if name not in traffic.numeric)]
