"""From diagnoses of one day to the causes that are told: bad, beyond the usual by far, and seen day after day."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from tidegauge.config import DailyDiagnosis
from tidegauge.detectors.diagnose import Cause, Diagnosis, Level, Stage
from tidegauge.detectors.diagnose.advice import step
from tidegauge.detectors.diagnose.ranking import CLOSE, closeness, overlap
from tidegauge.detectors.diagnose.verdict import Verdict, part_text
from tidegauge.detectors.finding import Claim
from tidegauge.detectors.finding import Verdict as Found
from tidegauge.detectors.statistics import Result
from tidegauge.model import ALL, Slice

DETECTOR = "diagnosis"
TOLD_BY = "told by drift of "
"""How the reason begins of a cause that other findings tell already; no alert counts it."""
COUNTED = frozenset({"volume", "version"})
COUNTED_CAUSES = frozenset({"labels missing", "labels late", "label keys broken", "type changed"})
"""What rules on counts, of labels and of changes of features' types, tell of on the same day."""
FEATURES: Mapping[str, tuple[str, ...]] = {"label": ("label", "error"), "loss": ("error", "label")}
"""What a diagnosis says is changed, and the features of findings that say so; of a feature its own name."""
RELATIONS = frozenset({"joined wrongly", "swapped", "stale"})
"""Of features that no longer fit each other it is seen late which one is at fault: those are one matter."""
AT_ONCE = frozenset({"stale", "threshold changed", "clock shifted"})
"""What shows on few days alone, and so closely that chance does not do it: what code does to all rows alike."""
MISSING = "missing"
MOST_FEATURES = 3
VAGUE = 4 / 3
"""So many times as far beyond the usual must be what says little of what happened, such as other outcomes."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One cause as one look at one day saw it.

    Attributes:
        columns: What it changed directly, sorted.
        since: When it began, as far as that look can tell.
        rows: Predictions before and since.
    """

    finding: Verdict
    columns: tuple[str, ...]
    since: datetime
    sure: str
    share: float
    followed_by: tuple[str, ...]
    rows: tuple[int, int]

    @property
    def feature(self) -> str:
        """What a finding of it is about."""
        named = [FEATURES.get(each, (each,))[0] for each in self.columns[:MOST_FEATURES]]
        return ", ".join(named) or self.finding.cause

    @property
    def part(self) -> Slice:
        """The part of the traffic as findings name it; of three dimensions the first two."""
        sides = self.finding.part[:2]
        return Slice.pair(*sides) if len(sides) == 2 else sides[0] if sides else ALL

    @property
    def name(self) -> str:
        """What went wrong with what."""
        return ": ".join(filter(None, (self.finding.cause, self.finding.subject)))


@dataclass(frozen=True, slots=True)
class Seen:
    """What an earlier day's finding says of a cause.

    Attributes:
        feature: What the finding is about, with ``part`` its key.
        last: Whether it is of the day before.
        told: Whether it was told, then or lately.
        days: On how many days in a row it was seen, 0 where it no longer was.
        told_by: The drift that tells it already, in words; empty for none.
    """

    feature: str
    part: Slice
    cause: str
    columns: frozenset[str]
    last: bool
    told: bool
    days: int
    since: datetime
    told_by: str = ""

    @property
    def going_on(self) -> bool:
        """Whether it was told on the day before."""
        return self.last and self.told and self.days > 0


def sightings(looks: Iterable[Diagnosis], settings: DailyDiagnosis) -> list[Sighting]:
    """Causes worth remembering of one day; of several about the same columns that which says most closely what it is.

    Bad ones, ``times_usual`` or more times the usual; none that a rule on counts tells, and no consequence.
    """
    found = [sighting(each, cause) for each in looks for cause in each.causes if _counts(cause, settings.times_usual)]
    ranked = sorted(found, key=lambda one: (-closeness(one.finding), -one.finding.strength))
    kept: list[Sighting] = []
    for each in ranked:
        if not any(one_matter(each.finding, other.finding) for other in kept):
            kept.append(each)
    return kept


def one_matter(one: Verdict, other: Verdict) -> bool:
    """Whether two findings may be of one cause: rows that can be in both, the same columns or relations of columns."""
    return overlap(one.part, other.part) and _alike(one.cause, one.columns, other.cause, other.columns)


def _alike(cause: str, columns: Set[str], other: str, others: Set[str]) -> bool:
    if (cause == MISSING) != (other == MISSING):  # a gap goes on while what is there is wrong as well
        return False
    return bool(columns & others) or {cause, other} <= RELATIONS


