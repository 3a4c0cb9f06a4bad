"""Stretches of time that belong together: a reference may have several, with gaps."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from tidegauge.model import Window

DAY = timedelta(days=1)
WEEK = 7 * DAY
DAY_S = 86_400


def joined(spans: Iterable[Window]) -> tuple[Window, ...]:
    """In order, those that touch or overlap made one.

    >>> from datetime import UTC, datetime
    >>> at = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3, 5)]
    >>> [each.end.day for each in joined([Window(at[1], at[2]), Window(at[0], at[1]), Window(at[2], at[3])])]
    [5]
    """
    found: list[Window] = []
    for each in sorted(spans, key=lambda span: span.start):
        if found and each.start <= found[-1].end:
            found[-1] = Window(found[-1].start, max(found[-1].end, each.end))
        else:
            found.append(each)
    return tuple(found)


def without(spans: Iterable[Window], holes: Sequence[Window]) -> tuple[Window, ...]:
    """What of ``spans`` lies in no hole.

    >>> from datetime import UTC, datetime
    >>> at = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3, 5)]
    >>> [(each.start.day, each.end.day) for each in without([Window(at[0], at[3])], [Window(at[1], at[2])])]
    [(1, 2), (3, 5)]
    """
    left = list(spans)
    for hole in holes:
        left = [part for span in left for part in _outside(span, hole)]
    return tuple(left)


def weeks_before(window: Window, weeks: int) -> tuple[Window, ...]:
    """The same stretch of the week in each of ``weeks`` weeks before, none of it in or after ``window``.

    >>> from datetime import UTC, datetime
    >>> monday = Window(datetime(2026, 3, 30, 8, tzinfo=UTC), datetime(2026, 3, 30, 9, tzinfo=UTC))
    >>> [each.start.day for each in weeks_before(monday, 3)]
    [9, 16, 23]
    """
    shifted = [Window(window.start - WEEK * at, window.end - WEEK * at) for at in range(weeks, 0, -1)]
    return joined(Window(each.start, min(each.end, window.start)) for each in shifted if each.start < window.start)


def own_windows(spans: Sequence[Window], window: Window, most: int) -> list[Window]:
    """Whole windows in ``spans``, as long as ``window`` and beginning at the same time of day; of many, ``most``.

    Which are drawn depends on the hour, or day, that they are the window of, and on nothing else: as the current window
    moves on by minutes, so do they.

    >>> day = datetime(2026, 3, 1, tzinfo=UTC)
    >>> week = [Window(day, day + 7 * DAY)]
    >>> [each.start.day for each in own_windows(week, Window(day + 8 * DAY, day + 9 * DAY), 60)]
    [1, 2, 3, 4, 5, 6, 7]
    """
    length = int(window.length.total_seconds())
    drawn = sorted(starts_in(spans, window), key=lambda at: (zlib.crc32(str(at // length).encode()), at))[:most]
    return [stretch(at, length) for at in sorted(drawn)]


def starts_in(spans: Sequence[Window], window: Window) -> list[int]:
    """Where whole windows in ``spans`` begin that are as long as ``window`` and at its time of day; s since 1970."""
    length, start = int(window.length.total_seconds()), int(window.start.timestamp())
    if length <= 0:
        return []
    period = length if length < DAY_S and DAY_S % length == 0 else DAY_S
    starts: list[int] = []
    for span in spans:
        ends = int(span.start.timestamp()), int(span.end.timestamp())
        starts += range(ends[0] + (start - ends[0]) % period, ends[1] - length + 1, length)
    return starts


def stretch(start_s: int, length_s: int) -> Window:
    """So many seconds, from so many seconds since 1970 on."""
    return Window(*(datetime.fromtimestamp(each, UTC) for each in (start_s, start_s + length_s)))


def _outside(span: Window, hole: Window) -> list[Window]:
    if hole.start >= span.end or hole.end <= span.start:
        return [span]
    before = [Window(span.start, hole.start)] if hole.start > span.start else []
    return before + ([Window(hole.end, span.end)] if hole.end < span.end else [])
