"""From rows to sketches, once a stretch, and from sketches to the two sides of a comparison."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial, reduce
from math import gcd
from operator import add

from tidegauge.config import Watch
from tidegauge.detectors.predictions import Predictions, Scope
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.references import PASSING, Datum
from tidegauge.detectors.sketches.binning import Binning
from tidegauge.detectors.sketches.counts import Counts
from tidegauge.detectors.sketches.profile import SketchProfile
from tidegauge.detectors.sketches.tables import Bucket, Tables
from tidegauge.model import Window
from tidegauge.store import Store

LOG = logging.getLogger(__name__)
HOUR_S, DAY_S = 3600, 86_400


class Rollup:
    """Compares windows from counts in frozen cells, where rows are too many to be read at once.

    A stretch (``bucket``) of the common grid of a watch's windows and steps, an hour to a day long, is counted once,
    all of its rows, so many at a time that memory is bounded; again only if rows came later. What is in memory and what
    a comparison costs then follow from cells, features and slices, and not from the number of rows.

    Args:
        store: The database.
        predictions: Where the rows are.
        max_rows: A window, or a reference that moves with it, of more rows than that is compared from counts.
        most: Stretches that are counted in one round, to catch up.
    """

    def __init__(self, store: Store, predictions: Predictions, max_rows: int, most: int) -> None:
        self._tables = Tables(store)
        self._predictions = predictions
        self._max_rows, self._most = max_rows, most
        self._kept: dict[str, tuple[object, SketchProfile]] = {}
        self._binnings: dict[tuple[str, str], Binning] = {}

    def wanted(self, watch: Watch, datum: Datum, window: Window, rows: int) -> bool:
        """Whether this comparison is one of counts: a large one, on whole hours, of whole versions."""
        if watch.rollups == "off" or datum.scope is None or datum.version or datum.scope.holes:
            return False
        bucket_s = bucket_of(watch)
        spans = [window, *(_spans(datum.scope))]
        on_grid = bucket_s and all(_on_grid(each, bucket_s) for each in spans)
        largest = max(rows, datum.rows if datum.kind in PASSING else 0)
        return bool(on_grid) and (watch.rollups == "always" or largest > self._max_rows)

    def pair(
        self,
        model: str,
        watch: Watch,
        window: Window,
        datum: Datum,
        rows: int,
        dimensions: tuple[str, ...],
        now: datetime,
    ) -> tuple[SketchProfile, SketchProfile] | None:
        """The reference and the window, of ``rows`` rows, as counts.

        None while more stretches are to be counted than one round may, and where fewer rows are counted than there are:
        the sums by hour put models beyond the most frequent together.
        """
        assert datum.scope
        binning = self._binning(model, watch, datum, dimensions, now)
        spans = _spans(datum.scope)
        buckets = self._tables.state(model, binning, [*spans, window])
        due = [each for each in buckets if each.due]
        made = [self._count(model, binning, each, dimensions) for each in due[: self._most]]
        if len(due) > self._most:
            LOG.info("%s: %d stretches of traffic are still to be counted", model, len(due) - self._most)
            return None
        known = [*made, *(each for each in buckets if not each.due)]
        reference, current = self._read(model, datum, binning, window, known, dimensions)
        if reference.traffic.rows < datum.rows or current.traffic.rows < rows:
            LOG.info("%s: the sums by hour do not know all of its rows; they are compared as rows", model)
            return None
        if datum.kind in PASSING and reference.counts.outgrown:
            self._freeze(model, watch, datum, dimensions, now)
        return reference, current

    def _binning(self, model: str, watch: Watch, datum: Datum, dimensions: tuple[str, ...], now: datetime) -> Binning:
        """The cells that were frozen on this reference; of a moving one on what it was when it was first seen."""
        named = _named(watch, datum, dimensions)
        if (model, named) not in self._binnings:
            found = self._tables.binning(model, named) or self._freeze(model, watch, datum, dimensions, now)
            self._binnings[model, named] = found
        return self._binnings[model, named]

    def _freeze(self, model: str, watch: Watch, datum: Datum, dimensions: tuple[str, ...], now: datetime) -> Binning:
        """New cells, from a sample of the reference; what was counted in others is counted anew when asked for."""
        assert datum.scope
        sample = Profile(self._predictions.read(datum.scope, datum.rows, dimensions))
        found = Binning.fit(sample, bucket_of(watch), watch.max_slices)
        self._tables.keep(model, _named(watch, datum, dimensions), found, now)
        self._binnings[model, _named(watch, datum, dimensions)] = found
        return found

    def _read(
        self,
        model: str,
        datum: Datum,
        binning: Binning,
        window: Window,
        known: Sequence[Bucket],
        dimensions: tuple[str, ...],
    ) -> tuple[SketchProfile, SketchProfile]:
        """Both sides; a reference is kept as long as it holds the same stretches, counted in the same attempts."""
        assert datum.scope
        inside = [each.attempt for each in known if window.start <= each.window.start < window.end]
        before = [each.attempt for each in known if not window.start <= each.window.start < window.end]
        spans, key = _spans(datum.scope), (datum.scope, datum.rows, binning.name, frozenset(before))
        kept = self._kept.get(model)
        if kept and kept[0] == key:
            (now,) = self._tables.read(model, binning, [[window]], inside)
            return kept[1], SketchProfile(now)
        if spans:
            counts, now = self._tables.read(model, binning, [spans, [window]], [*before, *inside])
            reference = SketchProfile(counts, spans, partial(self._tables.read_each, model, binning, before))
        else:
            (now,) = self._tables.read(model, binning, [[window]], inside)
            reference = self._training(datum.scope, datum.rows, binning, dimensions)
        self._kept[model] = key, reference
        return reference, SketchProfile(now)

    def _training(self, scope: Scope, rows: int, binning: Binning, dimensions: tuple[str, ...]) -> SketchProfile:
        """Training rows are of no stretch: they are counted here, once."""
        whole = reduce(add, (Counts.of(each, binning) for each in self._predictions.read_all(scope, rows, dimensions)))
        return SketchProfile(whole, sample=Profile(self._predictions.read(scope, rows, dimensions)))

    def _count(self, model: str, binning: Binning, bucket: Bucket, dimensions: tuple[str, ...]) -> Bucket:
        """How many rows there are is asked first: what comes while they are read is seen as having come later."""
        seen, scope = self._tables.seen(model, bucket.window), Scope(model, bucket.window)
        extent = self._predictions.extent(scope)
        rows = extent.rows if extent else 0
        parts = self._predictions.read_all(scope, rows, dimensions) if rows else iter(())
        counts = reduce(add, (Counts.of(each, binning) for each in parts), Counts(binning))
        return replace(bucket, attempt=self._tables.write(model, bucket.window, counts, rows, seen), due=False)


def bucket_of(watch: Watch) -> int:
    """Seconds of the longest stretch, at most a day, that all windows of a watch are made of; 0 where it is no hour.

    >>> bucket_of(Watch(window_hours=168, step_hours=24)), bucket_of(Watch(window_hours=6, step_hours=4))
    (86400, 7200)
    >>> bucket_of(Watch(window_hours=0.5, step_hours=1))
    0
    """
    found = gcd(round(watch.window_hours * HOUR_S), round(watch.step_hours * HOUR_S), DAY_S)
    return found if found % HOUR_S == 0 else 0


def _named(watch: Watch, datum: Datum, dimensions: tuple[str, ...]) -> str:
    """What the cells are frozen on: of a moving reference only how it moves."""
    found = f"{datum.kind} {bucket_of(watch)} s by {', '.join(dimensions)}, {watch.max_slices} values"
    if datum.scope and datum.kind in ("training", "fixed"):
        found += f": {datum.scope.name} {datum.rows} rows {datum.start} to {datum.end}"
    return found


def _spans(scope: Scope) -> Sequence[Window]:
    """None of training rows."""
    return scope.spans or ((scope.window,) if scope.window else ())


def _on_grid(span: Window, bucket_s: int) -> bool:
    return all(moment.microsecond == 0 and int(moment.timestamp()) % bucket_s == 0 for moment in (span.start, span.end))
