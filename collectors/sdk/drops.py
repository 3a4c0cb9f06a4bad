"""Records that were given up, counted by reason; the log says so at once, and then once a minute at most."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

log = logging.getLogger(__name__)
SAY_AGAIN_AFTER_S = 60.0


class Drops:
    """Counts by reason.

    Args:
        what: Stands in the log behind the number: ``record(s) not sent``.
    """

    def __init__(self, what: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._what, self._monotonic = what, monotonic
        self._lock = threading.RLock()
        self._said_at: float | None = None
        self._unsaid = 0
        self._by_reason: Counter[str] = Counter()

    @property
    def by_reason(self) -> dict[str, int]:
        """A copy of the counts."""
        with self._lock:
            return dict(self._by_reason)

    def add(self, records: int, reason: str, detail: str = "") -> None:
        """Count ``records``."""
        with self._lock:
            self._by_reason[reason] += records
            self._unsaid += records
            now = self._monotonic()
            due = self._said_at is None or now - self._said_at >= SAY_AGAIN_AFTER_S
            self._said_at = now if due else self._said_at
        if due:
            self.say(f"{reason}: {detail}" if detail else reason)

    def say(self, reason: str = "") -> None:
        """Log what was counted since the last time; without the lock, because a log handler may log records itself."""
        with self._lock:
            count, self._unsaid = self._unsaid, 0
        if count:
            log.warning("%d %s%s", count, self._what, reason and f": {reason}; further ones are only counted")
