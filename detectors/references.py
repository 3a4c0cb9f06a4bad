"""What a window is compared with: found, read, and kept while it stays the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidegauge.config import Reference, Watch
from tidegauge.detectors.freezing import Freeze, Freezes
from tidegauge.detectors.predictions import Extent, Predictions, Scope, Version
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.spans import WEEK, joined, weeks_before, without
from tidegauge.incidents import Incidents, overlapping
from tidegauge.model import Window

ABSENT = {
    "training": "no predictions with role=training: log the training set with that role, or choose another reference",
    "fixed": "the fixed reference, {start} to {end}, holds no predictions",
    "trailing": "no predictions from {start} to {end}, the trailing reference of this window",
    "season": "no predictions in the same hours of the weeks from {start} to {end}, the reference of this window",
    "previous_version": "no predictions of the version before, from {start} to {end}",
}
PASSING = frozenset({"trailing", "season"})
"""Kinds whose rows are others for every window."""
LEAST_ROWS = 50
"""Of a version in the window or before it: fewer are a trial, or a straggler."""


@dataclass(frozen=True)
class Datum:
    """A reference. Where there is none, ``scope`` is None and ``reason`` says why; ``profile`` holds rows, if read.

    Attributes:
        note: What a finding has to add: that it is frozen, what was left out of it, which versions are compared.
        version: Only rows of this version of the window are compared; empty: all.
    """

    kind: str
    start: datetime
    end: datetime
    scope: Scope | None = None
    rows: int = 0
    profile: Profile | None = None
    reason: str = ""
    note: str = ""
    version: str = ""

    def of_window(self, model: str, window: Window) -> Scope:
        """The rows of ``window`` that are compared with it."""
        return Scope(model, window, version=self.version)


class References:
    """Keeps the last reference of every model: reading one costs more than all the tests of a window.

    Args:
        predictions: Where the rows are.
        incidents: Stretches whose rows are in no reference.
        freezes: Which models have an open alert, so that their references must not move.
        on_new: Is told of every reference that was read and that stays for more than one window.
    """

    def __init__(
        self,
        predictions: Predictions,
        incidents: Incidents,
        freezes: Freezes,
        on_new: Callable[[str, Datum], None],
    ) -> None:
        self._predictions = predictions
        self._incidents = incidents
        self._freezes = freezes
        self._on_new = on_new
        self._extents: dict[Scope, Extent | None] = {}
        self._kept: dict[str, tuple[object, Datum]] = {}

    def refresh(self, model: str, watch: Watch, now: datetime) -> None:
        """Look again at how many rows there are, training rows may have come in, and at what is known of the model."""
        self._extents.clear()
        self._freezes.refresh(model, watch, now)

    def of(self, model: str, watch: Watch, window: Window, dimensions: tuple[str, ...]) -> Datum:
        """The reference of one window, with its rows."""
        found = self.locate(model, watch, window)
        if found.scope is None:
            return found
        key = (found.scope, found.rows, dimensions)
        kept = self._kept.get(model)
        if kept is None or kept[0] != key:
            datum = replace(found, profile=Profile(self._predictions.read(found.scope, found.rows, dimensions)))
            kept = self._kept[model] = key, datum
            if datum.kind not in PASSING:
                self._on_new(model, datum)
        return replace(found, profile=kept[1].profile)

    def locate(self, model: str, watch: Watch, window: Window) -> Datum:
        """Where the reference of one window is, and how large, without its rows."""
        moving, frozen = self._located(model, watch.reference, window), self._freezes.of(model, window)
        if not frozen or watch.reference.kind in ("training", "fixed"):
            return moving
        held = self._located(model, watch.reference, window, frozen)
        # What has grown only since then must not stay out for ever: a young reference is not frozen.
        return held if 2 * held.rows >= moving.rows else moving

    def _located(self, model: str, reference: Reference, window: Window, frozen: Freeze | None = None) -> Datum:
        if reference.kind == "training":
            return self._training(model, reference, window)
        if reference.kind == "previous_version":
            return self._previous_version(model, reference, window, frozen)
        return self._timed(model, reference, window, frozen)

    def _training(self, model: str, reference: Reference, window: Window) -> Datum:
        holes = tuple(Window(each.start, each.end) for each in self._incidents.of(model))
        scope = Scope(model, None, holes=holes, name=reference.name or self._predictions.loaded(model))
        extent = self._extent(scope)
        if extent is None:
            absent = _absent("training", window)
            return replace(absent, reason=f"no training set is named {reference.name!r}") if reference.name else absent
        note = f"training set {scope.name!r}" if scope.name else ""
        return Datum("training", extent.start, extent.end, scope, extent.rows, note=note)

    def _timed(self, model: str, reference: Reference, window: Window, frozen: Freeze | None) -> Datum:
        spans = reference_windows(reference, window, frozen.since if frozen else None)
        whole = Window(spans[0].start, spans[-1].end)
        if reference.kind == "fixed" and whole.end > window.start:
            reason = f"the window lies in or before the fixed reference, which ends at {whole.end:%Y-%m-%d %H:%M}"
            return Datum("fixed", whole.start, whole.end, reason=reason)
        return self._over(model, reference.kind, spans, frozen)

    def _previous_version(self, model: str, reference: Reference, window: Window, frozen: Freeze | None) -> Datum:
        pair = versions_of(self._predictions.versions(model, window), window, frozen.since if frozen else None)
        if isinstance(pair, str):
            return Datum("previous_version", window.start, window.end, reason=pair)
        now, before = pair
        end = min(window.end, before.last + timedelta(microseconds=1))
        span = Window(max(before.first, end - timedelta(days=reference.days)), end)
        found = self._over(model, "previous_version", (span,), frozen, before.name)
        note = f"version {now.name} against version {before.name}"
        return replace(found, version=now.name, note="; ".join(part for part in (note, found.note) if part))

    def _over(self, model: str, kind: str, spans: Sequence[Window], frozen: Freeze | None, version: str = "") -> Datum:
        """The reference over ``spans`` less the incidents in them."""
        whole = Window(spans[0].start, spans[-1].end)
        incidents = [each for span in spans for each in overlapping(self._incidents.of(model), span)]
        left = without(spans, [Window(each.start, each.end) for each in incidents])
        known = dict.fromkeys(each.name for each in incidents)
        notes = [frozen.note] if frozen else []
        notes += [f"the reference leaves out {', '.join(known)}"] if known else []
        if not left:
            reason = f"all of the reference lies in incidents: {', '.join(known)}"
            return Datum(kind, whole.start, whole.end, reason=reason)
        scope = Scope(model, Window(left[0].start, left[-1].end), left if len(left) > 1 else (), version=version)
        extent = self._extent(scope)
        if extent is None:
            return _absent(kind, whole)
        return Datum(kind, whole.start, whole.end, scope, extent.rows, note="; ".join(notes))

    def _extent(self, scope: Scope) -> Extent | None:
        if scope not in self._extents:
            self._extents[scope] = self._predictions.extent(scope)
        return self._extents[scope]


def versions_of(found: Sequence[Version], window: Window, frozen: datetime | None) -> tuple[Version, Version] | str:
    """The version of the window, the newest with 50 rows in it, and the one that came before it; or why not.

    While frozen, the one before came before the alert: a mend is compared with what was well.
    """
    here = [each for each in found if each.here >= LEAST_ROWS]
    if not here:
        return f"no version of the model has {LEAST_ROWS} predictions in the window"
    now = here[-1]
    limit = min(now.first, frozen) if frozen else now.first
    before = [each for each in found if each.first < limit and each.rows >= LEAST_ROWS and each.name != now.name]
    return (now, before[-1]) if before else f"no version came before {now.name}: there is none to compare it with"


def reference_window(reference: Reference, window: Window) -> Window | None:
    """The stretch of time of the reference, or None where it is the training rows.

    >>> from datetime import UTC
    >>> day = datetime(2026, 3, 31, tzinfo=UTC)
    >>> str(reference_window(Reference(), Window(day, day + timedelta(days=1))).start)
    '2026-03-02 00:00:00+00:00'
    """
    if reference.kind == "training":
        return None
    spans = reference_windows(reference, window)
    return Window(spans[0].start, spans[-1].end)


def reference_windows(reference: Reference, window: Window, frozen: datetime | None = None) -> tuple[Window, ...]:
    """The stretches of time of a fixed, trailing or season reference; none of it is later than ``frozen``."""
    if reference.kind == "fixed" and reference.start and reference.end:
        return (Window(reference.start, reference.end),)
    moment = min(window.start, frozen) if frozen else window.start
    if reference.kind == "season":
        late = -((moment - window.start) // WEEK)
        wanted = weeks_before(window, reference.weeks + late)
        kept = [Window(each.start, min(each.end, moment)) for each in wanted if each.start < moment]
        return joined(kept)[-reference.weeks :]
    end = moment - timedelta(days=reference.gap_days)
    return (Window(end - timedelta(days=reference.days), end),)


def _absent(kind: str, span: Window) -> Datum:
    reason = ABSENT[kind].format(start=f"{span.start:%Y-%m-%d %H:%M}", end=f"{span.end:%Y-%m-%d %H:%M}")
    return Datum(kind, span.start, span.end, reason=reason)
