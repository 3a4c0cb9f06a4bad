"""What waits to be sent, by lane, within a stated amount of memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

from tidegauge.collectors.sdk import otlp
from tidegauge.collectors.sdk.post import Lane

MAX_REQUEST_BYTES = 2 * 2**20  # an official Collector takes 4 MiB over gRPC
MAX_REQUEST_ENTRIES = 5_000
RECORD_OVERHEAD_BYTES = 100  # what a queued record takes beyond its own bytes
Taking = Literal["taken", "full", "closed"]


class Entry(NamedTuple):
    """Something to send: one record of ``origin``, or, where that is None, a ready-made request of ``records``."""

    payload: bytes
    records: int
    origin: otlp.Origin | None = None


@dataclass(slots=True)
class _Waiting:
    """One lane's entries, and how many were ever put in and settled."""

    entries: deque[Entry] = field(default_factory=deque)
    put: int = 0
    settled: int = 0


class Queue:
    """Entries of each lane in their order.

    Args:
        max_bytes: Each entry counts for its bytes and 100 more, so that their number is bounded too. An entry larger
            than all of it is taken when nothing else waits.
        on_full: ``drop`` refuses an entry that finds no room, ``wait`` holds its caller until there is.
    """

    def __init__(self, max_bytes: int, on_full: Literal["drop", "wait"]) -> None:
        self._max_bytes, self._on_full = max_bytes, on_full
        self._lock = threading.RLock()  # so that a record logged by a signal handler cannot wait for itself
        self._changed = threading.Condition(self._lock)
        self._lanes = {lane: _Waiting() for lane in Lane}
        self._bytes = 0
        self._hurried = False
        self.closed = False

    def put(self, lane: Lane, entry: Entry) -> Taking:
        """Take ``entry``, or say why not."""
        size = len(entry.payload) + RECORD_OVERHEAD_BYTES
        with self._lock:
            if self._on_full == "wait":
                self._changed.wait_for(lambda: self.closed or self._fits(size))
            if self.closed:
                return "closed"
            if not self._fits(size):
                return "full"
            before = self._bytes
            waiting = self._lanes[lane]
            waiting.entries.append(entry)
            waiting.put += 1
            self._bytes = before + size
            if not before or before < MAX_REQUEST_BYTES <= self._bytes:
                self._changed.notify_all()
            return "taken"

    def __len__(self) -> int:
        with self._lock:
            return sum(entry.records for waiting in self._lanes.values() for entry in waiting.entries)

    def await_work(self, linger_s: float) -> bool:
        """Wait for the first entry, and ``linger_s`` for company; False when it is closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes or self.closed)
            self._changed.wait_for(lambda: self._hurried or self.closed or self._bytes >= MAX_REQUEST_BYTES, linger_s)
            return self._bytes > 0

    def head(self, lane: Lane) -> list[Entry]:
        """The first entries that make one request; they stay until they are settled. A frame goes alone."""
        with self._lock:
            most = 1 if lane is Lane.FRAMES else MAX_REQUEST_ENTRIES
            first, size = list[Entry](), 0
            for entry in islice(self._lanes[lane].entries, most):
                size += len(entry.payload)
                if first and size > MAX_REQUEST_BYTES:
                    break
                first.append(entry)
            return first

    def settle(self, lane: Lane, entries: Sequence[Entry]) -> None:
        """Remove the first entries: they were delivered or given up."""
        with self._changed:
            waiting = self._lanes[lane]
            for _ in entries[: len(waiting.entries)]:
                self._bytes -= len(waiting.entries.popleft().payload) + RECORD_OVERHEAD_BYTES
                waiting.settled += 1
            self._hurried = self._hurried and self._bytes > 0
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything put so far is settled; False after ``timeout_s``."""
        with self._changed:
            goals = [(waiting, waiting.put) for waiting in self._lanes.values()]
            self._hurried = self._bytes > 0
            self._changed.notify_all()
            return self._changed.wait_for(lambda: all(each.settled >= goal for each, goal in goals), timeout_s)

    def close(self) -> None:
        """Take nothing more; what waits can still be sent."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def clear(self) -> int:
        """Forget everything; returns how many records that were."""
        with self._changed:
            left = len(self)
            for lane, waiting in self._lanes.items():
                self.settle(lane, list(waiting.entries))
            return left

    def pause(self, seconds: float) -> None:
        """Wait; less when it is closed meanwhile."""
        with self._changed:
            was_closed = self.closed
            self._changed.wait_for(lambda: self.closed != was_closed, seconds)

    def _fits(self, size: int) -> bool:
        return not self._bytes or self._bytes + size <= self._max_bytes


def payload_of(entries: Sequence[Entry]) -> bytes:
    """One request. Serialized OTLP requests one after the other are one request, with the records of all."""
    ready = [entry.payload for entry in entries if entry.origin is None]
    records: dict[otlp.Origin, list[bytes]] = {}
    for entry in entries:
        if entry.origin is not None:
            records.setdefault(entry.origin, []).append(entry.payload)
    return b"".join([*ready, otlp.request(records)])
