"""The round of the week, run once it is over; and the end of proposals that nobody decides."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidegauge import golden
from tidegauge.config import Golden
from tidegauge.golden import State, decision
from tidegauge.judges.golden.proposing import Proposed, Proposing
from tidegauge.model import Window
from tidegauge.store import Store

WEEK = timedelta(days=7)
DONE = """SELECT count() FROM golden_rounds
WHERE subject = '' AND weekly AND window_end = {end:DateTime64(6, 'UTC')}"""
NOBODY = "nobody"


class GoldenLoop:
    """Proposes the failures of each week once; ``golden_rounds`` is its memory. Weeks that passed while nothing ran are
    not made up for, but the next one looks ``look_back_days`` back."""

    def __init__(self, store: Store, settings: Golden, proposing: Proposing) -> None:
        self._store, self._settings, self._proposing = store, settings, proposing
        self._done: datetime | None = None

    def run(self, now: datetime) -> Proposed | None:
        """The round of the last week, unless it was done before."""
        end = last_monday(now - timedelta(hours=self._settings.lag_hours))
        if end == self._done:
            return None
        self._done = end
        if self._store.value(DONE, {"end": end}):
            return None
        try:
            self._give_up(now)
            return self._proposing.run(self.window(end), now, seed=int(end.timestamp()), weekly=True)
        except BaseException:
            self._done = None
            raise

    def window(self, end: datetime) -> Window:
        """Where failures are looked for that are proposed at ``end``."""
        return Window(end - timedelta(days=self._settings.look_back_days), end)

    def _give_up(self, now: datetime) -> None:
        """Reject what nobody decided for too long."""
        if not self._settings.undecided_days:
            return
        limit = now - timedelta(days=self._settings.undecided_days)
        note = f"nobody decided within {self._settings.undecided_days:g} days"
        waiting = golden.read(self._store, State.PROPOSED)
        old = [decision(each, State.REJECTED, NOBODY, now, note=note) for each in waiting if each.proposed_at < limit]
        golden.write(self._store, old)


def last_monday(now: datetime) -> datetime:
    """The last Monday, 0:00 UTC, that is not after ``now``.

    >>> from datetime import UTC
    >>> last_monday(datetime(2026, 3, 4, 12, tzinfo=UTC)).isoformat()
    '2026-03-02T00:00:00+00:00'
    """
    return (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
