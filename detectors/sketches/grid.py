"""The stretches of time that windows are made of: minutes, those of a watch's own grid, hours and days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from math import gcd

from tidegauge.config import Watch
from tidegauge.detectors.spans import DAY_S, stretch
from tidegauge.model import Window

MINUTE_S, HOUR_S = 60, 3600


def bucket_of(watch: Watch) -> int:
    """Seconds of the longest stretch, at most a day, that all windows of a watch are made of; 0: these are no minutes.

    >>> bucket_of(Watch(window_hours=168, step_hours=24)), bucket_of(Watch(window_hours=6, step_hours=4))
    (86400, 7200)
    >>> bucket_of(Watch(window_hours=1, step_hours=1 / 12)), bucket_of(Watch(window_hours=0.25, step_hours=0.1))
    (300, 180)
    >>> bucket_of(Watch(window_hours=1, step_hours=0.0833))
    0
    """
    if not watch.on_whole_minutes:
        return 0
    seconds = [timedelta(hours=each) // timedelta(seconds=1) for each in (watch.window_hours, watch.step_hours)]
    return gcd(*seconds, DAY_S)


def lengths(bucket_s: int) -> tuple[int, ...]:
    """The lengths of stretches in seconds, the longest first; each divides the one before.

    >>> lengths(86_400), lengths(300), lengths(2700)
    ((86400, 3600, 60), (86400, 3600, 300, 60), (86400, 2700, 60))
    """
    fitting = not (bucket_s % HOUR_S and HOUR_S % bucket_s)
    return tuple(sorted({DAY_S, bucket_s, MINUTE_S, *([HOUR_S] if fitting else [])}, reverse=True))


def shorter(length_s: int, bucket_s: int) -> int:
    """The stretches that one can be put together from; 0: the watch's own, and shorter ones, are counted from rows.

    >>> shorter(86_400, 300), shorter(3600, 300), shorter(300, 300), shorter(3600, 86_400)
    (3600, 300, 0, 0)
    """
    return max((each for each in lengths(bucket_s) if bucket_s <= each < length_s), default=0)


def cover(spans: Sequence[Window], bucket_s: int) -> list[Window]:
    """The fewest stretches that ``spans`` of whole minutes are made of, in order.

    >>> from datetime import UTC, datetime
    >>> span = Window(datetime(2026, 3, 1, 22, 55, tzinfo=UTC), datetime(2026, 3, 3, 0, 1, tzinfo=UTC))
    >>> [int(each.length.total_seconds()) for each in cover([span], 300)]
    [300, 3600, 86400, 60]
    """
    found: list[Window] = []
    for span in spans:
        found += _cover(int(span.start.timestamp()), int(span.end.timestamp()), lengths(bucket_s))
    return found


def divided(window: Window, length_s: int) -> list[Window]:
    """``window`` in stretches of one length."""
    ends = int(window.start.timestamp()), int(window.end.timestamp())
    return [stretch(at, length_s) for at in range(*ends, length_s)]


def length_of(window: Window) -> int:
    """In seconds."""
    return int(window.length.total_seconds())


def hours_of(stretches: Iterable[Window]) -> set[Window]:
    """The hours that those of no whole hours lie in."""
    parts = [each for each in stretches if length_of(each) % HOUR_S]
    ends = [(int(each.start.timestamp()) // HOUR_S * HOUR_S, int(each.end.timestamp())) for each in parts]
    return {stretch(at, HOUR_S) for first, last in ends for at in range(first, last, HOUR_S)}


def on_grid(span: Window) -> bool:
    """Whether it begins and ends on whole minutes."""
    return all(each.microsecond == 0 and each.timestamp() % MINUTE_S == 0 for each in (span.start, span.end))


def _cover(start: int, end: int, by: Sequence[int]) -> Iterator[Window]:
    if start >= end:
        return
    length = by[0]
    first, last = -(-start // length) * length, end // length * length
    if first >= last:
        yield from _cover(start, end, by[1:])
        return
    yield from _cover(start, first, by[1:])
    yield from (stretch(at, length) for at in range(first, last, length))
    yield from _cover(last, end, by[1:])
