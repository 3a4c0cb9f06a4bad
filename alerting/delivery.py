"""Delivery at least once: a worker for each receiver, a ledger after each send, recovery from the tables on start."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from tidegauge.alerting.history import notices
from tidegauge.alerting.ledger import Ledger, outstanding
from tidegauge.alerting.notifiers import Notifier
from tidegauge.alerting.rules import Rule, Severity
from tidegauge.alerting.states import AlertState, Transition
from tidegauge.alerting.worker import Patience, Worker
from tidegauge.errors import ConfigError
from tidegauge.store import Store

LOOK_BACK = timedelta(days=7)
_KINDS = {
    Severity.PAGE: ("pagerduty", "slack", "webhook"),
    Severity.TRIAGE: ("slack", "webhook"),
    Severity.INFO: ("webhook",),
}


class Delivery:
    """Tells every receiver what it is to be told, each from a thread of its own."""

    def __init__(
        self, store: Store, notifiers: Sequence[Notifier], ledger: Ledger, patience: Patience, rng: np.random.Generator
    ) -> None:
        self._store, self._ledger = store, ledger
        self._kinds = {each.name: each.kind for each in notifiers}
        streams = rng.spawn(len(notifiers))
        self._workers = {
            each.name: Worker(each, ledger.write, patience, stream)
            for each, stream in zip(notifiers, streams, strict=True)
        }
        self._left_out = False

    def receivers(self, rule: Rule) -> tuple[str, ...]:
        """Who is told of ``rule``: those that it names, else those whose kind fits its severity."""
        if rule.receivers is not None:
            return tuple(name for name in rule.receivers if name in self._kinds)
        return tuple(name for name, kind in self._kinds.items() if kind in _KINDS[rule.severity])

    def check(self, rules: Sequence[Rule]) -> None:
        """Raises ConfigError listing every receiver that a rule names and nobody configured."""
        problems = [
            f"rule {rule.alert!r}: there is no receiver {name!r}; there are {', '.join(self._kinds) or 'none'}"
            for rule in rules
            for name in rule.receivers or ()
            if name not in self._kinds
        ]
        if problems:
            raise ConfigError("alert rules", problems)

    def submit(self, transitions: Sequence[Transition]) -> None:
        """Queue what receivers are to be told; all of it must be in ``alert_events`` already."""
        per_receiver: dict[str, list[Transition]] = {}
        for each in transitions:
            for name in each.receivers if each.notice else ():
                per_receiver.setdefault(name, []).append(each)
        self._queue(per_receiver)

    def recover(self, states: Mapping[str, AlertState], now: datetime) -> None:
        """Queue what ``alert_events`` of the last seven days holds and no receiver has got."""
        since = now - LOOK_BACK
        open_alerts = {key for key, each in states.items() if each.open}
        self._left_out = False
        self._queue(outstanding(notices(self._store, since), self._ledger.settled(since), open_alerts))

    @property
    def left_out(self) -> bool:
        """Whether something found no room in a queue since the last recovery."""
        return self._left_out

    def flush(self, timeout_s: float) -> bool:
        """Wait until no receiver has anything waiting; False when ``timeout_s`` passed first."""
        end = time.monotonic() + timeout_s
        return all(each.flush(max(0.0, end - time.monotonic())) for each in self._workers.values())

    def close(self, timeout_s: float) -> None:
        """Stop every worker; attempts in progress have ``timeout_s`` to end."""
        end = time.monotonic() + timeout_s
        for each in self._workers.values():
            each.close(max(0.0, end - time.monotonic()))

    def _queue(self, per_receiver: Mapping[str, Sequence[Transition]]) -> None:
        for name, alerts in per_receiver.items():
            worker = self._workers.get(name)
            if worker and not worker.submit(alerts):
                self._left_out = True
