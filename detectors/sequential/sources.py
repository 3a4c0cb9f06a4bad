"""Where the hours of a family come from: outputs and labels as sums, features from the table that counts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from tidegauge.config import Detectors, Watch
from tidegauge.detectors.sequential.family import Family
from tidegauge.detectors.sequential.feature_hours import FeatureHours
from tidegauge.detectors.sequential.features import hours_of_features, measures_of
from tidegauge.detectors.sequential.rollups import (
    ERRORS,
    HOUR,
    MEASURES,
    REGRESSION,
    Hours,
    Measure,
    Rollups,
    Rows,
    Stream,
    hours_of,
    parts_of,
    streams_of,
)
from tidegauge.model import Slice, Window
from tidegauge.store import Store

FAMILIES = ("outputs", "labels", "features")
CLASSES = 20
"""Labels with more different numbers than that are measurements."""
CHUNK = 500_000
"""Values, of streams times hours, that are read at a time."""


class Sources:
    """Reads the hours of every family of one store."""

    def __init__(self, store: Store, settings: Detectors) -> None:
        self._settings = settings
        self._features = FeatureHours(store, settings.max_rows)
        self.rollups = Rollups(store)

    def ready(self, model: str, name: str, watch: Watch, spans: Sequence[Window], now: datetime) -> bool:
        """Whether all hours of ``spans`` can be read; those of features are counted first, a bounded number a call."""
        if name != "features":
            return True
        parts = self._parts(model, watch, spans[0])
        return all(self._features.count(model, parts, each, now) for each in spans)

    def learned(self, model: str, name: str, kind: str, span: Window, watch: Watch, now: datetime) -> Family | None:
        """The family that the hours of ``span`` make; None where there is too little."""
        pages = self._settings.false_pages_per_month / len(FAMILIES)
        measures, hours = self.hours(model, name, span, watch, now)
        return Family.fit(kind, span, hours, measures, pages) if pages else None

    def hours(
        self, model: str, name: str, span: Window, watch: Watch, now: datetime
    ) -> tuple[Sequence[Measure], Iterator[Hours]]:
        """All that can be looked at in ``span``, some streams at a time."""
        if name != "features":
            rows, measures = self._read(model, name, watch, span, now)
            streams = streams_of(measures, parts_of(rows, watch.max_slices))
            return measures, iter([hours_of(rows, span, streams)] if rows else [])
        wanted = measures_of(self._features.known(model, span))
        return wanted, self._in_chunks(model, span, streams_of(wanted, self._parts(model, watch, span)))

    def new(self, model: str, name: str, family: Family, watch: Watch, span: Window, now: datetime) -> Hours | None:
        """The hours of ``span`` that are ready, from its first on; None where there is none."""
        if name == "features":
            return Hours.joined(list(self._in_chunks(model, span, family.streams)))
        rows = self._read(model, name, watch, span, now)[0]
        ready = span if name == "outputs" else self._labelled(model, rows, span, now)
        return hours_of(rows, ready, family.streams) if ready else None

    def _in_chunks(self, model: str, span: Window, streams: Sequence[Stream]) -> Iterator[Hours]:
        """Whole features at a time, in the order of ``streams``, which has those of a feature side by side."""
        most, chunk = max(1, CHUNK // max(1, int(span.length / HOUR))), list[Stream]()
        features = [name.partition("\x1f")[0] for name, _ in streams]
        for at, stream in enumerate(streams):
            if len(chunk) >= most and features[at] != features[at - 1]:
                yield self._of_features(model, span, chunk)
                chunk = []
            chunk.append(stream)
        if chunk:
            yield self._of_features(model, span, chunk)

    def _of_features(self, model: str, span: Window, streams: Sequence[Stream]) -> Hours:
        names = sorted({name.partition("\x1f")[0] for name, _ in streams})
        parts = list(dict.fromkeys(part for _, part in streams))
        return hours_of_features(self._features.read(model, parts, names, span), span, streams)

    def _parts(self, model: str, watch: Watch, span: Window) -> list[Slice]:
        return parts_of(self.rollups.outputs(model, watch.slices, span), watch.max_slices)

    def _read(
        self, model: str, name: str, watch: Watch, span: Window, now: datetime
    ) -> tuple[Rows, tuple[Measure, ...]]:
        if name == "outputs":
            return self.rollups.outputs(model, watch.slices, span), MEASURES
        rows = self.rollups.labels(model, watch.slices, span, now)
        measured = max((row["kinds"] for row in rows), default=0) > CLASSES
        return rows, REGRESSION if measured else ERRORS

    def _labelled(self, model: str, rows: Rows, span: Window, now: datetime) -> Window | None:
        """The hours at the start of ``span`` whose labels are in, or are waited for no longer; None: not one."""
        made = {row["at"]: row["n"] for row in self.rollups.outputs(model, (), span)}
        known = {row["at"]: row["n"] for row in rows if not row["dimension"]}
        end = span.start
        while end < span.end and self._in(int(end.timestamp()), made, known, now):
            end += HOUR
        return Window(span.start, end) if end > span.start else None

    def _in(self, at: int, made: dict[int, int], known: dict[int, int], now: datetime) -> bool:
        """As for the comparison of labels in windows: most are there, or nobody waits any longer."""
        waited = now.timestamp() - at - 3600 >= self._settings.label_wait_days * 86_400
        return waited or known.get(at, 0) >= self._settings.label_share * made.get(at, 0)
