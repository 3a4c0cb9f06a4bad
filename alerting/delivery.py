"""Delivery at least once: a worker for each receiver, a ledger after each send, recovery from the tables on start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby

import numpy as np

from tidegauge import decisions
from tidegauge.alerting.dispatch import Dispatcher, Entry, Released, Why
from tidegauge.alerting.evidence import Enrich, as_they_are
from tidegauge.alerting.history import notices
from tidegauge.alerting.ledger import Attempt, Ledger, outstanding
from tidegauge.alerting.notifiers import Notifier
from tidegauge.alerting.router import Router
from tidegauge.alerting.states import AlertState, Notice, Transition
from tidegauge.alerting.worker import Patience, Worker
from tidegauge.store import Store

LOOK_BACK = timedelta(days=7)
WITHHELD = "withheld"


def always() -> bool:
    """Lets every send begin."""
    return True


class Delivery:
    """Tells every receiver what it is to be told, each from a thread of its own.

    Args:
        router: Who is told, and how.
        may_send: Asked before each attempt; while it says no, what waits goes on waiting.
        enrich: Adds what messages show and the tables do not hold.
    """

    def __init__(
        self,
        store: Store,
        notifiers: Sequence[Notifier],
        ledger: Ledger,
        router: Router,
        patience: Patience,
        rng: np.random.Generator,
        may_send: Callable[[], bool] = always,
        enrich: Enrich = as_they_are,
    ) -> None:
        self._store, self._ledger, self._router = store, ledger, router
        self._dispatcher = Dispatcher()
        self._kinds = {each.name: each.kind for each in notifiers}
        self._refresh_s = {each.name: each.refresh_s for each in notifiers if each.refresh_s}
        self._refreshed: dict[str, datetime] = {}
        streams = rng.spawn(len(notifiers))
        self._workers = {
            each.name: Worker(each, self._record, patience, stream, may_send=may_send, enrich=enrich)
            for each, stream in zip(notifiers, streams, strict=True)
        }
        self._left_out = False

    def submit(self, transitions: Sequence[Transition], now: datetime) -> None:
        """Take what receivers are to be told; all of it must be in ``alert_events`` already. Sends what is due."""
        told = [(name, each) for each in transitions if each.notice for name in each.receivers]
        self._dispatcher.add(self._entry(name, each) for name, each in told if name in self._workers)
        self.release(now)

    def recover(self, states: Mapping[str, AlertState], now: datetime) -> None:
        """Take what ``alert_events`` of the last seven days holds and no receiver has got."""
        since = now - LOOK_BACK
        open_alerts = {key for key, each in states.items() if each.open}
        self._left_out = False
        for name, alerts in outstanding(notices(self._store, since), self._ledger.settled(since), open_alerts).items():
            self._dispatcher.add(self._entry(name, each) for each in alerts if name in self._workers)
        self.release(now)

    def release(self, now: datetime) -> None:
        """Hand what is due to the workers, and write down what is not told and why."""
        found = self._dispatcher.release(now)
        self._note(found, now)
        for (name, group), entries in groupby(found.now, key=lambda each: (each.receiver, each.group)):
            if not self._workers[name].submit([each.alert for each in entries], group):
                self._left_out = True

    def refresh(self, states: Mapping[str, AlertState], now: datetime) -> None:
        """Tell those who forget, such as Alertmanager, again of every open alert; the ledger says nothing of it."""
        for name, seconds in self._refresh_s.items():
            if now - self._refreshed.get(name, now - 2 * timedelta(seconds=seconds)) >= timedelta(seconds=seconds):
                self._refreshed[name] = now
                mine = [each.last for each in states.values() if each.last and each.told.get(name, now) < now]
                self._workers[name].submit([replace(each, at=now, notice=Notice.REMIND) for each in mine])

    def clear(self) -> None:
        """Forget everything that waits: another process tells it."""
        self._dispatcher.clear()
        for each in self._workers.values():
            each.clear()

    @property
    def left_out(self) -> bool:
        """Whether something found no room in a queue since the last recovery."""
        return self._left_out

    def flush(self, timeout_s: float) -> bool:
        """Wait until no worker has anything waiting; False when ``timeout_s`` passed first."""
        end = time.monotonic() + timeout_s
        return all(each.flush(max(0.0, end - time.monotonic())) for each in self._workers.values())

    def close(self, timeout_s: float) -> None:
        """Stop every worker; attempts in progress have ``timeout_s`` to end."""
        end = time.monotonic() + timeout_s
        for each in self._workers.values():
            each.close(max(0.0, end - time.monotonic()))

    def _record(self, attempts: Sequence[Attempt]) -> None:
        kept = [
            each for each in attempts if each.receiver not in self._refresh_s or each.alert.notice is not Notice.REMIND
        ]
        if kept:
            self._ledger.write(kept)

    def _entry(self, receiver: str, alert: Transition) -> Entry:
        leaf = self._router.leaf(alert, receiver)
        return Entry(receiver, alert, leaf, leaf.group(self._router.matched(alert)))

    def _note(self, found: Released, now: datetime) -> None:
        rows = [_row(each, now) for each in (*found.held, *found.dropped)]
        if rows:
            decisions.write(self._store, rows)
        if found.dropped:
            self._ledger.write([self._withheld(each) for each in found.dropped])

    def _withheld(self, why: Why) -> Attempt:
        entry = why.entry
        return Attempt(entry.alert, entry.receiver, self._kinds[entry.receiver], WITHHELD, 0, why.detail)


def _row(why: Why, now: datetime) -> dict[str, object]:
    alert = why.entry.alert
    return {
        "timestamp": now,
        "rule": alert.rule,
        "fingerprint": alert.fingerprint,
        "labels": dict(alert.labels),
        "event_at": alert.at,
        "receiver": why.entry.receiver,
        "reason": why.reason,
        "detail": why.detail,
    }
