"""Rules over past data, before they go live: what they would have said, how often and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegauge.alerting.evaluate import evaluate
from tidegauge.alerting.incidents import Incident
from tidegauge.alerting.muting import Muting
from tidegauge.alerting.readings import Observer
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.schedule import Schedule
from tidegauge.alerting.states import AlertState, Notice, Readings, Transition
from tidegauge.model import Window
from tidegauge.store import Store


@dataclass(frozen=True, slots=True)
class Past:
    """What one rule would have done.

    Attributes:
        fired: How often receivers would have been told that it fires.
        first: When first, None for never.
        open_for: How long its alerts were open, added up over all slices; those open at the end count up to it.
    """

    rule: str
    severity: str
    fired: int
    first: datetime | None
    open_for: timedelta


@dataclass(frozen=True, slots=True)
class Round:
    """What the rules that were due at ``now`` saw."""

    now: datetime
    readings: Readings


def rounds(
    store: Store, rules: Sequence[Rule], span: Window, step: timedelta, incidents: Sequence[Incident] = ()
) -> Iterator[Round]:
    """The rounds at ``span.start``, then each ``step`` up to ``span.end``. What arrived late is seen as if in time.

    Args:
        incidents: What seasons leave out.

    Raises:
        ValueError: ``step`` is not positive.
    """
    if step <= timedelta(0):
        raise ValueError("a replay needs a step longer than 0")
    schedule, now = Schedule(), span.start
    while now <= span.end:
        due, observer = schedule.due(rules, now), Observer(store, now, incidents)
        yield Round(now, {rule.alert: observer.readings(rule) for rule in due})
        schedule.done(due, now)
        now += step


def play(rules: Sequence[Rule], past: Iterable[Round]) -> list[Transition]:
    """Every transition that ``past`` would have brought; the same evaluation as the loop's, and nothing is stored."""
    states: dict[str, AlertState] = {}
    found: list[Transition] = []
    inhibits = any(rule.inhibited_by for rule in rules)
    for each in past:
        new, transitions = evaluate(rules, each.readings, states, each.now)
        if inhibits:  # once to see what is open, and once more knowing it
            mute = Muting((), new.values(), each.now)
            new, transitions = evaluate(rules, each.readings, states, each.now, mute)
        states = new
        found += transitions
    return found


def replay(store: Store, rules: Sequence[Rule], span: Window, step: timedelta) -> list[Transition]:
    """Every transition that :func:`rounds` would have brought; neither stores nor tells anything."""
    return play(rules, rounds(store, rules, span, step))


def outcomes(rules: Sequence[Rule], transitions: Sequence[Transition], end: datetime) -> list[Past]:
    """One line for each rule from what ``replay`` found up to ``end``."""
    return [_outcome(rule, [each for each in transitions if each.rule == rule.alert], end) for rule in rules]


def open_for(transitions: Sequence[Transition], end: datetime) -> timedelta:
    """How long the alerts of ``transitions`` were open, added up; those open at ``end`` count up to it."""
    opened = (end - each.at for each in transitions if each.notice is Notice.FIRE)
    over = (end - each.at for each in transitions if each.notice is Notice.RESOLVE)
    return sum(opened, timedelta(0)) - sum(over, timedelta(0))


def _outcome(rule: Rule, transitions: Sequence[Transition], end: datetime) -> Past:
    fires = [each.at for each in transitions if each.notice is Notice.FIRE]
    return Past(rule.alert, rule.severity, len(fires), fires[0] if fires else None, open_for(transitions, end))
