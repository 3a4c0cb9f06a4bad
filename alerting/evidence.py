"""What a message shows of an alert beside its numbers: the metric's course before it, and a few traces.

The course is a line of block characters, which every channel shows: nothing among the dependencies draws a PNG without
a browser, and a picture's place in a Slack thread or an e-mail could not be found again after a crash.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tidegauge.alerting.durations import format_duration
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import Evidence, Notice, Transition
from tidegauge.alerting.text import amount
from tidegauge.errors import TidegaugeError
from tidegauge.metrics import examples, label_name, observe
from tidegauge.model import Window
from tidegauge.store import Store

logger = logging.getLogger(__name__)
WINDOWS = 16
MOST_ALERTS = 3
"""Alerts of one message that get evidence: each costs 17 queries."""
MOST_KEPT = 1000
BLOCKS = "▁▂▃▄▅▆▇█"
_SHOWN = (Notice.FIRE, Notice.ESCALATE, Notice.REMIND, Notice.ACKNOWLEDGE)
Enrich = Callable[[Sequence[Transition]], list[Transition]]


def as_they_are(alerts: Sequence[Transition]) -> list[Transition]:
    """No evidence."""
    return list(alerts)


class Evidencing:
    """Finds evidence for alerts of ``rules``; where it cannot, the message goes without."""

    def __init__(self, store: Store, rules: Sequence[Rule]) -> None:
        self._store = store
        self._rules = {each.alert: each for each in rules}
        self._found: dict[tuple[str, datetime], Evidence] = {}

    def __call__(self, alerts: Sequence[Transition]) -> list[Transition]:
        """``alerts``, the first few of those that are open with evidence."""
        shown = [each for each in alerts if each.notice in _SHOWN and each.rule in self._rules][:MOST_ALERTS]
        for key, each in {(each.fingerprint, each.at): each for each in shown}.items():
            if key not in self._found:
                if len(self._found) >= MOST_KEPT:
                    self._found.clear()
                self._found[key] = self._evidence(self._rules[each.rule], each)
        return [replace(each, evidence=self._found.get((each.fingerprint, each.at), Evidence())) for each in alerts]

    def _evidence(self, rule: Rule, alert: Transition) -> Evidence:
        where = {name: alert.labels[label_name(name)] for name in rule.by if label_name(name) in alert.labels}
        if rule.absent_for or len(where) < len(rule.by):  # which is the one that stands for all others
            return Evidence()
        where = {**rule.where, **where}
        length = rule.trend.step if rule.trend else min(rule.slo.windows()) if rule.slo else rule.window
        try:
            values = [self._value(rule, where, each) for each in _windows(alert.at - rule.delay, length)]
            last = Window(*_windows(alert.at - rule.delay, length)[-1])
            return Evidence(
                course(values, length, rule.above if rule.above is not None else rule.below, rule.measure.unit),
                tuple(examples(self._store, rule.measure, last, where)),
            )
        except TidegaugeError as error:
            logger.warning("alert %s: no evidence for its message: %s", alert.fingerprint, str(error)[:300])
            return Evidence()

    def _value(self, rule: Rule, where: Mapping[str, str], window: tuple[datetime, datetime]) -> float | None:
        found = observe(self._store, rule.measure, (), Window(*window), where)
        return found[0].value if found else None


def course(values: Sequence[float | None], length: timedelta, threshold: float | None, unit: str) -> str:
    """One line: ``values``, oldest first, as blocks from the least to the most of them; a None is a dot.

    >>> course([0.01, None, 0.05], timedelta(minutes=30), 0.04, "share")
    '▁·█ 3 windows of 30m, 1 % to 5 %; threshold 4 %'
    """
    known = [each for each in values if each is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    line = "".join("·" if each is None else BLOCKS[round((each - low) * scale)] for each in values)
    limit = f"; threshold {amount(threshold, unit)}" if threshold is not None else ""
    return (
        f"{line} {len(values)} windows of {format_duration(length)}, {amount(low, unit)} to {amount(high, unit)}{limit}"
    )


def _windows(end: datetime, length: timedelta) -> list[tuple[datetime, datetime]]:
    """Neighbouring windows up to ``end``, to the minute, oldest first."""
    last = end.replace(second=0, microsecond=0)
    return [(last - (back + 1) * length, last - back * length) for back in range(WINDOWS - 1, -1, -1)]
