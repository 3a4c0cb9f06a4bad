"""Which windows of a subject are due."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tidegauge.config import Watch
from tidegauge.model import Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def watch_of(name: str, watches: tuple[Watch, ...]) -> Watch | None:
    """The watch listed under ``name``, else the one named ``*``, else None.

    >>> watch_of("fraud", (Watch(), Watch(name="fraud", step_hours=1))).step_hours
    1.0
    """
    listed = {each.name: each for each in watches}
    return listed.get(name) or listed.get("*")


def windows(watch: Watch, after: datetime, now: datetime, lag_s: float) -> Iterator[Window]:
    """Windows that end on multiples of the step since midnight UTC, later than ``after``, and closed at ``now``.

    >>> day = datetime(2026, 3, 1, tzinfo=UTC)
    >>> [str(each.end)[:16] for each in windows(Watch(step_hours=12), day, day + timedelta(days=1, minutes=1), 60)]
    ['2026-03-01 12:00', '2026-03-02 00:00']
    """
    step, length = timedelta(hours=watch.step_hours), timedelta(hours=watch.window_hours)
    end = EPOCH + ((after - EPOCH) // step + 1) * step
    while end + timedelta(seconds=lag_s) <= now:
        yield Window(end - length, end)
        end += step


def before_first(watch: Watch, first: datetime) -> datetime:
    """The ``after`` of a subject that was never evaluated: its first window is the first that ``first`` does not cut.

    A window counts as whole when it starts no earlier than the hour of the first record.

    >>> before_first(Watch(window_hours=48), datetime(2026, 3, 1, 9, 40, tzinfo=UTC)).isoformat()[:16]
    '2026-03-03T08:59'
    """
    hour = first.replace(minute=0, second=0, microsecond=0)
    return hour + timedelta(hours=watch.window_hours) - timedelta(microseconds=1)
