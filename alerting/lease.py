"""Which of several alert loops on one database works, so that nobody is told twice and nothing is skipped.

ClickHouse has no compare-and-set, but it has one half of it: of several inserts with the same token only the first is
kept (on a replicated table Keeper decides, for all replicas). So term ``n`` belongs to whoever inserted it first, and
reading it back says who that was. A loop holds the lease while the newest term is its own and is not over.

A lease rather than loops that write under shared keys: what a round finds follows from the moment it looked, so two
loops that both look find almost the same, and only one of them may say so.

Bounds, with ``length_s`` of a term and ``grace_s`` before another loop takes over:

- A holder believes itself for ``length_s`` of its own monotonic clock from *before* it asked. A pause of any length,
  in any place, therefore ends with a look at the clock before the next send.
- Another loop takes over ``grace_s`` after the term is over, by its own clock, or once it has seen the same term for
  ``length_s + grace_s``, whatever the clocks say. With ``grace_s`` no less than one delivery attempt and the
  difference of the clocks together, no two loops send at once.
- What is left: a holder that is paused *inside* an attempt for longer, so that the other repeats it, under the same
  key; and an insert of events that was under way when the pause began, which is superseded by what the other finds.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from tidegauge.instruments import ALERT_LEASE
from tidegauge.store import Store

LAST = "SELECT term, holder, until FROM alert_lease ORDER BY term DESC, stored_at LIMIT 1"


class Held(Enum):
    """Whether this loop may work."""

    NO = "no"
    ANEW = "anew"  # another may have worked since: what is remembered must be read again
    STILL = "still"


class Term(NamedTuple):
    """One row of ``alert_lease``."""

    number: int
    holder: str
    until: datetime


class Lease:
    """One loop's side of it.

    Args:
        store: Has the table ``alert_lease``.
        length_s: How long a term lasts; it is renewed when half of it is over.
        grace_s: How long after its end another loop waits.
        alone: Nobody else can have the database open, as with the embedded one: an earlier holder is dead.
        elapsed: Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        length_s: float,
        grace_s: float,
        *,
        alone: bool = False,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._length, self._grace = store, length_s, grace_s
        self._alone, self._elapsed = alone, elapsed
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.holder = ""
        self._sure_until = -1.0
        self._seen: tuple[int, float] = (0, 0.0)
        self._round: tuple[datetime, float] | None = None
        self._held = False

    def hold(self, now: datetime) -> Held:
        """Take or renew the lease at the start of a round. Raises StoreError when the database does not answer."""
        self._round = now, self._elapsed()
        return self._hold(now)

    def confirm(self) -> Held:
        """The same later in the round, before something is written that only the holder may write."""
        if self._round is None:
            return Held.NO
        now, begun = self._round
        return self._hold(now + timedelta(seconds=self._elapsed() - begun))

    def valid(self) -> bool:
        """Whether a send may begin now; asks nobody."""
        return self._elapsed() < self._sure_until

    def release(self, now: datetime) -> None:
        """Let another loop take over at once. Raises StoreError when the database does not answer."""
        if self._held and self.valid():
            self._sure_until = -1.0
            last = self._last()
            if last and last.holder == self.name:
                self._take(last.number + 1, now, now - timedelta(seconds=self._grace))
        self._held = False
        ALERT_LEASE.set(0)

    def _hold(self, now: datetime) -> Held:
        begun = self._elapsed()
        if self._sure_until - begun > self._length / 2:
            return Held.STILL
        last = self._last()
        mine = last is not None and last.holder == self.name
        if last is None or mine or self._over(last, now, begun):
            self._take(last.number + 1 if last else 1, now, now + timedelta(seconds=self._length))
            last = self._last()
        won = last is not None and last.holder == self.name
        self._sure_until = begun + self._length if won else -1.0
        self.holder = last.holder if last else ""
        still, self._held = self._held and mine, won
        ALERT_LEASE.set(won)
        return (Held.STILL if still else Held.ANEW) if won else Held.NO

    def _over(self, last: Term, now: datetime, begun: float) -> bool:
        if self._seen[0] != last.number:
            self._seen = last.number, begun
        unchanged = begun - self._seen[1]
        late = now >= last.until + timedelta(seconds=self._grace)
        return self._alone or late or unchanged >= self._length + self._grace

    def _take(self, number: int, now: datetime, until: datetime) -> None:
        row = {"term": number, "holder": self.name, "taken_at": now, "until": until}
        self._store.insert("alert_lease", [row], token=f"alert_lease:{number}")

    def _last(self) -> Term | None:
        found = self._store.rows(LAST)
        return Term(found[0]["term"], found[0]["holder"], found[0]["until"]) if found else None
