"""From an alert to those who are told of it: its rule's own receivers, the routing tree, or its severity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tidegauge.alerting.notifiers import Notifier
from tidegauge.alerting.routes import Escalation, Leaf, Tree
from tidegauge.alerting.rules import Rule, Severity
from tidegauge.alerting.states import Notice, Transition
from tidegauge.errors import ConfigError

_CHANNELS = ("slack", "slack_bot", "email", "webhook", "alertmanager")
_KINDS = {
    Severity.PAGE: ("pagerduty", *_CHANNELS),
    Severity.TRIAGE: _CHANNELS,
    Severity.INFO: ("webhook", "alertmanager"),
}


class Step(NamedTuple):
    """One escalation, and the route that has it."""

    escalation: Escalation
    leaf: Leaf


class Router:
    """Answers for every alert of ``rules``.

    Raises:
        ConfigError: a rule or ``digest`` names a receiver that nobody configured, or that cannot take it.
    """

    def __init__(
        self, rules: Sequence[Rule], notifiers: Sequence[Notifier], tree: Tree | None, digest: Sequence[str] = ()
    ) -> None:
        self._rules = {each.alert: each for each in rules}
        self._kinds = {each.name: each.kind for each in notifiers}
        self._tree = tree
        self._digest = tuple(digest)
        wrong = [each for each in digest if self._kinds.get(each, "pagerduty") in ("pagerduty", "alertmanager")]
        problems = [f"alerting.digest: {each!r} is no receiver that a digest can go to" for each in wrong]
        problems += [
            f"rule {rule.alert!r}: there is no receiver {name!r}; there are {', '.join(self._kinds) or 'none'}"
            for rule in rules
            for name in rule.receivers or ()
            if name not in self._kinds
        ]
        if problems:
            raise ConfigError("alert rules", problems)

    def labels(self, rule: str, severity: str, owner: str, labels: Mapping[str, str]) -> dict[str, str]:
        """Everything that a route can match."""
        known = self._rules.get(rule)
        own = known.labels if known else {}
        return {**own, **labels, "alert": rule, "severity": severity, "owner": owner}

    def leaves(self, alert: Transition) -> list[Leaf]:
        """How ``alert`` is told; several where routes go on."""
        if alert.notice is Notice.DIGEST:
            return [Leaf(self._digest)]
        if alert.notice in (Notice.PROPOSE, Notice.HOOK, Notice.CALL):
            return [Leaf(alert.receivers)]
        return self._leaves(self.matched(alert))

    def nearest(self, labels: Mapping[str, str], receiver: str) -> Leaf:
        """By which route ``receiver`` hears of an alert whose routed ``labels`` these are; the first one if by none."""
        leaves = self._leaves(labels)
        return next((each for each in leaves if receiver in each.receivers), leaves[0])

    def _leaves(self, labels: Mapping[str, str]) -> list[Leaf]:
        rule = self._rules.get(labels["alert"])
        if rule and rule.receivers is not None:
            return [Leaf(rule.receivers)]
        if self._tree:
            return self._tree.leaves(labels)
        severity = Severity(labels["severity"]) if labels["severity"] in set(Severity) else Severity.PAGE
        return [Leaf(tuple(name for name, kind in self._kinds.items() if kind in _KINDS[severity]))]

    def receivers(self, alert: Transition) -> tuple[str, ...]:
        """Who is told that ``alert`` fires."""
        return tuple(dict.fromkeys(name for leaf in self.leaves(alert) for name in leaf.receivers))

    def leaf(self, alert: Transition, receiver: str) -> Leaf:
        """By which route ``receiver`` is told; one who is no longer routed to is told at once."""
        found = [leaf for leaf in self.leaves(alert) if receiver in leaf.receivers]
        return found[0] if found else Leaf((receiver,))

    def steps(self, alert: Transition) -> list[Step]:
        """Every escalation of ``alert``, the first due first."""
        found = [Step(each, leaf) for leaf in self.leaves(alert) for each in leaf.escalate]
        return sorted(found, key=lambda step: step.escalation.after)

    def matched(self, alert: Transition) -> dict[str, str]:
        """The labels that routes match and groups are made of."""
        return self.labels(alert.rule, alert.severity, alert.owner, alert.labels)
