"""A finding: one answer of one detector about one part of the traffic in one window."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from tidegauge.detectors.statistics import Outcome, Result
from tidegauge.model import Slice, Window


class Verdict(StrEnum):
    """What a finding says. Undetermined is not stable: the detector could not tell."""

    DRIFT = "drift"
    STABLE = "stable"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table ``findings``, column by column."""

    evaluated_at: datetime
    finding_id: str
    subject: str
    feature: str
    detector: str
    dimension: str
    slice: str
    reference: str
    reference_start: datetime
    reference_end: datetime
    window_start: datetime
    window_end: datetime
    verdict: Verdict
    statistic: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    effect: float | None = None
    effect_floor: float | None = None
    n_reference: int = 0
    n_current: int = 0
    dropped_reference: int = 0
    dropped_current: int = 0
    since: datetime | None = None
    reason: str = ""
    evidence: str = ""

    @property
    def key(self) -> tuple[str, str, Slice]:
        """What it is about: the same in every window."""
        return self.feature, self.detector, Slice(self.dimension, self.slice)

    def row(self) -> dict[str, Any]:
        """What to insert."""
        return {name: getattr(self, name) for name in COLUMNS} | {"verdict": self.verdict.value}


COLUMNS = tuple(field.name for field in fields(Finding))


@dataclass(frozen=True, slots=True)
class Claim:
    """A verdict and what it rests on, before it is known to whom it belongs.

    ``outcome`` is None where the p-value alone settled the verdict, so that the rest was not computed.
    """

    feature: str
    detector: str
    part: Slice
    verdict: Verdict
    outcome: Outcome | None = None
    p_adjusted: float | None = None
    reason: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What the findings of one evaluation have in common.

    ``since`` maps (feature, detector, slice) to the start of the drift that the window before ended in.
    """

    subject: str
    window: Window
    reference: str
    reference_start: datetime
    reference_end: datetime
    now: datetime
    since: Mapping[tuple[str, str, Slice], datetime]
    note: str = ""

    def finding(self, claim: Claim) -> Finding:
        """The claim as a finding of this evaluation."""
        key = (claim.feature, claim.detector, claim.part)
        drift = claim.verdict is Verdict.DRIFT
        return Finding(
            evaluated_at=self.now,
            finding_id=self._identity(key),
            subject=self.subject,
            feature=claim.feature,
            detector=claim.detector,
            dimension=claim.part.dimension,
            slice=claim.part.value,
            reference=self.reference,
            reference_start=self.reference_start,
            reference_end=self.reference_end,
            window_start=self.window.start,
            window_end=self.window.end,
            verdict=claim.verdict,
            p_adjusted=claim.p_adjusted,
            since=self.since.get(key, self.window.start) if drift else None,
            evidence=claim.evidence,
            **numbers(claim, self.note),
        )

    def _identity(self, key: tuple[str, str, Slice]) -> str:
        feature, detector, part = key
        parts = [self.subject, self.window.start.isoformat(), self.window.end.isoformat(), feature, detector]
        text = "\x1f".join([*parts, part.dimension, part.value])
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def numbers(claim: Claim, note: str = "") -> dict[str, Any]:
    """What a claim rests on, under the names of ``Finding``'s fields; those that it has."""
    outcome = claim.outcome
    if outcome is None:
        return {"reason": claim.reason}
    sizes = {"n_reference": outcome.n_reference, "n_current": outcome.n_current}
    if not isinstance(outcome, Result):
        return sizes | {"reason": claim.reason or outcome.reason}
    return sizes | {
        "statistic": outcome.value,
        "p_value": outcome.p_value,
        "effect": outcome.effect,
        "effect_floor": outcome.floor,
        "dropped_reference": outcome.dropped_reference,
        "dropped_current": outcome.dropped_current,
        "reason": "; ".join(part for part in (claim.reason, _interval(outcome), outcome.note, note) if part),
    }


def _interval(result: Result) -> str:
    return "95 % interval {:.4g} to {:.4g}".format(*result.interval) if result.interval else ""
