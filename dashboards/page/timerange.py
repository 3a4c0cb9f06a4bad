"""Which stretch of event time a page shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from tidegauge.clock import Clock
from tidegauge.model import Window
from tidegauge.store import Store

RELATIVE = re.compile(r"^(?:now)?-(\d{1,6})([mhdw])$")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
STALE = timedelta(hours=2)
QUICK = ("-1h", "-6h", "-24h", "-7d", "-30d", "-90d", "-365d")
NEWEST = """SELECT max(t) AS newest FROM (
  SELECT toDateTime64(max(minute), 3, 'UTC') + INTERVAL 1 MINUTE AS t FROM ingest_1m WHERE minute <= {now:DateTime64(3)}
  UNION ALL SELECT toDateTime64(max(hour), 3, 'UTC') + INTERVAL 1 HOUR FROM predictions_1h
    WHERE hour <= {now:DateTime64(3)}
  UNION ALL SELECT toDateTime64(max(window_end), 3, 'UTC') FROM findings WHERE window_end <= {now:DateTime64(3)})"""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The shown window, and how it came about.

    ``newest`` is the newest event time in the tables (None: there is none); ``past`` says that it is so old that the
    page ends there instead of now. ``start_text`` and ``end_text`` are the query parameters, empty where not given.
    """

    window: Window
    newest: datetime | None
    past: bool
    start_text: str = ""
    end_text: str = ""

    def query(self, **changes: str) -> str:
        """Query string that keeps this range for another page; ``changes`` overrides and adds."""
        known = {"from": self.start_text, "to": self.end_text} | changes
        return urlencode({key: value for key, value in known.items() if value})


def time_range(store: Store, clock: Clock, given: Mapping[str, str], hours: float) -> TimeRange:
    """The range that ``from`` and ``to`` ask for, else the last ``hours``.

    Both are ISO 8601, or relative to the end such as -24h.

    Without ``to`` it ends now, or where the data ends when that is more than two hours ago, so that a replay shows.

    Raises:
        ValueError: a parameter is no time, or ``from`` is not before ``to``.
    """
    now = clock.now()
    newest = newest_event(store, now)
    past = newest is not None and newest < now - STALE
    anchor = newest if past and newest else now
    start_text, end_text = given.get("from", "").strip(), given.get("to", "").strip()
    end = _moment(end_text, anchor, "to") if end_text else anchor
    start = _moment(start_text, end, "from") if start_text else end - timedelta(hours=hours)
    if start >= end:
        raise ValueError(f"from ({start:%Y-%m-%d %H:%M}) must be before to ({end:%Y-%m-%d %H:%M})")
    return TimeRange(Window(start, end), newest, past, start_text, end_text)


def newest_event(store: Store, now: datetime) -> datetime | None:
    """The newest event time that is not after ``now``; None when the tables are empty."""
    found = store.value(NEWEST, {"now": now})
    return min(found, now) if isinstance(found, datetime) and found.year > 1971 else None


def _moment(text: str, anchor: datetime, name: str) -> datetime:
    match = RELATIVE.match(text)
    try:
        if match:
            return anchor - timedelta(**{UNITS[match[2]]: int(match[1])})
        found = anchor if text == "now" else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{name}: {text[:80]!r} is no time: use 2026-03-01T12:00 or -24h (m, h, d, w)") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
