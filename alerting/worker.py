"""One receiver's queue and the thread that empties it, so that a bad receiver delays nobody else."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tidegauge.alerting.evidence import Enrich, as_they_are
from tidegauge.alerting.http import Delivered, Failed, Outcome, RetryAfter
from tidegauge.alerting.ledger import Attempt
from tidegauge.alerting.notifiers.contract import Illustrating, Notifier
from tidegauge.alerting.states import Transition
from tidegauge.diagnoses import Diagnosed
from tidegauge.instruments import LOOP_FAILURES, NOTIFICATIONS

logger = logging.getLogger(__name__)
Record = Callable[[Sequence[Attempt]], None]
ASK_AGAIN_S = 0.5
"""How soon the worker asks again whether it may send."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often to try: waits double from ``first_s`` to ``longest_s``, each jittered by half."""

    give_up_after_s: float = 3600.0
    first_s: float = 1.0
    longest_s: float = 300.0

    def wait(self, attempts: int, asked_s: float | None, jitter: float) -> float:
        """Seconds before the next attempt; what the receiver asked for is a lower bound. ``jitter`` is in 0..1.

        >>> [Patience().wait(n, None, 0.5) for n in (1, 2, 20)], Patience().wait(1, 30, 0.0)
        ([1.0, 2.0, 300.0], 30.0)
        """
        usual = min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 60)) * (0.5 + jitter)
        return usual if asked_s is None else asked_s + jitter * min(1.0, usual)


@dataclass(slots=True)
class _Job:
    alert: Transition
    group: str = ""
    attempts: int = 0
    first_try: float = 0.0
    diagnosis: Diagnosed | None = None


class Worker:
    """Delivers to one notifier, in order, whatever waits for the same moment as one message.

    Args:
        notifier: Where to.
        record: Called after each attempt; when it raises, what was sent stays sent and is repeated after a restart.
        patience: Retries.
        capacity: Alerts that may wait; what does not fit is left to the next recovery from the tables.
        rng: For the jitter.
        may_send: Asked before each attempt; while it says no, everything waits.
        enrich: Adds to alerts what messages show and the tables do not hold.
    """

    def __init__(
        self,
        notifier: Notifier,
        record: Record,
        patience: Patience,
        rng: np.random.Generator,
        capacity: int = 10_000,
        may_send: Callable[[], bool] = lambda: True,
        enrich: Enrich = as_they_are,
    ) -> None:
        self._notifier, self._record, self._patience, self._rng = notifier, record, patience, rng
        self._capacity, self._may_send, self._enrich = capacity, may_send, enrich
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._ready_at = 0.0
        self._alone = 0
        self._thread = threading.Thread(target=self._run, name=f"tidegauge-notify-{notifier.name}", daemon=True)
        self._thread.start()

    def submit(self, alerts: Sequence[Transition], group: str = "") -> bool:
        """Queue ``alerts``, without those that wait already. False when there was no room for all.

        All alerts of one message have the same ``group``.
        """
        with self._changed:
            waiting = {_identity(each.alert) for each in self._jobs}
            new = [each for each in alerts if _identity(each) not in waiting]
            taken = new[: max(0, self._capacity - len(self._jobs))]
            self._jobs.extend(_Job(each, group) for each in taken)
            self._changed.notify_all()
        return len(taken) == len(new)

    def clear(self) -> None:
        """Forget what waits; an attempt in progress ends."""
        with self._changed:
            self._jobs.clear()
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing waits; False when ``timeout_s`` passed first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Stop after the attempt in progress; what waits is found again after a restart."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while self._wait():
            try:
                self._round()
            except Exception:
                LOOP_FAILURES.labels("delivery").inc()
                logger.exception("delivery to %s: a round failed", self._notifier.name)
                self._ready_at = time.monotonic() + self._patience.first_s

    def _wait(self) -> bool:
        """Until there is something to send and the time has come; False when closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._jobs)
            while not self._closing and (left := self._left()) > 0:
                self._changed.wait_for(lambda: self._closing, left)
            return not self._closing

    def _left(self) -> float:
        """Seconds until there may be an attempt."""
        return max(self._ready_at - time.monotonic(), 0.0 if self._may_send() else ASK_AGAIN_S)

    def _round(self) -> None:
        batch = self._take()
        if not batch:
            return  # cleared meanwhile
        alerts = self._enrich([job.alert for job in batch])
        if not self._may_send():
            return  # it took too long to find out more
        now = time.monotonic()
        for job, alert in zip(batch, alerts, strict=True):
            job.diagnosis = alert.evidence.diagnosis
            job.attempts += 1
            job.first_try = job.first_try or now
        outcome = self._notifier.send(alerts)
        if isinstance(outcome, Failed) and len(batch) > 1:
            self._alone = len(batch)  # one of them may be the reason: let the others through
            self._ready_at = time.monotonic() + self._notifier.spacing_s
            return
        self._settle(batch, outcome, alerts)

    def _take(self) -> list[_Job]:
        """The head of the queue, as much as fits into one message; it stays queued until it is settled."""
        with self._changed:
            most = 1 if self._alone else self._notifier.max_alerts
            batch: list[_Job] = []
            groups: set[object] = set()
            for job in list(self._jobs)[:most]:
                if job.group != self._jobs[0].group:
                    break
                groups.add((job.alert.rule, job.alert.notice))
                if len(groups) > self._notifier.max_groups:
                    break
                batch.append(job)
            return batch

    def _settle(self, batch: Sequence[_Job], outcome: Outcome, alerts: Sequence[Transition]) -> None:
        now = time.monotonic()
        self._alone = max(0, self._alone - 1)
        self._ready_at = now + self._notifier.spacing_s
        if isinstance(outcome, RetryAfter):
            done = [job for job in batch if now - job.first_try >= self._patience.give_up_after_s]
            self._ready_at = now + self._delay(batch[0], outcome, now)
        else:
            done = list(batch)
        ended = {id(job) for job in done}
        attempts = [self._attempt(job, outcome, given_up=id(job) in ended) for job in batch]
        try:
            self._record(attempts)
            if isinstance(outcome, Delivered) and isinstance(self._notifier, Illustrating) and self._may_send():
                self._notifier.illustrate(alerts)
        finally:
            with self._changed:
                self._jobs = deque(job for job in self._jobs if id(job) not in ended)
                self._changed.notify_all()

    def _delay(self, job: _Job, outcome: RetryAfter, now: float) -> float:
        wait = self._patience.wait(job.attempts, outcome.seconds, float(self._rng.random()))
        left = job.first_try + self._patience.give_up_after_s - now
        return min(wait, left) if left > 0 else self._notifier.spacing_s

    def _attempt(self, job: _Job, outcome: Outcome, *, given_up: bool) -> Attempt:
        name, detail = "delivered", outcome.detail
        if isinstance(outcome, Failed):
            name = "failed"
        elif isinstance(outcome, RetryAfter):
            name = "failed" if given_up else "retry"
            detail = f"given up after {job.attempts} attempt(s): {detail}" if given_up else detail
        NOTIFICATIONS.labels(self._notifier.name, name).inc()
        level = {"delivered": logging.DEBUG, "retry": logging.WARNING}.get(name, logging.ERROR)
        logger.log(level, "alert %s to %s: %s (%s)", job.alert.fingerprint, self._notifier.name, name, detail)
        return Attempt(job.alert, self._notifier.name, self._notifier.kind, name, job.attempts, detail, job.diagnosis)


def _identity(alert: Transition) -> tuple[object, ...]:
    return alert.fingerprint, alert.at, alert.state
