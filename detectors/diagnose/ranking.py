"""From verdicts to causes: what explains most of all that changed comes first.

The weight of a finding is log2(1 + strength): 1.6 where it is just bad, 5 at most. A finding explains another where

- it is bad itself;
- what the other found changed lies downstream of what it changed: features and versions make scores, scores make
  decisions and loss, labels make the loss;
- both are about rows that can be the same, and began together, or the other comes later by its nature (``LATER``);
- it is not as much so in the rows that the cause does not touch;
- it comes earlier in the walk, or says more closely what happened to the same columns (``CLOSENESS``).

A part of the traffic that grew or shrank explains besides what is found in that part alone: its rows are other ones.

A cause is a finding that no other explains. Its rank is the sum of the weights of what it explains, itself included.
First come those that began at the moment asked for, bad ones and then those that are told closely, such as a release;
then bad before suspect, what began at that moment before what began at another, consequences (stage downstream) last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import log2

from tidegauge.detectors.diagnose.llm.flow import LLM_CLOSENESS, LLM_FLOW
from tidegauge.detectors.diagnose.verdict import Level, Part, Stage, Verdict

FLOW: Mapping[str, frozenset[str]] = {
    "feature": frozenset({"score", "prediction", "loss"}),
    "version": frozenset({"score", "prediction", "loss"}),
    "score": frozenset({"prediction", "loss"}),
    "prediction": frozenset({"prediction"}),
    "label": frozenset({"label", "loss"}),
    "volume": frozenset({"volume"}),
    "loss": frozenset({"loss"}),
    **LLM_FLOW,
}
OUTPUTS = frozenset({"score", "prediction", "loss", "label", "volume", "version", *LLM_FLOW})
CLOSENESS: Mapping[str, int] = {
    "moved": 1,
    "skew": 2,
    "joined wrongly": 4,
    "units": 4,
    "outliers": 4,
    "default value": 4,
    "precision lost": 3,
    "missing": 3,
    "labels missing": 1,
    "labels late": 3,
    "label class lost": 4,
    "label keys broken": 4,
    "volume rise": 1,
    "volume drop": 1,
    "part grew": 2,
    "part shrank": 2,
    "part gone": 3,
    "scores off": 1,
    "concept": 1,
    "swapped": 6,
    **LLM_CLOSENESS,
}
"""How closely a kind of cause says what happened; 5 where it is not listed. An exchange brings all the other marks."""
CLOSE = 3
MIX = "traffic mix"
APART = timedelta(days=2)
"""What began nearer to each other than this began together."""
LATER = frozenset({("labels late", "labels missing")})
"""What follows from what so much later: labels that take longer are missing in the last days alone."""
STAGES = tuple(Stage)


@dataclass(frozen=True)
class Cause:
    """A finding that nothing else explains, with what it explains itself.

    Attributes:
        weight: The sum of the weights of the finding and of what it explains, consequences downstream left out: they
            say how urgent it is and never why.
        share: All that it explains, as a share of the weights of all findings, 0 to 1.
    """

    finding: Verdict
    explains: tuple[Verdict, ...]
    weight: float
    share: float

    @property
    def sure(self) -> str:
        """In words how sure it is."""
        if self.finding.level is not Level.BAD:
            return "possible"
        if self.share >= 0.75 and self.finding.strength >= 4:
            return "very likely"
        return "likely" if self.share >= 0.4 else "possible"


def weight(verdict: Verdict) -> float:
    """How much a finding counts.

    >>> weight(Verdict("volume", Stage.LOGGING, Level.BAD, "", strength=31.0))
    5.0
    """
    return log2(1 + max(0.0, verdict.strength))


def rank(verdicts: Sequence[Verdict]) -> list[Cause]:
    """All causes, what explains most first."""
    found = [each for each in verdicts if each.found]
    total = sum(map(weight, found)) or 1.0
    causes = []
    for each in found:
        if any(explains(other, each) for other in found if other is not each):
            continue
        explained = tuple(other for other in found if other is not each and explains(each, other))
        own = [each, *explained]
        told = sum(weight(one) for one in own if one.stage is not Stage.DOWNSTREAM or one is each)
        causes.append(Cause(each, explained, told, sum(map(weight, own)) / total))
    return sorted(causes, key=order)


def explains(cause: Verdict, other: Verdict) -> bool:
    """Whether ``other`` follows from ``cause``, by the rules above."""
    if cause.level is not Level.BAD or not overlap(cause.part, other.part) or not _together(cause, other):
        return False
    if _place(cause) == _place(other) or (other.check in cause.spared and not other.part):
        return False
    if cause.check == MIX and set(cause.part) <= set(other.part) and _place(cause) < _place(other):
        return True
    same = other.columns <= cause.columns
    if same and _closer(cause, other):
        return True
    return other.columns <= reach(cause) and _place(cause) < _place(other) and not same


def _together(one: Verdict, other: Verdict) -> bool:
    """Whether they began at the same moment, as far as that is known, or ``other`` is what ``one`` brings later."""
    if (one.cause, other.cause) in LATER and one.began is None and other.began is not None:
        return True
    if one.began is None or other.began is None:
        return one.began is other.began
    return abs(one.began - other.began) < APART


def reach(verdict: Verdict) -> frozenset[str]:
    """What is changed by it, directly or downstream."""
    found = set(verdict.columns)
    for column in verdict.columns:
        found |= FLOW[column if column in OUTPUTS else "feature"]
    return frozenset(found)


def overlap(one: Part, other: Part) -> bool:
    """Whether rows can be in both: no dimension is pinned to two values.

    >>> from tidegauge.model import Slice
    >>> overlap((Slice("carrier", "UA"),), (Slice("carrier", "AA"),)), overlap((), (Slice("carrier", "AA"),))
    (False, True)
    """
    pinned = {each.dimension: each.value for each in one}
    return all(pinned.get(each.dimension, each.value) == each.value for each in other)


def _place(verdict: Verdict) -> tuple[int, int]:
    """Earlier in the walk, then closer."""
    return STAGES.index(verdict.stage), -closeness(verdict)


def _closer(cause: Verdict, other: Verdict) -> bool:
    if STAGES.index(cause.stage) != STAGES.index(other.stage):
        return STAGES.index(cause.stage) < STAGES.index(other.stage)
    return closeness(cause) > closeness(other)


def closeness(verdict: Verdict) -> int:
    """How closely it says what happened, 1 to 6; a consequence says nothing of it, 0."""
    return 0 if verdict.stage is Stage.DOWNSTREAM else CLOSENESS.get(verdict.cause, 5)


def order(cause: Cause) -> tuple[bool, bool, bool, bool, float, tuple[int, int]]:
    """What is first: see above."""
    finding = cause.finding
    bad, later = finding.level is Level.BAD, finding.stage is Stage.DOWNSTREAM
    then = finding.began is None and not later and (bad or closeness(finding) >= CLOSE)
    return not then, not bad, finding.began is not None, later, -cause.weight, _place(finding)
