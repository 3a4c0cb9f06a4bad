"""Why receivers are not told of an alert: somebody silenced it, or an alert that explains it is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import AlertState
from tidegauge.alerting.text import labels_text, plain
from tidegauge.silences import Silence, muting


class Muting:
    """Answers for one round.

    Args:
        silences: Those that may be in force.
        states: Alerts whose being open inhibits others.
    """

    def __init__(self, silences: Sequence[Silence], states: Iterable[AlertState], now: datetime) -> None:
        self._silences, self._now = silences, now
        self._open: dict[str, list[AlertState]] = {}
        for each in states:
            if each.open:
                self._open.setdefault(each.rule, []).append(each)

    def __call__(self, rule: Rule, labels: Mapping[str, str]) -> str:
        """The reason in words; empty when receivers are to be told."""
        return self._silenced(rule, labels) or self._inhibited(rule, labels)

    def _silenced(self, rule: Rule, labels: Mapping[str, str]) -> str:
        named = {**rule.labels, **labels, "alert": rule.alert, "severity": rule.severity, "owner": rule.owner}
        found = muting(self._silences, named, self._now)
        if found is None:
            return ""
        return plain(f"silenced by {found.author} until {found.ends_at:%Y-%m-%d %H:%M} UTC: {found.reason}")

    def _inhibited(self, rule: Rule, labels: Mapping[str, str]) -> str:
        for name in rule.inhibited_by:
            for other in self._open.get(name, ()):
                if all(other.labels[each] == labels[each] for each in other.labels.keys() & labels.keys()):
                    return plain(f"inhibited by {name} for {labels_text(other.labels)}")
        return ""
