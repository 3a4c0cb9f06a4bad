"""What a message shows of an alert beside its numbers: the metric's course before it, a few traces, the likely cause.

The course is a line of block characters, which every channel shows, and a chart for those that show pictures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tidegauge import diagnoses
from tidegauge.alerting.durations import format_duration
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import Chart, Evidence, Notice, Transition
from tidegauge.alerting.text import amount, labels_text
from tidegauge.diagnoses import Diagnosed
from tidegauge.errors import StoreError
from tidegauge.metrics import Observation, examples, label_name, observe
from tidegauge.model import Window
from tidegauge.store import Store

logger = logging.getLogger(__name__)
WINDOWS = 16
MOST_ALERTS = 3
"""Alerts of one message that get evidence. A rule costs 16 queries a message, each alert one more."""
MOST_KEPT = 500
BLOCKS = "▁▂▃▄▅▆▇█"
_SHOWN = (Notice.FIRE, Notice.ESCALATE, Notice.REMIND, Notice.ACKNOWLEDGE, Notice.DIAGNOSE)
_CAUSED = (*_SHOWN, Notice.RESOLVE)
Key = tuple[tuple[str, str], ...]
Enrich = Callable[[Sequence[Transition]], list[Transition]]


def as_they_are(alerts: Sequence[Transition]) -> list[Transition]:
    """No evidence."""
    return list(alerts)


class Evidencing:
    """Finds evidence for alerts of ``rules``; where it cannot, the message goes without.

    Args:
        pictures: Whether charts are wanted as well, which of a rule that compares costs as many queries again.
    """

    def __init__(self, store: Store, rules: Sequence[Rule], *, pictures: bool = False) -> None:
        self._store, self._pictures = store, pictures
        self._rules = {each.alert: each for each in rules}
        self._found: dict[tuple[str, datetime], Evidence] = {}
        self._seen: dict[tuple[str, Window], dict[Key, Observation]] = {}

    def __call__(self, alerts: Sequence[Transition]) -> list[Transition]:
        """``alerts``: of the first few that are open course and traces, of each the likely cause."""
        shown = [each for each in alerts if each.notice in _SHOWN and each.rule in self._rules][:MOST_ALERTS]
        for each in shown:
            if (each.fingerprint, each.at) not in self._found:
                _make_room(self._found)
                self._found[each.fingerprint, each.at] = self._evidence(self._rules[each.rule], each)
        causes = self._causes(alerts)
        return [
            replace(
                each,
                evidence=replace(
                    self._found.get((each.fingerprint, each.at), Evidence()), diagnosis=causes.get(each.fingerprint)
                ),
            )
            for each in alerts
        ]

    def _causes(self, alerts: Sequence[Transition]) -> dict[str, Diagnosed]:
        """Of each alert, by fingerprint, the last likely cause that was found since it began."""
        asked = {each.fingerprint: each for each in alerts if each.notice in _CAUSED and each.rule in self._rules}
        try:
            found = diagnoses.newest(self._store, asked)
        except StoreError:  # nothing of this may hold up an alert
            logger.exception("alerts %s: no likely cause for their message", ", ".join(asked))
            return {}
        return {
            key: each
            for key, each in found.items()
            if each.state is diagnoses.State.LIKELY and each.asked_at >= asked[key].since
        }

    def _evidence(self, rule: Rule, alert: Transition) -> Evidence:
        where = {name: alert.labels[label_name(name)] for name in rule.by if label_name(name) in alert.labels}
        if rule.absent_for or len(where) < len(rule.by):  # which is the one that stands for all others
            return Evidence()
        length = rule.trend.step if rule.trend else min(rule.slo.windows()) if rule.slo else rule.window
        windows = _windows(alert.at - rule.delay, length)
        try:
            seen = [self._values(rule, each).get(_key(alert.labels)) for each in windows]
            traces = examples(self._store, rule.measure, windows[-1], {**rule.where, **where})
            values = [each.value if each else None for each in seen]
            drawn = self._chart(rule, alert, windows, values)
        except Exception:  # nothing of this may hold up an alert
            logger.exception("alert %s: no evidence for its message", alert.fingerprint)
            return Evidence()
        return Evidence(course(values, length, rule.limit, rule.measure.unit), tuple(traces), drawn)

    def _chart(
        self, rule: Rule, alert: Transition, windows: Sequence[Window], values: Sequence[float | None]
    ) -> Chart | None:
        """The windows to be drawn, with the same windows earlier where the rule compares with those."""
        if not self._pictures or sum(each is not None for each in values) < 2:
            return None
        offset = rule.compare.offset if rule.compare and not rule.compare.other else None
        before = [self._before(rule, each, offset, _key(alert.labels)) for each in windows] if offset else []
        return Chart(
            rule.measure.title, labels_text(alert.labels), rule.measure.unit, tuple(each.end for each in windows),
            tuple(values), tuple(before), f"{format_duration(offset)} before" if offset else "", rule.limit,
            rule.upward is not False, alert.since,
        )  # fmt: skip

    def _before(self, rule: Rule, window: Window, offset: timedelta, key: Key) -> tuple[float, float] | None:
        seen = self._values(rule, Window(window.start - offset, window.end - offset)).get(key)
        if seen is None or seen.value is None:
            return None
        return (seen.value if seen.low is None else seen.low), (seen.value if seen.high is None else seen.high)

    def _values(self, rule: Rule, window: Window) -> dict[Key, Observation]:
        """Every series of a rule in one window, asked for once."""
        asked = rule.alert, window
        if asked not in self._seen:
            _make_room(self._seen)
            found = observe(self._store, rule.measure, rule.by, window, rule.where)
            self._seen[asked] = {_key(each.labels): each for each in found}
        return self._seen[asked]


def _key(labels: Mapping[str, str]) -> Key:
    return tuple(sorted(labels.items()))


def _make_room(kept: dict[Any, Any]) -> None:
    if len(kept) >= MOST_KEPT:
        kept.clear()


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


def _windows(end: datetime, length: timedelta) -> list[Window]:
    """Neighbouring windows up to ``end``, to the minute, oldest first."""
    last = end.replace(second=0, microsecond=0)
    return [Window(last - (back + 1) * length, last - back * length) for back in range(WINDOWS - 1, -1, -1)]
