"""What was delivered to whom: ``alert_deliveries``, written after the send, so a crash repeats and never misses."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from tidegauge import diagnoses
from tidegauge.alerting.states import Notice, Transition
from tidegauge.clock import Clock
from tidegauge.diagnoses import Diagnosed
from tidegauge.store import Store


class Key(NamedTuple):
    """One notice of one alert for one receiver."""

    receiver: str
    fingerprint: str
    event_at: datetime
    state: str


class Attempt(NamedTuple):
    """One try to deliver ``alert``: ``outcome`` is delivered, retry or failed, ``number`` counts from 1.

    ``diagnosis`` is what the message said of its cause.
    """

    alert: Transition
    receiver: str
    kind: str
    outcome: str
    number: int
    detail: str
    diagnosis: Diagnosed | None = None


class Ledger:
    """Writes attempts and reads what is settled."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def write(self, attempts: Sequence[Attempt]) -> None:
        """Store ``attempts``; first what was told of a cause, so that after a crash in between it is not told again."""
        now = self._clock.now()
        for receiver in dict.fromkeys(each.receiver for each in attempts):
            mine = [each for each in attempts if each.receiver == receiver and each.outcome == "delivered"]
            if told := [each.diagnosis for each in mine if each.diagnosis]:
                diagnoses.tell(self._store, told, receiver, now)
        self._store.insert(
            "alert_deliveries",
            [
                {
                    "timestamp": now,
                    "event_at": each.alert.at,
                    "dedup_key": each.alert.fingerprint,
                    "rule": each.alert.rule,
                    "state": each.alert.state.value,
                    "receiver": each.receiver,
                    "kind": each.kind,
                    "outcome": each.outcome,
                    "attempts": each.number,
                    "detail": each.detail[:1000],
                }
                for each in attempts
            ],
        )

    def settled(self, since: datetime) -> dict[Key, str]:
        """The final outcome, delivered, failed or withheld, of every notice whose event is no older than ``since``."""
        sql = """SELECT receiver, dedup_key, event_at, state, min(outcome) AS result FROM alert_deliveries
                 WHERE outcome IN ('delivered', 'failed', 'withheld') AND event_at >= {since:DateTime64(6)}
                 GROUP BY receiver, dedup_key, event_at, state"""
        found = self._store.rows(sql, {"since": since})
        return {Key(row["receiver"], row["dedup_key"], row["event_at"], row["state"]): row["result"] for row in found}


def outstanding(
    events: Sequence[Transition], settled: Mapping[Key, str], open_alerts: Collection[str]
) -> dict[str, list[Transition]]:
    """What each receiver has still to be told, oldest first.

    A notice without a final outcome is due again. One that was given up is due again while its alert is open: whoever
    repaired the receiver in the meantime must not miss what is still wrong. Of several times that an alert fired
    without an end between them, as when two processes found it, the last one counts.
    """
    due: dict[str, list[Transition]] = {}
    for event in _without_superseded(events):
        for receiver in event.receivers:
            result = settled.get(Key(receiver, event.fingerprint, event.at, event.state.value))
            again = result == "failed" and event.notice is Notice.FIRE and event.fingerprint in open_alerts
            if result is None or again:
                due.setdefault(receiver, []).append(event)
    return due


def _without_superseded(events: Sequence[Transition]) -> list[Transition]:
    later: set[str] = set()
    kept: list[Transition] = []
    for event in reversed(events):
        if event.notice is Notice.FIRE:
            if event.fingerprint not in later:
                kept.append(event)
            later.add(event.fingerprint)
        else:
            later -= {event.fingerprint} if event.notice is Notice.RESOLVE else set()
            kept.append(event)
    return kept[::-1]
