"""The state of alerts as plain frozen data, and what a change of it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tidegauge.metrics import Observation


class State(StrEnum):
    """Where one series of one rule stands."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"
    NO_DATA = "no_data"
    INSUFFICIENT = "insufficient"


class Notice(StrEnum):
    """What a transition tells the receivers."""

    NONE = ""
    FIRE = "fire"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule sees of one series: its value now and, for ``compare``, the one before. ``absent`` has none."""

    labels: Mapping[str, str]
    now: Observation | None
    before: Observation | None = None


@dataclass(frozen=True, slots=True)
class QueryFailed:
    """The query of a rule failed: nothing can be said about any of its series."""

    reason: str


Readings = Mapping[str, "list[Reading] | QueryFailed"]


@dataclass(frozen=True, slots=True)
class Transition:
    """One change in one series; a row of ``alert_events``.

    Attributes:
        at: When it was found.
        since: When the condition began to hold; for states without a condition, when they began.
        notice: Whether receivers are told, and what.
        open: Whether it fires, or did and is not over; receivers know unless it is ``muted``.
        lapsed_since: While open: since when the condition has not been seen to hold.
        value, low, high, threshold, samples: The numbers that caused it.
        note: More for people, such as the largest findings.
        muted: While open: why receivers have not been told; empty when they have.
        receivers: Names of those who are told.
    """

    at: datetime
    rule: str
    fingerprint: str
    labels: Mapping[str, str]
    state: State
    previous: State
    notice: Notice
    open: bool
    since: datetime
    lapsed_since: datetime | None
    severity: str
    owner: str
    runbook: str
    action: str
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None
    samples: int
    unit: str
    reason: str
    summary: str
    note: str = ""
    muted: str = ""
    receivers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AlertState:
    """Where one series stands; with rule, severity and so on, so that it can be closed when its rule is gone."""

    rule: str
    labels: Mapping[str, str]
    state: State
    since: datetime
    open: bool = False
    lapsed_since: datetime | None = None
    severity: str = ""
    owner: str = ""
    runbook: str = ""
    action: str = ""
    muted: str = ""
    receivers: tuple[str, ...] = ()


States = Mapping[str, AlertState]


def fingerprint(rule: str, labels: Mapping[str, str]) -> str:
    """32 hex digits that stand for a series of a rule, the same in every process and after every restart."""
    text = json.dumps([rule, sorted(labels.items())], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
