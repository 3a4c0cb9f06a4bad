"""Which stretches of time texts are read from: the reference, and it cut into windows as long as the current one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tidegauge.config import Incident, Reference, Watch
from tidegauge.detectors.freezing import Freeze
from tidegauge.detectors.references import reference_windows
from tidegauge.detectors.spans import without
from tidegauge.detectors.statistics.random_features import LEAST_BUCKETS
from tidegauge.incidents import overlapping
from tidegauge.model import Window

DAY_S, MINUTE_S = 86_400, 60
MOST_WINDOWS = 8
BUCKETS = 24
"""Wanted in a window."""


@dataclass(frozen=True, slots=True)
class Datum:
    """Where the texts of a reference are: ``spans``, or None: the training rows; ``reason`` says why there are none."""

    kind: str
    spans: tuple[Window, ...] | None
    start: datetime
    end: datetime
    note: str = ""
    reason: str = ""


def locate(reference: Reference, window: Window, freeze: Freeze | None, incidents: Sequence[Incident]) -> Datum:
    """The reference of one window: none of it later than an open alert, or in an incident, unless it is fixed."""
    if reference.kind == "training":
        return Datum("training", None, window.start, window.start)
    held = freeze if reference.kind != "fixed" else None
    spans = reference_windows(reference, window, held.since if held else None)
    whole = Window(spans[0].start, spans[-1].end)
    if reference.kind == "fixed" and whole.end > window.start:
        return Datum("fixed", (), whole.start, whole.end, reason="the window lies in or before the fixed reference")
    inside = [each for span in spans for each in overlapping(incidents, span)]
    left = without(spans, [Window(each.start, each.end) for each in inside])
    known = ", ".join(dict.fromkeys(each.name for each in inside))
    notes = [held.note] if held else []
    notes += [f"the reference leaves out {known}"] if known else []
    reason = "" if left else f"all of the reference lies in incidents: {known}"
    return Datum(reference.kind, left, whole.start, whole.end, "; ".join(notes), reason)


def own_windows(spans: Sequence[Window], window: Window, most: int = MOST_WINDOWS) -> list[Window]:
    """Whole windows in ``spans``, as long as ``window`` and beginning at the same time of day; of many, ``most``.

    Which are drawn depends on the hour, or day, that they are the window of, and on nothing else: as the current window
    moves on by minutes, so do they.

    >>> day = datetime(2026, 3, 1, tzinfo=UTC)
    >>> week = [Window(day, day + timedelta(days=7))]
    >>> [each.start.day for each in own_windows(week, Window(day + timedelta(days=8), day + timedelta(days=9)))]
    [1, 2, 3, 4, 5, 6, 7]
    """
    length, start = int(window.length.total_seconds()), int(window.start.timestamp())
    if length <= 0:
        return []
    period = length if length < DAY_S and DAY_S % length == 0 else DAY_S
    starts: list[int] = []
    for span in spans:
        ends = int(span.start.timestamp()), int(span.end.timestamp())
        starts += range(ends[0] + (start - ends[0]) % period, ends[1] - length + 1, length)
    drawn = sorted(starts, key=lambda at: (zlib.crc32(str(at // length).encode()), at))[:most]
    return [Window(_moment(at), _moment(at + length)) for at in sorted(drawn)]


def stretch_of(watch: Watch) -> int:
    """Seconds of the stretches that a watch's texts are summed in: whole minutes, at least 24 in a window; 0: none fit.

    >>> stretch_of(Watch(window_hours=24, step_hours=1)), stretch_of(Watch(window_hours=1, step_hours=1 / 60))
    (3600, 60)
    >>> stretch_of(Watch(window_hours=0.5, step_hours=0.01))
    0
    """
    minute = timedelta(minutes=1)
    window, step = timedelta(hours=watch.window_hours), timedelta(hours=watch.step_hours)
    if window % minute or step % minute or not step or window < LEAST_BUCKETS * minute:
        return 0
    longest = max(1, window // minute // BUCKETS)
    fitting = [each for each in range(1, longest + 1) if not (window % (each * minute) or step % (each * minute))]
    return max(fitting) * MINUTE_S


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
