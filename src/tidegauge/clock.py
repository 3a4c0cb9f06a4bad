"""One clock for everything that asks for the time, so that a replay or a test can hold it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_ns(moment: datetime) -> int:
    """An aware datetime in nanoseconds since 1970-01-01 UTC, exactly.

    >>> epoch_ns(datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC))
    1000001000
    """
    return (moment - EPOCH) // timedelta(microseconds=1) * 1_000


class Clock(Protocol):
    """Tells the time; nothing else in Tidegauge reads the system clock for a decision."""

    def now(self) -> datetime:
        """The present, as an aware datetime in UTC."""
        ...

    def now_ns(self) -> int:
        """The present in nanoseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_ns(self) -> int:
        return time.time_ns()


class ReplayClock:
    """A clock that flows at real pace from wherever it was last set; for replays of past data.

    Between two ``set`` calls it advances with the machine's monotonic clock, so durations measured on it are real.
    ``frozen=True`` makes it stand still between calls; tests use that.
    """

    def __init__(self, start: datetime, *, frozen: bool = False) -> None:
        self._lock = threading.Lock()
        self._frozen = frozen
        self.set(start)

    def set(self, moment: datetime) -> None:
        """Jump to ``moment`` (aware; backwards is allowed)."""
        if moment.tzinfo is None:
            raise ValueError("ReplayClock.set needs an aware datetime, such as datetime(2026, 1, 1, tzinfo=UTC)")
        with self._lock:
            self._base_ns = epoch_ns(moment)
            self._mark_ns = time.monotonic_ns()

    def advance(self, by: timedelta) -> None:
        """Jump forward by ``by``."""
        self.set(self.now() + by)

    def now_ns(self) -> int:
        with self._lock:
            return self._base_ns + (0 if self._frozen else time.monotonic_ns() - self._mark_ns)

    def now(self) -> datetime:
        return EPOCH + timedelta(microseconds=self.now_ns() // 1_000)
