"""Rules over past data, judged: what would have paged, how often, how early, and which threshold suits the wish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tidegauge.alerting.expected import Expected
from tidegauge.alerting.incidents import Incident
from tidegauge.alerting.remembered import remembered
from tidegauge.alerting.replay import Past, Round, open_for, outcomes, play
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import Notice, QueryFailed, Reading, Transition
from tidegauge.alerting.verdicts import decisive
from tidegauge.model import Window

WEEK = timedelta(weeks=1)
MOST_OPEN = 0.2  # of the time: an alert that is open longer tells nothing from anything


@dataclass(frozen=True, slots=True)
class Fired:
    """One notification that receivers would have had."""

    at: datetime
    rule: str
    labels: dict[str, str]
    summary: str
    incident: str | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A threshold that would have fired at most as often as wanted: the least far from calm values that does."""

    threshold: float
    per_week: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What one rule would have done.

    ``true`` and ``false``: within a known incident and outside of all. ``expected``: false pages from now on.
    """

    past: Past
    per_week: float
    true: int
    false: int
    failed_rounds: int
    proposal: Proposal | None
    expected: Expected | None = None

    @property
    def unexplained(self) -> int:
        """How often it fired outside of known incidents."""
        return self.past.fired - self.true


@dataclass(frozen=True, slots=True)
class Seen:
    """What the rules made of one known incident; ``delay`` is from its start to the first notification."""

    incident: str
    rule: str | None
    delay: timedelta | None


@dataclass(frozen=True, slots=True)
class Backtest:
    """The whole answer."""

    span: Window
    rules: tuple[Judged, ...]
    fired: tuple[Fired, ...]
    incidents: tuple[Seen, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines; times as ISO 8601, lengths in seconds."""
        return {name: _jsonable(value) for name, value in asdict(self).items()}


def backtest(
    rules: Sequence[Rule],
    past: Sequence[Round],
    span: Window,
    incidents: Sequence[Incident] = (),
    wanted_per_week: float | None = None,
    priors: Sequence[Expected] = (),
    every_s: float = 30.0,
) -> Backtest:
    """Judge ``rules`` by what they saw in ``past``, the rounds of ``span``.

    Args:
        incidents: What is known to have been wrong; without any, nothing is called true or false.
        wanted_per_week: Propose for each rule the threshold that fires at most so often.
        priors: What false pages are expected of each rule without history; none: nothing is said of them.
        every_s: Seconds between two rounds of the alert loop, which are shorter than those of ``past``.
    """
    transitions = play(rules, past)
    fired = [_fired(each, incidents) for each in transitions if each.notice is Notice.FIRE]
    judged = [
        _judged(rule, line, past, span, fired, incidents, wanted_per_week)
        for rule, line in zip(rules, outcomes(rules, transitions, span.end), strict=True)
    ]
    if priors:
        judged = [
            replace(line, expected=remembered(rule, prior, line.unexplained, past, span, incidents, every_s))
            for line, rule, prior in zip(judged, rules, priors, strict=True)
        ]
    return Backtest(span, tuple(judged), tuple(fired), tuple(_seen(each, fired) for each in incidents))


def propose(rule: Rule, past: Sequence[Round], span: Window, wanted_per_week: float) -> Proposal | None:
    """The threshold of ``rule`` closest to calm values that fires at most ``wanted_per_week``; None where none can.

    Candidates are the values that decided in ``past``; whether one fires seldom enough is found by replaying it. One
    at which some slice is open for more than a fifth of ``span`` is none: it fires seldom because it never ends.
    """
    upward = rule.upward
    if upward is None:
        return None
    values = sorted({each for seen in past for each in _decided(rule, seen)}, reverse=not upward)
    at, beyond = 0, len(values)
    while at < beyond:  # the further out, the fewer
        middle = (at + beyond) // 2
        if _suits(rule.with_threshold(values[middle]), past, span, wanted_per_week):
            beyond = middle
        else:
            at = middle + 1
    if at == len(values):
        return None
    chosen = play([rule.with_threshold(values[at])], past)
    return Proposal(values[at], _per_week(chosen, span))


def _fired(transition: Transition, incidents: Sequence[Incident]) -> Fired:
    during = [each for each in incidents if each.holds(transition.at) and each.concerns(transition.rule)]
    name = during[0].name if during else None
    return Fired(transition.at, transition.rule, dict(transition.labels), transition.summary, name)


def _judged(
    rule: Rule,
    line: Past,
    past: Sequence[Round],
    span: Window,
    fired: Sequence[Fired],
    incidents: Sequence[Incident],
    wanted: float | None,
) -> Judged:
    mine = [each for each in fired if each.rule == rule.alert]
    true = sum(each.incident is not None for each in mine)
    failed = sum(isinstance(each.readings.get(rule.alert), QueryFailed) for each in past)
    proposal = propose(rule, past, span, wanted) if wanted is not None else None
    false = len(mine) - true if incidents else 0
    return Judged(line, len(mine) * (WEEK / span.length), true, false, failed, proposal)


def _seen(incident: Incident, fired: Sequence[Fired]) -> Seen:
    mine = [each for each in fired if incident.holds(each.at) and incident.concerns(each.rule)]
    first = min(mine, key=lambda each: each.at, default=None)
    return Seen(incident.name, first.rule if first else None, first.at - incident.start if first else None)


def _suits(rule: Rule, past: Sequence[Round], span: Window, wanted_per_week: float) -> bool:
    transitions = play([rule], past)
    slices = {each.fingerprint for each in transitions}
    longest = max((_open_for(transitions, each, span.end) for each in slices), default=timedelta(0))
    return _per_week(transitions, span) <= wanted_per_week and longest <= MOST_OPEN * span.length


def _per_week(transitions: Sequence[Transition], span: Window) -> float:
    return sum(each.notice is Notice.FIRE for each in transitions) * (WEEK / span.length)


def _open_for(transitions: Sequence[Transition], fingerprint: str, end: datetime) -> timedelta:
    mine = [each for each in transitions if each.fingerprint == fingerprint]
    return open_for(mine, end)


def _decided(rule: Rule, seen: Round) -> list[float]:
    readings: list[Reading] | QueryFailed = seen.readings.get(rule.alert, [])
    found = [] if isinstance(readings, QueryFailed) else [decisive(rule, each) for each in readings]
    return [each for each in found if each is not None]


def _jsonable(value: Any) -> Any:
    match value:
        case dict():
            return {key: _jsonable(each) for key, each in value.items()}
        case list() | tuple():
            return [_jsonable(each) for each in value]
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
    return value
