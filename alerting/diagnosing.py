"""Why an alert's model changed: found out in the background once the alert is open, and told where it is known.

What is due follows from the open alerts and the table ``alert_diagnoses`` alone, so a restart or another process goes
on. Nothing waits for a diagnosis: it runs in a thread of its own, and a later round tells what it found to those whose
message went out without.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from tidegauge import diagnoses
from tidegauge.alerting.caps import is_summary
from tidegauge.alerting.likely import About, Diagnose, about, begin, judged, look
from tidegauge.alerting.rules import Rule, Severity
from tidegauge.alerting.states import AlertState, Notice, Transition
from tidegauge.clock import Clock
from tidegauge.config import AlertDiagnosis
from tidegauge.diagnoses import Diagnosed, State
from tidegauge.instruments import ALERT_DIAGNOSES
from tidegauge.store import Store

logger = logging.getLogger(__name__)
HOUR = timedelta(hours=1)
TOGETHER = timedelta(hours=1)
"""Alerts of a model that began within this share one diagnosis."""
FRESH = timedelta(minutes=15)
"""A diagnosis of the model that is no older serves an alert that fires now."""
MOST_TRIES = 2
"""How often one is begun that never ends, because the process dies."""
UPDATED = frozenset({"slack_bot", "pagerduty", "webhook"})
"""Kinds of receivers that hear of it in a message of its own; the others do in the next one that is due anyway."""
PAGED_WITHIN = timedelta(hours=1)
"""PagerDuty hears of it so long after the alert fired: an incident that was closed there would be opened again."""
TOLD = """SELECT fingerprint, timestamp, receivers FROM alert_events
WHERE fingerprint IN {alerts:Array(String)} AND notice = 'diagnose'"""
HEARD = """SELECT dedup_key, event_at, receiver FROM alert_deliveries
WHERE dedup_key IN {alerts:Array(String)} AND outcome = 'delivered'"""
MOST_LOOKED_AT = 20
"""Alerts that wait for a diagnosis and are looked at in one round."""
_URGENT = {Severity.PAGE: 0, Severity.TRIAGE: 1}


@dataclass
class _Job:
    """One diagnosis under way, for all alerts that share it."""

    made: tuple[Diagnosed, ...]
    abouts: Mapping[str, About]
    thread: threading.Thread | None = None
    begun: float = field(default_factory=time.monotonic)
    late: bool = False


class Diagnosing:
    """Has diagnoses made for open alerts, one at a time.

    Args:
        store: Has ``alert_diagnoses``.
        settings: Limits.
        rules: Say what an alert is about.
        kinds: Name of each receiver -> its kind.
        diagnose: Makes one.
        clock: For when one ended.
    """

    def __init__(
        self,
        store: Store,
        settings: AlertDiagnosis,
        rules: Sequence[Rule],
        kinds: Mapping[str, str],
        diagnose: Diagnose,
        clock: Clock,
    ) -> None:
        self._store, self._settings, self._diagnose, self._clock = store, settings, diagnose, clock
        self._rules = {each.alert: each for each in rules}
        self._kinds = kinds
        self._job: _Job | None = None

    def begin(self, states: Mapping[str, AlertState], now: datetime) -> None:
        """Begin what is due; the alerts must be in ``alert_events`` already."""
        self._look_after(self._job)
        able = self._able(states)
        known = self._known(able)
        due = sorted((each for key, each in able.items() if self._due(key, known.get(key, []), now)), key=_urgency)
        due = [each for each in due[:MOST_LOOKED_AT] if not self._answered(each, known, now)]
        if due and self.wait(0):
            self._begin(due, known, now)

    def news(self, states: Mapping[str, AlertState], now: datetime, busy: Collection[str] = ()) -> list[Transition]:
        """What is to be told of what has ended.

        Args:
            busy: Fingerprints of alerts of which something else is told at ``now``; those wait for the next round.
        """
        able = {key: each for key, each in self._able(states).items() if key not in busy}
        return list(self._news(able, self._known(able), now))

    def _able(self, states: Mapping[str, AlertState]) -> dict[str, AlertState]:
        return {key: each for key, each in states.items() if self._about(each)}

    def _known(self, able: Mapping[str, AlertState]) -> dict[str, list[Diagnosed]]:
        """The diagnoses of each alert since it fired, the oldest first."""
        known: dict[str, list[Diagnosed]] = {}
        for made in diagnoses.read(self._store, able):
            if made.fired_at == able[made.fingerprint].fired_at:
                known.setdefault(made.fingerprint, []).append(made)
        return known

    def wait(self, timeout_s: float) -> bool:
        """Until none is under way; False when ``timeout_s`` passed first."""
        thread = self._job.thread if self._job else None
        if thread:
            thread.join(timeout_s)
        return not (thread and thread.is_alive())

    def _about(self, state: AlertState) -> str:
        """The model or service that an open alert is about; empty for none, or where nobody is told of it."""
        told = state.open and state.fired_at and state.last and not state.muted and not is_summary(state)
        return about(self._rules.get(state.rule), state.labels).subject if told else ""

    def _due(self, key: str, mine: Sequence[Diagnosed], now: datetime) -> bool:
        if not self.wait(0) and self._job and key in self._job.abouts and not self._job.late:
            return False
        ended = [each for each in mine if each.ended_at]
        again = timedelta(seconds=self._settings.again_after_s)
        return not ended or now - ended[-1].asked_at >= again

    def _answered(self, state: AlertState, known: dict[str, list[Diagnosed]], now: datetime) -> bool:
        """Whether there is nothing to begin: another alert's diagnosis says it, or it killed the process before."""
        first = self._first(state, known, now)
        if not known.get(first.fingerprint):
            for made in diagnoses.of_model(self._store, first.model, now - FRESH):
                if abs(made.began - first.began) <= TOGETHER and made.asked_at <= now:
                    found = judged(made, about(self._rules[state.rule], state.labels))
                    same = replace(found, **{name: getattr(first, name) for name in _OF_ALERT}, took_s=0.0)
                    return self._kept(same, known)
        tries = takewhile(lambda each: not each.ended_at, reversed(known.get(first.fingerprint, [])))
        if len(list(tries)) >= MOST_TRIES:
            words = f"the process ended {MOST_TRIES} times while it was being made"
            ALERT_DIAGNOSES.labels("failed").inc()
            return self._kept(replace(first, state=State.FAILED, words=words), known)
        return False

    def _kept(self, made: Diagnosed, known: dict[str, list[Diagnosed]]) -> bool:
        ended = replace(made, ended_at=self._clock.now())
        diagnoses.write(self._store, [ended], self._clock.now())
        known.setdefault(made.fingerprint, []).append(ended)
        return True

    def _begin(self, due: Sequence[AlertState], known: Mapping[str, Sequence[Diagnosed]], now: datetime) -> None:
        """Start a thread for the most urgent of ``due`` and those that share its diagnosis."""
        if diagnoses.begun_since(self._store, now - HOUR) >= self._settings.most_per_hour:
            return
        first = self._first(due[0], known, now)
        mine = [self._first(each, known, now) for each in due]
        shared = [each for each in mine if each.model == first.model and abs(each.began - first.began) <= TOGETHER]
        made = tuple(replace(each, diagnosis=first.diagnosis) for each in shared)
        diagnoses.write(self._store, made, self._clock.now())
        abouts = {each.last.fingerprint: about(self._rules[each.rule], each.labels) for each in due if each.last}
        job = _Job(made, abouts)
        job.thread = threading.Thread(target=self._work, args=(job,), name="tidegauge-diagnose", daemon=True)
        self._job = job
        job.thread.start()

    def _first(self, state: AlertState, known: Mapping[str, Sequence[Diagnosed]], now: datetime) -> Diagnosed:
        """The next diagnosis of one alert as it begins; its id follows from the alert and how many there were."""
        assert state.last and state.fired_at
        rule = self._rules[state.rule]
        key = state.last.fingerprint
        text = f"{key} {state.fired_at.isoformat()} {len(known.get(key, ()))}"
        name, model = hashlib.sha256(text.encode()).hexdigest()[:32], about(rule, state.labels).subject
        began = begin(self._store, rule, state.labels, state.since)
        return Diagnosed(name, State.BEGUN, model, state.rule, key, state.fired_at, now, began)

    def _work(self, job: _Job) -> None:
        found = look(self._diagnose, job.made, job.abouts, self._settings.history_days)
        if job.late:
            return
        took = time.monotonic() - job.begun
        ALERT_DIAGNOSES.labels(min(found, key=_usefulness).state.value).inc()
        self._end([replace(each, took_s=took) for each in found])

    def _look_after(self, job: _Job | None) -> None:
        """Give up on one that takes too long; its thread is left alone, and none is begun beside it."""
        if not job or job.late or not job.thread or not job.thread.is_alive():
            return
        took = time.monotonic() - job.begun
        if took < self._settings.timeout_s:
            return
        job.late = True
        words = f"it took longer than {self._settings.timeout_s:g} s (alerting.diagnosis.timeout_s)"
        logger.warning("alerting: the diagnosis of %s was given up: %s", job.made[0].model, words)
        ALERT_DIAGNOSES.labels("late").inc()
        self._end([replace(each, state=State.FAILED, words=words, took_s=took) for each in job.made])

    def _end(self, made: Sequence[Diagnosed]) -> None:
        try:
            diagnoses.write(self._store, made, self._clock.now())
        except Exception:  # it is begun anew, like one that a restart cut off
            logger.exception("alerting: what a diagnosis of %s found could not be stored", made[0].model)

    def _news(
        self, able: Mapping[str, AlertState], known: Mapping[str, Sequence[Diagnosed]], now: datetime
    ) -> Iterator[Transition]:
        """For each alert with a likely cause those receivers that were told of the alert, and not of this cause."""
        likely = {key: each[-1] for key, each in known.items() if each[-1].state is State.LIKELY}
        if not likely:
            return
        asked = {"alerts": sorted(likely)}
        said = self._store.rows(TOLD, asked)
        heard = self._store.rows(HEARD, asked)
        for key, made in likely.items():
            state = able[key]
            assert state.fired_at
            before = {name for each in known[key] if each.same == made.same for name in each.told}
            before |= {
                name
                for row in said
                if row["fingerprint"] == key and row["timestamp"] >= made.asked_at
                for name in row["receivers"]
            }
            reached = {
                row["receiver"] for row in heard if row["dedup_key"] == key and row["event_at"] >= state.fired_at
            }
            wanted = (each for each in state.receivers if each in reached - before)
            if who := tuple(each for each in wanted if self._updated(each, now - state.fired_at)):
                yield _notice(state, made, who, now)

    def _updated(self, receiver: str, age: timedelta) -> bool:
        kind = self._kinds.get(receiver, "")
        return kind in UPDATED and (kind != "pagerduty" or age < PAGED_WITHIN)


_OF_ALERT = ("rule", "fingerprint", "fired_at", "asked_at", "began")


def _urgency(state: AlertState) -> tuple[int, Any]:
    return _URGENT.get(Severity(state.severity), 2) if state.severity in set(Severity) else 2, state.fired_at


def _usefulness(made: Diagnosed) -> int:
    return (State.LIKELY, State.UNSURE, State.NOTHING, State.FAILED).index(made.state)


def _notice(state: AlertState, made: Diagnosed, receivers: tuple[str, ...], now: datetime) -> Transition:
    assert state.last
    return replace(
        state.last, at=now, previous=state.state, notice=Notice.DIAGNOSE, receivers=receivers, reason=made.words
    )