def nearest(found: Diagnosis, finding: Verdict) -> Sighting | None:
    """The first bad cause of a diagnosis that may be the same as ``finding``."""
    bad = (each for each in found.causes if _ours(each.finding))
    return next((sighting(found, each) for each in bad if one_matter(each.finding, finding)), None)


def gone_on(found: Diagnosis, seen: Seen) -> Sighting | None:
    """The first bad cause of a diagnosis with which ``seen`` goes on."""
    bad = (sighting(found, each) for each in found.causes if _ours(each.finding))
    return next((each for each in bad if matched(each, [seen])), None)


def _counts(cause: Cause, times_usual: float) -> bool:
    finding = cause.finding
    least = times_usual if closeness(finding) >= CLOSE else VAGUE * times_usual
    return _ours(finding) and finding.strength >= least


def _ours(finding: Verdict) -> bool:
    """Whether it is bad, no consequence, and nothing that a rule on counts tells."""
    if finding.level is not Level.BAD or finding.stage is Stage.DOWNSTREAM:
        return False
    return not finding.columns & COUNTED and finding.cause not in COUNTED_CAUSES


def sighting(found: Diagnosis, cause: Cause) -> Sighting:
    """A cause as a diagnosis has it."""
    explained = tuple(f"{each.check}: {each.summary}" for each in cause.explains)
    columns = tuple(sorted(cause.finding.columns))
    rows = found.rows_before, found.rows_since
    return Sighting(cause.finding, columns, found.began(cause), cause.sure, cause.share, explained, rows)


def matched(seen_now: Sighting, seen: Sequence[Seen]) -> Seen | None:
    """The earlier finding that it goes on with: one that was told before one that was seen only."""
    mine, columns = seen_now.finding, frozenset(seen_now.columns)
    able = [
        each
        for each in seen
        if overlap(mine.part, each.part.sides) and _alike(mine.cause, columns, each.cause, each.columns)
    ]
    return max(able, key=lambda each: (each.told, each.last, each.days), default=None)


def claim(now: Sighting, before: Seen | None, settings: DailyDiagnosis, since: datetime, told_by: str) -> Claim:
    """A cause as a finding: drift where it is told, stable on the first days on which it is seen."""
    days = 1 + (before.days if before and before.last else 0)
    told = bool(before and before.told) or days >= settings.days_in_a_row or now.finding.cause in AT_ONCE
    finding, kept = now.finding, before if before and before.told else None
    words = f"{now.name} ({now.sure}) in {part_text(finding.part)} since {since:%Y-%m-%d %H:%M} UTC: "
    words += f"{finding.summary}; next: {step(finding)}"
    if not told:
        words = f"seen on {days} day{'s' if days > 1 else ''}, told from {settings.days_in_a_row} on: {words}"
    elif told_by:
        words = f"{told_by}: {words}"
    strength, floor = finding.strength, settings.times_usual
    return Claim(
        kept.feature if kept else now.feature,
        DETECTOR,
        kept.part if kept else now.part,
        Found.DRIFT if told else Found.STABLE,
        Result(DETECTOR, strength, None, strength, floor, *now.rows),
        reason=words,
        evidence=json.dumps(_evidence(now, days, since)),
    )


def over(seen: Seen) -> Claim:
    """A cause that was told on the day before, and is no longer seen."""
    kept = {"cause": seen.cause, "columns": sorted(seen.columns), "days": 0, "since": seen.since.isoformat()}
    return Claim(
        seen.feature, DETECTOR, seen.part, Found.STABLE, None, reason="no longer seen", evidence=json.dumps(kept)
    )


def _evidence(now: Sighting, days: int, since: datetime) -> dict[str, Any]:
    finding = now.finding
    return {
        "cause": finding.cause,
        "subject": finding.subject,
        "part": part_text(finding.part),
        "columns": list(now.columns),
        "days": days,
        "since": since.isoformat(),
        "sure": now.sure,
        "explains": round(now.share, 3),
        "numbers": {name: _plain(value) for name, value in finding.evidence.items()},
        "followed by": list(now.followed_by),
        "next": step(finding),
    }


def _plain(value: float | str) -> float | str:
    """JSON has no infinities."""
    return value if isinstance(value, str) or isfinite(value) else str(value)


def names(columns: Iterable[str]) -> Iterator[str]:
    """The features of findings that would say the same."""
    for each in columns:
        yield from FEATURES.get(each, (each,))
