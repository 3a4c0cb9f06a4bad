"""The alert loop: read, evaluate, store, tell."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from tidegauge.alerting import history
from tidegauge.alerting.delivery import Delivery
from tidegauge.alerting.evaluate import evaluate
from tidegauge.alerting.heartbeat import Heartbeat, heartbeat
from tidegauge.alerting.ledger import Ledger
from tidegauge.alerting.muting import Muting
from tidegauge.alerting.notifiers import notifiers
from tidegauge.alerting.readings import Observer
from tidegauge.alerting.rules import Rule, check_rules
from tidegauge.alerting.schedule import Schedule
from tidegauge.alerting.states import AlertState, Notice, QueryFailed, Readings, Transition
from tidegauge.alerting.worker import Patience
from tidegauge.clock import Clock, SystemClock
from tidegauge.config import Alerting
from tidegauge.silences import read
from tidegauge.store import Store

logger = logging.getLogger(__name__)


class AlertLoop:
    """Evaluates the rules round by round. One loop for each database; its memory is ``alert_events``.

    Args:
        store: Where metrics are read and events and deliveries are written.
        settings: Rule files, receivers and retries.
        rules: Instead of ``settings.rules``.
        rng: For the jitter of retries.
        clock: For the ledger's timestamps only.
        patience: Instead of the default waits between attempts.

    Raises:
        ConfigError: a rule or a receiver is wrong; lists every problem.
    """

    def __init__(
        self,
        store: Store,
        settings: Alerting,
        *,
        rules: Sequence[Rule] | None = None,
        rng: np.random.Generator | None = None,
        clock: Clock | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self.rules = list(rules) if rules is not None else check_rules(settings.rules)
        built = notifiers(settings)
        patience = patience or Patience(settings.give_up_after_s)
        ledger = Ledger(store, clock or SystemClock())
        self._delivery = Delivery(store, built, ledger, patience, rng or np.random.default_rng())
        self._states: dict[str, AlertState] | None = None
        self._schedule = Schedule()
        self._heartbeat: Heartbeat | None = None
        try:
            self._delivery.check(self.rules)
            self._heartbeat = heartbeat(settings)
        except Exception:
            self._delivery.close(0)
            raise

    def run(self, now: datetime) -> list[Transition]:
        """One round at ``now``: every change that it brought, stored and queued for its receivers.

        The same ``now`` again changes nothing. Raises StoreError when events cannot be read or stored; the states then
        stay as they were, and the next round finds the same changes.
        """
        states = self._known_states(now)
        observer = Observer(self._store, now)
        due = self._schedule.due(self.rules, now)
        readings = {rule.alert: observer.readings(rule) for rule in due}
        new, found = self._evaluated(readings, states, now)
        transitions = [self._addressed(each) for each in found]
        history.append(self._store, transitions)
        self._schedule.done(due, now)
        told = {each.fingerprint: each.receivers for each in transitions if each.notice is Notice.FIRE}
        self._states = {key: replace(each, receivers=told.get(key, each.receivers)) for key, each in new.items()}
        self._delivery.submit(transitions)
        if self._delivery.left_out:
            self._delivery.recover(self._states, now)
        if self._heartbeat and not any(isinstance(each, QueryFailed) for each in readings.values()):
            self._heartbeat.beat(now, len(self.rules), sum(each.open for each in self._states.values()))
        return transitions

    def flush(self, timeout_s: float) -> bool:
        """Wait until every receiver has been told; False when ``timeout_s`` passed first."""
        return self._delivery.flush(timeout_s)

    def close(self) -> None:
        """Stop the deliveries; what is not delivered yet is sent after the next start."""
        if self._heartbeat:
            self._heartbeat.close()
        self._delivery.close(self._settings.timeout_s + 1)

    def _evaluated(
        self, readings: Readings, states: Mapping[str, AlertState], now: datetime
    ) -> tuple[dict[str, AlertState], list[Transition]]:
        """One round; where rules inhibit others, once to see what is open and once more knowing it."""
        silences = read(self._store, now)
        new, found = evaluate(self.rules, readings, states, now, Muting(silences, (), now))
        if any(rule.inhibited_by for rule in self.rules):
            return evaluate(self.rules, readings, states, now, Muting(silences, new.values(), now))
        return new, found

    def _known_states(self, now: datetime) -> dict[str, AlertState]:
        if self._states is None:
            states = history.restore(self._store)
            self._delivery.recover(states, now)
            self._states = states
        return self._states

    def _addressed(self, transition: Transition) -> Transition:
        if transition.notice is not Notice.FIRE:
            return transition
        rule = next(each for each in self.rules if each.alert == transition.rule)
        return replace(transition, receivers=self._delivery.receivers(rule))
