"""The alert loop: read, evaluate, store, tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from tidegauge import decisions, responses
from tidegauge.alerting import digest, history
from tidegauge.alerting.caps import is_summary, summaries
from tidegauge.alerting.delivery import Delivery
from tidegauge.alerting.diagnosing import Diagnosing
from tidegauge.alerting.evaluate import evaluate
from tidegauge.alerting.evidence import Evidencing
from tidegauge.alerting.followups import HOLD_S, closed_by_hand, follow_ups
from tidegauge.alerting.heartbeat import Heartbeat, heartbeat
from tidegauge.alerting.hooks import Hooks, callers
from tidegauge.alerting.lease import Held, Lease
from tidegauge.alerting.ledger import Ledger
from tidegauge.alerting.likely import Diagnose
from tidegauge.alerting.muting import Muting
from tidegauge.alerting.notifiers import Surroundings, notifiers
from tidegauge.alerting.readings import Observer
from tidegauge.alerting.router import Router
from tidegauge.alerting.routes import read_routes
from tidegauge.alerting.rules import Rule, check_rules
from tidegauge.alerting.schedule import Schedule
from tidegauge.alerting.states import AlertState, Notice, QueryFailed, Readings, State, Transition
from tidegauge.alerting.worker import Patience
from tidegauge.clock import Clock, SystemClock
from tidegauge.config import Alerting
from tidegauge.errors import StoreError
from tidegauge.incidents import Incidents
from tidegauge.instruments import LOOP_FAILURES
from tidegauge.responses import Response
from tidegauge.silences import read
from tidegauge.store import Store

logger = logging.getLogger(__name__)
LOOK_FOR_DIGEST = timedelta(minutes=5)
SKEW_S = 5.0
"""How far the clocks of two processes may be apart without both working for a moment."""


class AlertLoop:
    """Evaluates the rules round by round. Of several loops on one database the one that holds the lease works.

    Its memory is ``alert_events``; whoever takes over reads it from there.

    Args:
        store: Where metrics are read and events and deliveries are written.
        settings: Rule files, receivers and retries.
        rules: Instead of ``settings.rules``.
        rng: For the jitter of retries.
        clock: For the ledger's timestamps only.
        patience: Instead of the default waits between attempts.
        lease: Instead of one as long as two rounds.
        incidents: What is known to have been wrong, which seasons leave out.
        diagnose: Finds out why a model changed, for alerts about one; none: nobody is told.

    Raises:
        ConfigError: a rule, a route or a receiver is wrong; lists every problem.
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
        lease: Lease | None = None,
        incidents: Incidents | None = None,
        diagnose: Diagnose | None = None,
    ) -> None:
        self._store, self._settings, self._incidents = store, settings, incidents or Incidents()
        self._clock = clock or SystemClock()
        self.rules = list(rules) if rules is not None else check_rules(settings.rules)
        enrich = Evidencing(store, self.rules, pictures=settings.pictures)
        built = notifiers(settings, Surroundings(store, self._clock.now, self._group, enrich))
        tree = read_routes(settings.routes, [each.name for each in built]) if settings.routes else None
        self._router = Router(self.rules, built, tree, settings.digest)
        self._heartbeat: Heartbeat | None = heartbeat(settings)
        length_s, grace_s = max(10.0, 2 * settings.interval_s), settings.timeout_s + SKEW_S
        self._lease = lease or Lease(store, length_s, grace_s, alone=store.embedded)
        patience, rng = patience or Patience(settings.give_up_after_s), rng or np.random.default_rng()
        ledger = Ledger(store, self._clock)
        able = [each.name for each in built if each.kind not in ("pagerduty", "alertmanager")]
        self._hooks = Hooks(store, settings.hooks, self._router, able)
        self._diagnosing: Diagnosing | None = None
        if diagnose and settings.diagnosis.enabled:
            kinds = {each.name: each.kind for each in built}
            self._diagnosing = Diagnosing(store, settings.diagnosis, self.rules, kinds, diagnose, self._clock)
        built = [*built, *callers(settings, store)]
        self._delivery = Delivery(store, built, ledger, self._router, patience, rng, self._lease.valid, enrich)
        self._states: dict[str, AlertState] | None = None
        self._schedule = Schedule()
        self._working: bool | None = None
        self._digest_after = datetime.fromtimestamp(0, UTC)

    def run(self, now: datetime) -> list[Transition]:
        """One round at ``now``: every change that it brought, stored and queued for its receivers.

        The same ``now`` again changes nothing, and while another loop holds the lease there is none. Raises StoreError
        when events cannot be read or stored; the states then stay as they were, and the next round finds the same.
        """
        if not self._may_work(now):
            return []
        states = self._known_states(now)
        answers = responses.read(self._store, _oldest(states, now))
        due = self._schedule.due(self.rules, now)
        observer = Observer(self._store, now, self._incidents.all())
        readings = {rule.alert: observer.readings(rule) for rule in due}
        new, transitions = self._round(readings, states, answers, now)
        transitions += [*self._digest(now), *self._hooks.run(new, now), *self._causes(new, transitions, now)]
        if self._lease.confirm() is not Held.STILL:
            self._stand_by(now)
            return []
        history.append(self._store, transitions)
        self._schedule.done(due, now)
        self._states = new
        self._delivery.submit(transitions, now)
        self._delivery.refresh(new, now)
        if self._delivery.left_out:
            self._delivery.recover(new, now)
        if self._heartbeat and not any(isinstance(each, QueryFailed) for each in readings.values()):
            self._heartbeat.beat(now, len(self.rules), sum(each.open for each in new.values()))
        with _harmless():
            if self._diagnosing:
                self._diagnosing.begin(new, now)
        return transitions

    def flush(self, timeout_s: float) -> bool:
        """Wait until every receiver has been told what was due; False when ``timeout_s`` passed first."""
        return self._delivery.flush(timeout_s)

    def diagnosed(self, timeout_s: float) -> bool:
        """Wait until no diagnosis is under way; False when ``timeout_s`` passed first."""
        return self._diagnosing.wait(timeout_s) if self._diagnosing else True

    def close(self) -> None:
        """Stop the deliveries; what is not delivered yet is sent after the next start, or by another loop."""
        if self._heartbeat:
            self._heartbeat.close()
        self._delivery.close(self._settings.timeout_s + 1)
        self.diagnosed(self._settings.timeout_s)
        try:
            self._lease.release(self._clock.now())
        except StoreError as error:
            logger.warning("alerting: the lease could not be given back, others wait for its end: %s", error)

    def _may_work(self, now: datetime) -> bool:
        held = self._lease.hold(now)
        if held is Held.NO:
            self._stand_by(now)
            return False
        if held is Held.ANEW:
            self._states = None
            self._delivery.clear()
        self._working = True
        return True

    def _stand_by(self, now: datetime) -> None:
        self._states = None
        self._delivery.clear()
        if self._working is not False:
            self._working = False
            detail = f"{self._lease.name} stands by: {self._lease.holder or 'another process'} holds the lease"
            logger.info("alerting: %s", detail)
            row = {"timestamp": now, "rule": "", "fingerprint": "", "labels": {}, "event_at": None, "receiver": ""}
            decisions.write(self._store, [row | {"reason": "lease", "detail": detail}])

    def _round(
        self, readings: Readings, states: Mapping[str, AlertState], answers: Sequence[Response], now: datetime
    ) -> tuple[dict[str, AlertState], list[Transition]]:
        closed = list(closed_by_hand(states, answers, now))
        states = {**states, **{each.fingerprint: _closed(states[each.fingerprint], now) for each in closed}}
        series = {key: each for key, each in states.items() if not is_summary(each)}
        new, found = self._evaluated(readings, series, answers, now)
        capped, extra = summaries(new, {k: s for k, s in states.items() if is_summary(s) and s.open}, now)
        told = [self._addressed(each) for each in (*found, *extra)]
        new = _after({**new, **capped}, told)
        more = follow_ups(new, answers, self._router, now)
        return _after(new, more), [*closed, *told, *more]

    def _digest(self, now: datetime) -> list[Transition]:
        receivers = self._settings.digest
        if not receivers or now < self._digest_after:
            return []
        self._digest_after = now + LOOK_FOR_DIGEST
        if not digest.due(self._store, now):
            return []
        lines = digest.week(self._store, self.rules, now - timedelta(days=7), now)
        return [digest.message(lines, receivers, now)]

    def _causes(self, states: Mapping[str, AlertState], told: Sequence[Transition], now: datetime) -> list[Transition]:
        """What is told of likely causes."""
        found: list[Transition] = []
        with _harmless():
            if self._diagnosing:
                found = self._diagnosing.news(states, now, {each.fingerprint for each in told if each.notice})
        return found

    def _evaluated(
        self, readings: Readings, states: Mapping[str, AlertState], answers: Sequence[Response], now: datetime
    ) -> tuple[dict[str, AlertState], list[Transition]]:
        """One round; where rules inhibit others, once to see what is open and once more knowing it."""
        silences = read(self._store, now)
        told: dict[str, list[str]] = {}
        for key, each in states.items():
            if each.open and not each.muted:
                told.setdefault(each.rule, []).append(key)
        most = self._settings.most_slices_told
        mute = Muting(silences, (), now, answers=answers, told=told, most=most)
        new, found = evaluate(self.rules, readings, states, now, mute)
        if any(rule.inhibited_by for rule in self.rules):
            mute = Muting(silences, new.values(), now, answers=answers, told=told, most=most)
            return evaluate(self.rules, readings, states, now, mute)
        return new, found

    def _known_states(self, now: datetime) -> dict[str, AlertState]:
        if self._states is None:
            states = history.restore(self._store)
            self._delivery.recover(states, now)
            self._states = states
        return self._states

    def _group(self, receiver: str, alert: Transition) -> str:
        return self._router.leaf(alert, receiver).group(self._router.matched(alert))

    def _addressed(self, transition: Transition) -> Transition:
        if transition.notice is not Notice.FIRE:
            return transition
        return replace(transition, receivers=self._router.receivers(transition))


@contextmanager
def _harmless() -> Iterator[None]:
    """That nothing can be found out of causes holds up no alert."""
    try:
        yield
    except StoreError:
        LOOP_FAILURES.labels("diagnosis").inc()
        logger.exception("alerting: nothing is begun or told of likely causes in this round")


def _after(states: Mapping[str, AlertState], told: Sequence[Transition]) -> dict[str, AlertState]:
    new = dict(states)
    for each in told:
        if each.fingerprint in new:
            new[each.fingerprint] = new[each.fingerprint].after(each)
    return new


def _closed(state: AlertState, now: datetime) -> AlertState:
    return AlertState(state.rule, state.labels, State.RESOLVED, now)


def _oldest(states: Mapping[str, AlertState], now: datetime) -> datetime:
    """Since when an answer can still matter."""
    fired = [each.fired_at for each in states.values() if each.fired_at]
    return min([*fired, now - timedelta(seconds=HOLD_S)])
