"""The thread that brings records to the receiver.

Whatever happens to the receiver, the name service or the process costs the service no exception and no waiting; what it
costs in records is counted by reason.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

from opentelemetry import context

from tidegauge.clock import SystemClock
from tidegauge.collectors.sdk import otlp, process
from tidegauge.collectors.sdk.drops import Drops
from tidegauge.collectors.sdk.post import Answer, Lane, Later, Post, Refused, Taken
from tidegauge.collectors.sdk.queue import Entry, Queue, payload_of
from tidegauge.collectors.sdk.report import DROPPED, REJECTED, Report
from tidegauge.collectors.sdk.retry import Backoff

log = logging.getLogger(__name__)

LINGER_S = 0.2  # what is logged within it shares a request
MAX_QUEUED_BYTES = 64 * 2**20
GIVE_UP_AFTER_S = 900.0  # a request that is put off for so long holds up the rest no more
ATTEMPTS_AT_PARTS = 24  # after a refusal, to find the one record that is at fault
REPORT_EVERY_S = 10.0

FULL = "queue full"
SHUT_DOWN = "client shut down"
EXITED = "not delivered before the end"
GIVEN_UP = "put off for too long"
REFUSED = "refused by the receiver"
UNDELIVERABLE = "wrong settings"


class Sender:
    """A bounded queue, and a thread that empties it; the thread starts with the first record, in each process anew.

    Args:
        connect: Makes the way to deliver; called by the sending thread.
        max_bytes: See :class:`Queue`.
        on_full: ``drop`` and count a record that finds no room, or let its caller ``wait``.
        give_up_after_s: A request is tried again for so long.
        linger_s: How long the first of several records waits for others.
        origin: Whose records they are; with it the receiver is told what was dropped and rejected, after a request
            that it took.
    """

    def __init__(
        self,
        connect: Callable[[], Post],
        *,
        max_bytes: int = MAX_QUEUED_BYTES,
        on_full: Literal["drop", "wait"] = "drop",
        give_up_after_s: float = GIVE_UP_AFTER_S,
        linger_s: float = LINGER_S,
        origin: otlp.Origin | None = None,
    ) -> None:
        self._connect, self._limits, self._origin = connect, (max_bytes, on_full), origin
        self._give_up_after_s, self._linger_s = give_up_after_s, linger_s
        self.begin()
        process.watch(self)

    def begin(self) -> None:
        """Start with nothing queued, nothing counted, no thread, and locks that nobody holds: in a forked child."""
        self._queue = Queue(*self._limits)
        self._drops, self._rejects = Drops("record(s) not delivered"), Drops("record(s) not understood, and not sent")
        self._backoff = Backoff(random.Random())  # noqa: S311 - spreads retries, keeps no secret
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._closing_at: float | None = None
        self._refusal = REFUSED
        self._report = Report(self._origin, SystemClock()) if self._origin else None
        self._report_at, self._reached = 0.0, False
        self.sent = 0

    @property
    def drops(self) -> dict[str, int]:
        """Records given up, by reason."""
        return self._drops.by_reason

    @property
    def rejects(self) -> dict[str, int]:
        """Records that could not be made, by reason."""
        return self._rejects.by_reason

    @property
    def queued(self) -> int:
        """Records that wait or are under way."""
        return len(self._queue)

    def offer(self, lane: Lane, payload: bytes, records: int = 1, origin: otlp.Origin | None = None) -> None:
        """Queue one serialized record of ``origin``, or, without one, a ready-made request of ``records`` records."""
        result = self._queue.put(lane, Entry(payload, records, origin))
        if result != "taken":
            self.drop(records, FULL if result == "full" else SHUT_DOWN)
        elif self._thread is None:
            self._start()

    def drop(self, records: int, reason: str, detail: str = "") -> None:
        """Count records that are given up."""
        self._drops.add(records, reason, detail)

    def reject(self, reason: str, detail: str) -> None:
        """Count one record that could not be made of what the service said."""
        self._rejects.add(1, reason, detail)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued so far is delivered or given up; False after ``timeout_s``."""
        return self._queue.flush(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Deliver what is queued for at most ``timeout_s``, count the rest as dropped, and stop."""
        if self._closing_at is None:
            self._closing_at = time.monotonic() + timeout_s
        self._queue.close()
        if self._thread is not None:
            self._thread.join(timeout_s)
        if left := self._queue.clear():
            self.drop(left, EXITED)
        self._drops.say()
        self._rejects.say()
        process.forget(self)

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="tidegauge-sender", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is on its way out, or there are too many threads: the next one tries
                return
            self._thread = thread
        process.at_exit(self)

    def _run(self) -> None:
        queue = self._queue
        context.attach(process.untraced())
        try:
            with process.undivided():
                post = self._connect()
        except Exception as error:  # noqa: BLE001 - the loop's edge: nothing can be sent, so everything is counted
            post, self._refusal = _Nowhere(f"{type(error).__name__}: {error}"), UNDELIVERABLE
        while queue.await_work(self._linger_s):
            for lane in Lane:
                if taken := queue.head(lane):
                    self._deliver(post, lane, taken)
                    queue.settle(lane, taken)
            if time.monotonic() >= self._report_at:
                self._tell(post)
        self._tell(post)
        post.close()

    def _deliver(self, post: Post, lane: Lane, taken: Sequence[Entry]) -> None:
        parts, attempts = [taken], ATTEMPTS_AT_PARTS
        while parts:
            part = parts.pop()
            answer = self._attempt(post, lane, payload_of(part))
            if isinstance(answer, Refused) and answer.divisible and len(part) > 1 and attempts:
                middle, attempts = len(part) // 2, attempts - 1
                parts += (part[middle:], part[:middle])
            else:
                self._count(answer, sum(entry.records for entry in part))

    def _count(self, answer: Answer, records: int) -> None:
        if isinstance(answer, Taken):
            self.sent += records - answer.rejected
            if answer.rejected:
                self.drop(answer.rejected, REFUSED, answer.reason)
        elif isinstance(answer, Refused):
            self.drop(records, self._refusal, answer.reason)
        else:
            self.drop(records, GIVEN_UP if self._closing_at is None else EXITED, answer.reason)

    def _tell(self, post: Post) -> None:
        """Say what was dropped and rejected to a receiver that takes requests; put off, it is said the next time."""
        if self._report is None or not self._reached:
            return
        for _ in range(2):  # what was put off goes first, as it was
            request = self._report.request({DROPPED: self.drops, REJECTED: self.rejects})
            if not request:
                return
            self._report_at = time.monotonic() + REPORT_EVERY_S
            if isinstance(_once(post, Lane.METRICS, request), Later):
                return
            self._report.settled()

    def _attempt(self, post: Post, lane: Lane, payload: bytes) -> Answer:
        """Try until it is taken, refused, or out of time."""
        begun = time.monotonic()
        while True:
            answer = _once(post, lane, payload)
            self._reached = isinstance(answer, Taken)
            if not isinstance(answer, Later):
                self._backoff.reset()
                return answer
            wait_s = self._backoff.wait_s(answer.after_s)
            if self._out_of_time(begun, wait_s):
                return answer
            self._queue.pause(wait_s)

    def _out_of_time(self, begun: float, wait_s: float) -> bool:
        until = begun + self._give_up_after_s if self._closing_at is None else self._closing_at
        return time.monotonic() + wait_s > until


def _once(post: Post, lane: Lane, payload: bytes) -> Answer:
    try:
        return post(lane, payload)
    except Exception as error:  # noqa: BLE001 - the loop's edge: one bad request must not end the thread
        return Refused(f"{type(error).__name__}: {error}")


class _Nowhere:
    """In place of a way to deliver that could not be made."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __call__(self, lane: Lane, payload: bytes) -> Answer:
        return Refused(self._reason)

    def close(self) -> None:
        pass
