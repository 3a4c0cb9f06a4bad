"""The state of alerts as plain frozen data, and what a change of it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from tidegauge.diagnoses import Diagnosed
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
    """What a transition tells the receivers; those after them change no state."""

    NONE = ""
    FIRE = "fire"
    RESOLVE = "resolve"
    REMIND = "remind"
    ESCALATE = "escalate"
    ACKNOWLEDGE = "acknowledge"
    DIGEST = "digest"
    PROPOSE = "propose"
    HOOK = "hook"
    DIAGNOSE = "diagnose"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule sees of one series: its value now and, for ``compare``, the one before. ``absent`` has none.

    ``parts`` are the values of several windows: of ``slo`` each long one and its short one, of ``trend`` oldest first,
    of a season the last week first, without those in known incidents. ``partial``: the series began within the window
    before, so that an amount there is not that of a whole window.
    """

    labels: Mapping[str, str]
    now: Observation | None
    before: Observation | None = None
    parts: tuple[Observation | None, ...] = ()
    partial: bool = False


@dataclass(frozen=True, slots=True)
class QueryFailed:
    """The query of a rule failed: nothing can be said about any of its series."""

    reason: str


Readings = Mapping[str, "list[Reading] | QueryFailed"]


@dataclass(frozen=True, slots=True)
class Chart:
    """A metric before an alert, to be drawn.

    Attributes:
        title, about: The metric; and whose it is, as people write it.
        unit: As ``Metric.unit``.
        ends: Of the windows, oldest first.
        values: One for each; None where there was nothing.
        reference: Lower and upper end of what each is compared with; empty where it is compared with nothing.
        reference_name: What that is.
        threshold: None where it is no constant.
        since: When the alert began.
    """

    title: str
    about: str
    unit: str
    ends: tuple[datetime, ...]
    values: tuple[float | None, ...]
    reference: tuple[tuple[float, float] | None, ...]
    reference_name: str
    threshold: float | None
    upward: bool
    since: datetime


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a message shows beside an alert's own numbers.

    Attributes:
        course: The metric over the windows before, and the threshold, in one line.
        traces: Ids of a few answers that made it fire.
        chart: The same, for where a picture can be shown.
        diagnosis: Why its model changed, where that is likely enough to be told.
    """

    course: str = ""
    traces: tuple[str, ...] = ()
    chart: Chart | None = None
    diagnosis: Diagnosed | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """One change in one series; a row of ``alert_events``.

    Attributes:
        at: When it was found.
        since: When the condition began to hold; for states without a condition, when they began.
        notice: Whether receivers are told, and what.
        open: Whether it fires, or did and is not over; receivers know unless it is ``muted``.
        lapsed_since: While open: since when the condition has not been seen to hold.
        value, low, high, threshold, samples, unit: The numbers that caused it; none where no measurement did.
        note: More for people, such as the largest findings.
        muted: While open: why receivers have not been told; empty when they have.
        receivers: Names of those who are told.
        evidence: Found again for each message; the only part that is not stored.
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
    reason: str
    summary: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    samples: int = 0
    unit: str = ""
    note: str = ""
    muted: str = ""
    receivers: tuple[str, ...] = ()
    evidence: Evidence = field(default=Evidence(), compare=False)


@dataclass(frozen=True, slots=True)
class AlertState:
    """Where one series stands; with rule, severity and so on, so that it can be closed when its rule is gone.

    Attributes:
        receivers: Who was told of it and is told of its end.
        fired_at: While open: when they were first told; with the fingerprint it names the alert in responses.
        told: When each was last told that it fires.
        steps: Escalations so far.
        acknowledged: By whom, empty for nobody yet.
        last: While open: what would be told now, with the newest numbers.
    """

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
    fired_at: datetime | None = None
    told: Mapping[str, datetime] = field(default_factory=dict)
    steps: int = 0
    acknowledged: str = ""
    last: Transition | None = None

    def closed(self, now: datetime, reason: str) -> Transition:
        """The end of an open alert that no measurement ended; ``last`` must be there."""
        assert self.last
        return replace(
            self.last,
            at=now,
            state=State.RESOLVED,
            previous=self.state,
            notice=Notice.RESOLVE,
            open=False,
            lapsed_since=None,
            receivers=self.receivers,
            reason=reason,
        )

    def after(self, transition: Transition) -> AlertState:
        """The same once ``transition`` is told."""
        at, who = transition.at, transition.receivers
        match transition.notice:
            case Notice.FIRE:
                told = dict.fromkeys(who, at)
                return replace(self, fired_at=at, receivers=who, told=told, steps=0, acknowledged="")
            case Notice.REMIND:
                return replace(self, told={**self.told, **dict.fromkeys(who, at)})
            case Notice.ESCALATE:
                everybody = tuple(dict.fromkeys((*self.receivers, *who)))
                told = {**self.told, **dict.fromkeys(who, at)}
                return replace(self, receivers=everybody, told=told, steps=self.steps + 1)
            case Notice.ACKNOWLEDGE:
                return replace(self, acknowledged=transition.note or "somebody")
        return self


States = Mapping[str, AlertState]


def fingerprint(rule: str, labels: Mapping[str, str]) -> str:
    """32 hex digits that stand for a series of a rule, the same in every process and after every restart."""
    text = json.dumps([rule, sorted(labels.items())], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
