"""Why receivers are not told of an alert: silenced, inhibited, resolved by hand, or one of too many."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from tidegauge.alerting.followups import held_by_hand
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import AlertState, fingerprint
from tidegauge.alerting.text import labels_text, plain
from tidegauge.responses import Response
from tidegauge.silences import Silence, muting

CAP = "cap: "


class Muting:
    """Answers for one round.

    Args:
        silences: Those that may be in force.
        states: Alerts whose being open inhibits others.
        answers: What people said to alerts lately.
        told: Of each rule, the fingerprints of the alerts that receivers know.
        most: How many alerts of one rule they are told of.
    """

    def __init__(
        self,
        silences: Sequence[Silence],
        states: Iterable[AlertState],
        now: datetime,
        *,
        answers: Sequence[Response] = (),
        told: Mapping[str, Collection[str]] = MappingProxyType({}),
        most: int = 1_000_000,
    ) -> None:
        self._silences, self._now = silences, now
        self._answers, self._most = answers, most
        self._told = {rule: set(each) for rule, each in told.items()}
        self._open: dict[str, list[AlertState]] = {}
        for each in states:
            if each.open:
                self._open.setdefault(each.rule, []).append(each)

    def __call__(self, rule: Rule, labels: Mapping[str, str]) -> str:
        """The reason in words; empty when receivers are to be told."""
        key = fingerprint(rule.alert, labels)
        reason = self._silenced(rule, labels) or self._inhibited(rule, labels)
        return reason or held_by_hand(self._answers, key, self._now) or self._one_too_many(rule, key)

    def _one_too_many(self, rule: Rule, key: str) -> str:
        told = self._told.setdefault(rule.alert, set())
        if key not in told and len(told) >= self._most:
            return f"{CAP}{len(told)} alerts of this rule are told of already"
        told.add(key)
        return ""

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
