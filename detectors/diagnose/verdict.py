"""What a check says: a verdict with its evidence, the part of the traffic, and how far beyond the usual it is."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from tidegauge.model import Slice

Part: TypeAlias = tuple[Slice, ...]
"""Rows that are in all of these slices; none is all traffic."""
EVERYTHING: Part = ()
BAD_FROM, SUSPECT_FROM = 2.0, 1.4
MOST_STRENGTH = 32.0
SEARCHED = 1.5
"""What is found by looking at many parts or features at once counts for less by this factor."""


class Stage(StrEnum):
    """The order in which an engineer walks: what comes first can feign what comes later."""

    LOGGING = "labels and logging"
    DATA = "data"
    CONCEPT = "concept"
    MODEL = "model"
    DOWNSTREAM = "downstream"


class Level(StrEnum):
    """How it stands. ``unknown`` is not ``ok``: there was nothing to look at, and the summary says why."""

    OK = "ok"
    SUSPECT = "suspect"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer of one check.

    Attributes:
        check: Its name.
        cause: What kind of thing went wrong; empty where nothing did.
        subject: The feature, version or other thing that it is about; empty for all.
        part: The rows that it is about.
        strength: The change over the largest that the days before show among themselves, 0 to 32; from 2 on it is bad.
        columns: What is changed directly: ``label``, ``volume``, ``version``, ``score``, ``prediction``, ``loss``, or a
            feature's name.
        evidence: The numbers, by name.
        began: When, where that is clearly another moment than the one asked for.
        spared: Checks that say as much of the rows that it does not touch: it explains none of what they found.
    """

    check: str
    stage: Stage
    level: Level
    summary: str
    cause: str = ""
    subject: str = ""
    part: Part = EVERYTHING
    strength: float = 0.0
    columns: frozenset[str] = frozenset()
    evidence: Mapping[str, float | str] = field(default_factory=dict)
    began: datetime | None = None
    spared: frozenset[str] = frozenset()

    @property
    def found(self) -> bool:
        """Whether something is wrong."""
        return self.level in (Level.BAD, Level.SUSPECT)


def level_of(strength: float) -> Level:
    """The level of a change that is so many times what is usual.

    >>> level_of(1.0).value, level_of(1.6).value, level_of(2.0).value
    ('ok', 'suspect', 'bad')
    """
    if strength >= BAD_FROM:
        return Level.BAD
    return Level.SUSPECT if strength >= SUSPECT_FROM else Level.OK


def told(
    check: str,
    stage: Stage,
    cause: str,
    summary: str,
    strength: float,
    columns: Set[str],
    evidence: Mapping[str, float | str],
    part: Part = EVERYTHING,
) -> Verdict:
    """A verdict whose level follows from its strength; an ok one names no cause and no columns."""
    level = level_of(strength)
    named = level is not Level.OK
    touched = frozenset(columns) if named else frozenset[str]()
    return Verdict(check, stage, level, summary, cause if named else "", "", part, strength, touched, evidence)


def part_text(part: Part) -> str:
    """How people write it.

    >>> part_text(()), part_text((Slice("carrier", "UA"), Slice("origin", "EWR")))
    ('all traffic', 'carrier=UA and origin=EWR')
    """
    return " and ".join(map(str, part)) or "all traffic"
