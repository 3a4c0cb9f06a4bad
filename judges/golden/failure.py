"""What was wrong with one answer: every reason that is on record, as one case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import prod
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["trace", "prediction"]
Key: TypeAlias = tuple[Kind, str]
SHORT = 500  # characters of a detail

STRENGTH: Mapping[str, float] = {
    "error": 0.7,
    "refused": 0.5,
    "blocked": 0.4,  # the guardrail may well have been right
    "low_score": 0.7,  # 1 - score, where that is more
    "negative_feedback": 0.8,
    "disagreement": 0.6,
    "empty_retrieval": 0.5,
    "rephrased": 0.4,
    "confident_error": 0.8,  # the confidence, where that is more
    "large_error": 0.5,  # e / (e + the usual error), where that is more
    "drifted": 0.2,  # no failure by itself: traffic that is new
    "injection": 0.5,
    "invalid_verdict": 0.3,  # the judge's failure, not the application's
}
"""How sure a reason alone makes that this is a failure worth keeping, 0 to 1; a judgement, not a measurement."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that speaks against one record. ``subject`` and ``tenant`` are empty where the source does not know."""

    kind: Kind
    record_id: str
    reason: str
    detail: str
    at: datetime
    subject: str = ""
    tenant: str = ""
    strength: float = 0.0
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One record with all that speaks against it, and what it was.

    Attributes:
        reasons: Reason -> by what it was seen.
        text: What was asked, as far as it was captured; of predictions their features as JSON.
        features: Of a prediction: name -> number or text.
    """

    kind: Kind
    record_id: str
    subject: str
    at: datetime
    reasons: Mapping[str, str]
    strength: float
    tenant: str = ""
    expected: str = ""
    trace_id: str = ""
    text: str = ""
    output: str = ""
    slices: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What it is a case of."""
        return self.kind, self.record_id

    def also(self, reason: str, detail: str) -> Case:
        """The same with one reason more."""
        strength = 1 - (1 - self.strength) * (1 - STRENGTH[reason])
        return replace(self, reasons={**self.reasons, reason: detail}, strength=strength)


def cases(signs: Iterable[Sign]) -> list[Case]:
    """The signs, put together by record; of several for one reason the strongest is told.

    Strengths add up as if the reasons were independent: 1 - (1 - a)(1 - b).
    """
    found: dict[Key, dict[str, Sign]] = {}
    for sign in signs:
        reasons = found.setdefault((sign.kind, sign.record_id), {})
        if sign.reason not in reasons or _weight(sign) > _weight(reasons[sign.reason]):
            reasons[sign.reason] = sign
    return [_case(list(reasons.values())) for reasons in found.values()]


def rarest(found: Sequence[Case]) -> list[str]:
    """Of each case the reason that the fewest others have: the one that it stands for."""
    supply = Counter(reason for case in found for reason in case.reasons)
    return [min(case.reasons, key=lambda reason: (supply[reason], reason)) for case in found]


def _case(signs: list[Sign]) -> Case:
    first = min(signs, key=lambda sign: sign.at)
    return Case(
        first.kind,
        first.record_id,
        next((sign.subject for sign in signs if sign.subject), ""),
        first.at,
        {sign.reason: sign.detail[:SHORT] for sign in sorted(signs, key=_weight, reverse=True)},
        1 - prod(1 - _weight(sign) for sign in signs),
        next((sign.tenant for sign in signs if sign.tenant), ""),
        next((sign.expected for sign in signs if sign.expected), ""),
    )


def _weight(sign: Sign) -> float:
    return min(1.0, max(STRENGTH[sign.reason], sign.strength))
