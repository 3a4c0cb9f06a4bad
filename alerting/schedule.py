"""Which rules are due: every round, or once in each interval of their group, intervals counted from 1970."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tidegauge.alerting.rules import Rule


class Schedule:
    """Remembers in which interval each rule was evaluated last."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}

    def due(self, rules: Iterable[Rule], now: datetime) -> list[Rule]:
        """Those of ``rules`` that were not evaluated in the interval that ``now`` lies in."""
        return [rule for rule in rules if not rule.interval or self._done.get(rule.alert) != _number(rule, now)]

    def done(self, rules: Iterable[Rule], now: datetime) -> None:
        """Note that ``rules`` were evaluated at ``now``."""
        self._done |= {rule.alert: _number(rule, now) for rule in rules if rule.interval}


def _number(rule: Rule, now: datetime) -> int:
    return int(now.timestamp() // rule.interval.total_seconds())
