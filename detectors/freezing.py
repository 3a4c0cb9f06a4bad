"""References that stay where they were while an alert on their model is open: else they would learn the fault."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegauge.config import Watch
from tidegauge.model import Window
from tidegauge.store import Store

OPEN = """SELECT rule, since FROM (
  SELECT rule, fingerprint, labels, since, state, open FROM alert_events
  WHERE timestamp <= {now:DateTime64(6, 'UTC')} AND timestamp >= {from:DateTime64(6, 'UTC')}
  ORDER BY timestamp DESC LIMIT 1 BY fingerprint)
WHERE (open OR state = 'firing') AND since >= {from:DateTime64(6, 'UTC')}
  AND {model:String} IN (labels['model'], labels['subject'])
ORDER BY since, rule LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Freeze:
    """No reference holds what came after ``since``."""

    since: datetime
    note: str


class Freezes:
    """Which models have an alert that fires, read from the table of its events."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[str, Freeze] = {}

    def refresh(self, model: str, watch: Watch, now: datetime) -> None:
        """Look at the alerts that were open at ``now``: of several, the one that began first counts.

        What made it fire lies in the window that ended before it began, so a reference ends where that window started:
        on a whole minute, since stretches of less are not counted.
        """
        self._open.pop(model, None)
        longest = timedelta(days=watch.reference.freeze_days)
        if not longest:
            return
        found = self._store.rows(OPEN, {"model": model, "now": now, "from": now - longest})
        if found:
            began = found[0]["since"].replace(second=0, microsecond=0)
            since = began - timedelta(hours=watch.window_hours)
            note = f"the reference stays where it was at {since:%Y-%m-%d %H:%M}, because {found[0]['rule']} fires"
            self._open[model] = Freeze(since, note)

    def of(self, model: str, window: Window) -> Freeze | None:
        """What holds the reference of ``window``, if anything does."""
        found = self._open.get(model)
        return found if found and found.since < window.start else None
