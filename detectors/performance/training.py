"""The training rows as earlier windows: a model that is new has a baseline from its first day."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from tidegauge.config import Watch
from tidegauge.detectors.drift import LEAST_ROWS
from tidegauge.detectors.performance import answers, lessons
from tidegauge.detectors.performance.book import LABELS, Book, Entry, Page
from tidegauge.detectors.performance.lessons import Lesson
from tidegauge.detectors.performance.measured import Measured
from tidegauge.detectors.performance.reading import Reader, Rows
from tidegauge.detectors.statistics.arrays import BoolArray
from tidegauge.model import ALL, Slice, Window

HOUR_S = 3600
MOST = 60
"""Windows that training rows are cut into, the latest first."""


def measured(
    reader: Reader, book: Book, model: str, watch: Watch, lesson: Lesson, window: Window, now: datetime
) -> int:
    """Cut the labelled training rows into windows as long as ``window``, measure each, and write it down.

    Windows end where ``window`` would have, so many lengths before. Those of fewer than 50 labelled rows are left out,
    and the first and last where rows do not fill them, unless there are no others. Returns how many there are.
    """
    if not reader.size(model, None):
        return 0
    rows = reader.read(model, None, lessons.dimensions(watch), now)
    made, kept = lessons.measurable(lesson.task, rows, watch.performance)
    if len(made) < LEAST_ROWS:
        return 0
    length = window.length.total_seconds()
    ago = np.floor((window.end.timestamp() - rows.at) / length).astype(np.int64)
    found = [each for each in np.unique(ago[kept]) if int((kept & (ago == each)).sum()) >= LEAST_ROWS]
    found = (_whole(found, rows, window) or found)[:MOST]
    for each in found:
        end = window.end - timedelta(seconds=int(each) * length)
        page = Page(model, Window(end - window.length, end), now, "realised", "labels", "training", 1.0)
        book.write(page, _entries(rows, made, kept, ago == each, watch))
    return len(found)


def _whole(ago: list[int], rows: Rows, window: Window) -> list[int]:
    """Those windows that begin and end, give or take an hour, within the stretch that the rows come from."""
    length, end = window.length.total_seconds(), window.end.timestamp()
    first, last = int(rows.at.min()) - HOUR_S, int(rows.at.max()) + HOUR_S
    return [each for each in ago if end - (each + 1) * length >= first and end - each * length <= last]


def _entries(rows: Rows, made: answers.Answers, kept: BoolArray, inside: BoolArray, watch: Watch) -> list[Entry]:
    entries = [Entry(ALL, Measured(LABELS, 1.0, 1.0, 1.0, int((kept & inside).sum())))]
    parts: list[tuple[Slice, BoolArray]] = [(ALL, inside)]
    for name, column in rows.traffic.dimensions.items():
        for value in list(column.rows_by_name)[: watch.max_slices]:
            here = np.zeros(len(rows), dtype=bool)
            here[column.rows_by_name[value]] = True
            parts.append((Slice(name, value), inside & here))
    for part, chosen in parts:
        own = made.take(chosen[kept])
        if len(own) >= LEAST_ROWS:
            every = answers.every(own, watch.performance.metrics)
            entries += [Entry(part, each) for each in every if isinstance(each, Measured)]
    return entries
