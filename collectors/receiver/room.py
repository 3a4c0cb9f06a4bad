"""How many bytes may be in the receiver at a time: being received, waiting, or not yet durable."""

from __future__ import annotations

import threading

from tidegauge import instruments
from tidegauge.errors import Backpressure

RETRY_AFTER_S = 1.0


class Room:
    """A budget of ``limit`` bytes, shared by all requests; thread-safe.

    What would go beyond it is refused, except that a single request is always let in when nothing else is there: else
    one that is larger than the limit could never be taken.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._taken, self._lock = limit, 0, threading.Lock()

    def lease(self, size: int = 0) -> Lease:
        """``size`` bytes of it, until they are released. Raises Backpressure when there is no room."""
        lease = Lease(self)
        lease.resize(size)
        return lease

    def _change(self, own: int, size: int) -> None:
        with self._lock:
            others = self._taken - own
            if size > own and others and others + size > self._limit:
                raise Backpressure(RETRY_AFTER_S, f"{self._taken} bytes are waiting to be stored")
            self._taken = others + size
            instruments.PENDING_BYTES.set(self._taken)


class Lease:
    """One request's part of the room."""

    def __init__(self, room: Room) -> None:
        self._room, self.size, self._lock = room, 0, threading.Lock()

    def resize(self, size: int) -> None:
        """Hold ``size`` bytes from now on. Raises Backpressure, and holds what it held, when there is no room."""
        with self._lock:
            self._room._change(self.size, size)
            self.size = size

    def release(self) -> None:
        """Give everything back; more than once does no harm."""
        self.resize(0)
