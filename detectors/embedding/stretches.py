"""Which stretches of time texts are read from: the reference, and it cut into windows as long as the current one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegauge.config import Incident, Reference, Watch
from tidegauge.detectors.freezing import Freeze
from tidegauge.detectors.references import reference_windows
from tidegauge.detectors.spans import without
from tidegauge.detectors.statistics.random_features import LEAST_BUCKETS
from tidegauge.incidents import overlapping
from tidegauge.model import Window

MINUTE_S = 60
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
