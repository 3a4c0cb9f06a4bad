"""What a window is compared with: found, read, and kept while it stays the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidegauge.config import Reference, Watch
from tidegauge.detectors.predictions import Extent, Predictions, Scope
from tidegauge.detectors.profile import Profile
from tidegauge.model import Window

ABSENT = {
    "training": "no predictions with role=training: log the training set with that role, or choose another reference",
    "fixed": "the fixed reference, {start} to {end}, holds no predictions",
    "trailing": "no predictions from {start} to {end}, the trailing reference of this window",
}


@dataclass(frozen=True)
class Datum:
    """A reference. Where there is none, ``scope`` is None and ``reason`` says why; ``profile`` holds rows, if read."""

    kind: str
    start: datetime
    end: datetime
    scope: Scope | None = None
    rows: int = 0
    profile: Profile | None = None
    reason: str = ""


class References:
    """Keeps the last reference of every model: reading one costs more than all the tests of a window.

    ``on_new`` is told of every reference that was read and that stays for more than one window.
    """

    def __init__(self, predictions: Predictions, on_new: Callable[[str, Datum], None]) -> None:
        self._predictions = predictions
        self._on_new = on_new
        self._extents: dict[Scope, Extent | None] = {}
        self._kept: dict[str, tuple[object, Datum]] = {}

    def refresh(self) -> None:
        """Look again at how many rows there are: training rows may have come in since the last round."""
        self._extents.clear()

    def of(self, model: str, watch: Watch, window: Window, dimensions: tuple[str, ...]) -> Datum:
        """The reference of one window, with its rows."""
        found = self.locate(model, watch, window)
        if found.scope is None:
            return found
        key = (found, dimensions)
        kept = self._kept.get(model)
        if kept is None or kept[0] != key:
            datum = replace(found, profile=Profile(self._predictions.read(found.scope, found.rows, dimensions)))
            kept = self._kept[model] = key, datum
            if datum.kind != "trailing":
                self._on_new(model, datum)
        return kept[1]

    def locate(self, model: str, watch: Watch, window: Window) -> Datum:
        """Where the reference of one window is, and how large, without its rows."""
        kind, span = watch.reference.kind, reference_window(watch.reference, window)
        if span and span.end > window.start:
            reason = f"the window lies in or before the fixed reference, which ends at {span.end:%Y-%m-%d %H:%M}"
            return Datum(kind, span.start, span.end, reason=reason)
        scope = Scope(model, span)
        if scope not in self._extents:
            self._extents[scope] = self._predictions.extent(scope)
        extent = self._extents[scope]
        if extent is None:
            return _absent(kind, span or window)
        start, end = (span.start, span.end) if span else (extent.start, extent.end)
        return Datum(kind, start, end, scope, extent.rows)


def reference_window(reference: Reference, window: Window) -> Window | None:
    """The stretch of time of the reference, or None where it is the training rows.

    >>> from datetime import UTC
    >>> day = datetime(2026, 3, 31, tzinfo=UTC)
    >>> str(reference_window(Reference(), Window(day, day + timedelta(days=1))).start)
    '2026-03-02 00:00:00+00:00'
    """
    if reference.kind == "training":
        return None
    if reference.kind == "fixed" and reference.start and reference.end:
        return Window(reference.start, reference.end)
    end = window.start - timedelta(days=reference.gap_days)
    return Window(end - timedelta(days=reference.days), end)


def _absent(kind: str, span: Window) -> Datum:
    reason = ABSENT[kind].format(start=f"{span.start:%Y-%m-%d %H:%M}", end=f"{span.end:%Y-%m-%d %H:%M}")
    return Datum(kind, span.start, span.end, reason=reason)
