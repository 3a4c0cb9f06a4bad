"""Rules over past data, before they go live: what they would have said, how often and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegauge.alerting.evaluate import evaluate
from tidegauge.alerting.readings import Observer
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.schedule import Schedule
from tidegauge.alerting.states import AlertState, Notice, Transition
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


def replay(store: Store, rules: Sequence[Rule], span: Window, step: timedelta) -> list[Transition]:
    """Every transition that rounds at ``span.start``, then each ``step`` up to ``span.end``, would have brought.

    It is the same evaluation as the loop's, on the same queries, and it neither stores nor tells anything. What arrived
    late is seen as if it had been there in time.

    Raises:
        ValueError: ``step`` is not positive.
    """
    if step <= timedelta(0):
        raise ValueError("replay needs a step longer than 0")
    states: dict[str, AlertState] = {}
    found: list[Transition] = []
    schedule, now = Schedule(), span.start
    while now <= span.end:
        due = schedule.due(rules, now)
        observer = Observer(store, now)
        states, transitions = evaluate(rules, {rule.alert: observer.readings(rule) for rule in due}, states, now)
        schedule.done(due, now)
        found += transitions
        now += step
    return found


def outcomes(rules: Sequence[Rule], transitions: Sequence[Transition], end: datetime) -> list[Past]:
    """One line for each rule from what ``replay`` found up to ``end``."""
    return [_outcome(rule, [each for each in transitions if each.rule == rule.alert], end) for rule in rules]


def _outcome(rule: Rule, transitions: Sequence[Transition], end: datetime) -> Past:
    fires = [each for each in transitions if each.notice is Notice.FIRE]
    over = [each for each in transitions if each.notice is Notice.RESOLVE]
    opened = sum((end - each.at for each in fires), timedelta(0)) - sum((end - each.at for each in over), timedelta(0))
    return Past(rule.alert, rule.severity, len(fires), fires[0].at if fires else None, opened)
