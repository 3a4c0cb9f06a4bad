"""From rows to sketches, once a stretch, and from sketches to the two sides of a comparison."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial, reduce
from operator import add
from typing import TypeAlias

from tidegauge.config import Watch
from tidegauge.detectors.predictions import Predictions, Scope
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.references import PASSING, Datum
from tidegauge.detectors.sketches.binning import Binning
from tidegauge.detectors.sketches.counts import Counts
from tidegauge.detectors.sketches.grid import HOUR_S, bucket_of, cover, divided, hours_of, length_of, on_grid, shorter
from tidegauge.detectors.sketches.profile import SketchProfile
from tidegauge.detectors.sketches.tables import Bucket, Tables
from tidegauge.detectors.spans import own_windows
from tidegauge.detectors.spread import MOST_WINDOWS
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

LOG = logging.getLogger(__name__)
Known: TypeAlias = Mapping[Window, Bucket]


class Rollup:
    """Compares windows from counts in frozen cells, where rows are too many to be read at once.

    Any span of whole minutes is made of stretches (``bucket``): days, hours, those of the common grid of a watch's
    windows and steps, and minutes, as few as possible. Each is counted once, all of its rows, so many at a time that
    memory is bounded, or put together from shorter ones; again only if rows came later. What is in memory and what a
    comparison costs then follow from cells, features and slices, and not from the number of rows.

    Args:
        store: The database.
        predictions: Where the rows are.
        max_rows: A window, or a reference that moves with it, of more rows than that is compared from counts.
        most: Stretches of the watch's own grid, or hours where that is finer, that are counted in one round, to catch
            up.
    """

    def __init__(self, store: Store, predictions: Predictions, max_rows: int, most: int) -> None:
        self._tables = Tables(store)
        self._predictions = predictions
        self._max_rows, self._most = max_rows, most
        self._kept: dict[str, tuple[object, SketchProfile]] = {}
        self._known: dict[str, Known] = {}
        self._with_minutes: dict[str, set[Window]] = {}
        self._binnings: dict[tuple[str, str], Binning] = {}

    def wanted(self, watch: Watch, datum: Datum, window: Window, rows: int) -> bool:
        """Whether this comparison is one of counts: a large one, on whole minutes, of whole versions."""
        if watch.rollups == "off" or datum.scope is None or datum.version or datum.scope.holes:
            return False
        if not (bucket_of(watch) and all(map(on_grid, [window, *_spans(datum.scope)]))):
            return False
        largest = max(rows, datum.rows if datum.kind in PASSING else 0)
        return watch.rollups == "always" or largest > self._max_rows

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
        the sums by hour and minute put models beyond the most frequent together, and know no minute before the upgrade
        that brought them.
        """
        assert datum.scope
        binning = self._binning(model, watch, datum, dimensions, now)
        spans = _spans(datum.scope)
        own = own_windows(spans, window, MOST_WINDOWS) if watch.floor_from_reference else []
        wanted = dict.fromkeys(cover([*spans, window, *own], binning.bucket_s))
        if not self._minutes_known(model, wanted):
            LOG.info("%s: the sums by minute do not know all of its rows; they are compared as rows", model)
            return None
        known = self._counted(model, binning, self._tables.state(model, binning, wanted), dimensions)
        if known is None:
            return None
        self._known[model] = known
        reference, current = self._read(model, datum, binning, window, known, dimensions)
        if reference.traffic.rows < datum.rows or current.traffic.rows < rows:
            LOG.info("%s: the sums by hour do not know all of its rows; they are compared as rows", model)
            return None
        if datum.kind in PASSING and reference.counts.outgrown:
            self._freeze(model, watch, datum, dimensions, now)
        return reference, current

    def _minutes_known(self, model: str, stretches: Iterable[Window]) -> bool:
        """Whether all rows of what is shorter than an hour are in the sums by minute; each hour is asked about once."""
        found = self._with_minutes.setdefault(model, set())
        new = hours_of(stretches) - found
        if new and not self._tables.minutes_known(model, new):
            return False
        found |= new
        return True

    def _counted(
        self, model: str, binning: Binning, buckets: Iterable[Bucket], dimensions: tuple[str, ...]
    ) -> Known | None:
        """All of ``buckets``, those that are due counted now, the shortest first; None where that is too much."""
        known = {each.window: each for each in buckets}
        due = sorted((each for each in known.values() if each.due), key=lambda each: each.window.length)
        longest = max(binning.bucket_s, HOUR_S)
        left = self._most * longest
        for at, each in enumerate(due):
            left -= min(length_of(each.window), longest)
            if left < 0:
                LOG.info("%s: %d stretches of traffic are still to be counted", model, len(due) - at)
                return None
            known[each.window] = self._made(model, binning, each, dimensions)
        return known

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
        found = Binning.fit(sample, bucket_of(watch), watch.max_slices, watch.max_pairs)
        self._tables.keep(model, _named(watch, datum, dimensions), found, now)
        self._binnings[model, _named(watch, datum, dimensions)] = found
        return found

    def _read(
        self,
        model: str,
        datum: Datum,
        binning: Binning,
        window: Window,
        known: Known,
        dimensions: tuple[str, ...],
    ) -> tuple[SketchProfile, SketchProfile]:
        """Both sides; a reference is kept as long as it holds the same stretches, counted in the same attempts."""
        assert datum.scope
        spans = _spans(datum.scope)
        before, inside = (_of(known, each, binning) for each in (spans, [window]))
        key = (datum.scope, datum.rows, binning.name, frozenset(each.attempt for each in before))
        kept = self._kept.get(model)
        if kept and kept[0] == key:
            (now,) = self._tables.read(model, binning, [inside])
            return kept[1], SketchProfile(now)
        if spans:
            counts, now = self._tables.read(model, binning, [before, inside])
            reference = SketchProfile(counts, spans, partial(self._read_each, model, binning))
        else:
            (now,) = self._tables.read(model, binning, [inside])
            reference = self._training(datum.scope, datum.rows, binning, dimensions)
        self._kept[model] = key, reference
        return reference, SketchProfile(now)

    def _read_each(
        self, model: str, binning: Binning, windows: Sequence[Window], feature: str, part: Slice
    ) -> list[Counts]:
        """Windows of the reference that was last asked for, one by one."""
        known = _of(self._known[model], windows, binning)
        return self._tables.read_each(model, binning, known, windows, feature, part)

    def _training(self, scope: Scope, rows: int, binning: Binning, dimensions: tuple[str, ...]) -> SketchProfile:
        """Training rows are of no stretch: they are counted here, once."""
        whole = reduce(add, (Counts.of(each, binning) for each in self._predictions.read_all(scope, rows, dimensions)))
        return SketchProfile(whole, sample=Profile(self._predictions.read(scope, rows, dimensions)))

    def _made(self, model: str, binning: Binning, bucket: Bucket, dimensions: tuple[str, ...]) -> Bucket:
        """Put together from shorter stretches, where these hold most of its rows; else counted."""
        length = shorter(length_of(bucket.window), binning.bucket_s)
        parts = self._tables.state(model, binning, divided(bucket.window, length)) if length else []
        ready = sum(each.rows for each in parts if not each.due)
        if sum(each.rows for each in parts) != bucket.rows or 2 * ready < bucket.rows:
            return self._count(model, binning, bucket, dimensions)
        whole = [self._made(model, binning, each, dimensions) if each.due else each for each in parts]
        (counts,) = self._tables.read(model, binning, [whole])
        return self._written(model, bucket, counts, counts.sizes[ALL], bucket.rows)

    def _count(self, model: str, binning: Binning, bucket: Bucket, dimensions: tuple[str, ...]) -> Bucket:
        """How many rows there are is asked first: what comes while they are read is seen as having come later."""
        seen, scope = self._tables.seen(model, bucket.window), Scope(model, bucket.window)
        extent = self._predictions.extent(scope)
        rows = extent.rows if extent else 0
        parts = self._predictions.read_all(scope, rows, dimensions) if rows else iter(())
        counts = reduce(add, (Counts.of(each, binning) for each in parts), Counts(binning))
        return self._written(model, bucket, counts, rows, seen)

    def _written(self, model: str, bucket: Bucket, counts: Counts, rows: int, seen: int) -> Bucket:
        return replace(bucket, attempt=self._tables.write(model, bucket.window, counts, rows, seen), due=False)


def _named(watch: Watch, datum: Datum, dimensions: tuple[str, ...]) -> str:
    """What the cells are frozen on: of a moving reference only how it moves."""
    found = f"{datum.kind} {bucket_of(watch)} s by {', '.join(dimensions)}, {watch.max_slices} values"
    found += f", {watch.max_pairs} pairs" if watch.paired else ""
    if datum.scope and datum.kind in ("training", "fixed"):
        found += f": {datum.scope.name} {datum.rows} rows {datum.start} to {datum.end}"
    return found


def _spans(scope: Scope) -> Sequence[Window]:
    """None of training rows."""
    return scope.spans or ((scope.window,) if scope.window else ())


def _of(known: Known, spans: Sequence[Window], binning: Binning) -> list[Bucket]:
    """The stretches that ``spans`` are made of, those with traffic."""
    return [known[each] for each in cover(spans, binning.bucket_s) if each in known]
