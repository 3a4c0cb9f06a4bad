"""All SQL on the tables of sketches."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, TypeAlias

import pyarrow as pa

from tidegauge.detectors.sketches.binning import Binning
from tidegauge.detectors.sketches.counts import Counts
from tidegauge.detectors.sketches.grid import HOUR_S, length_of
from tidegauge.detectors.spans import joined, stretch
from tidegauge.model import Slice, Window
from tidegauge.store import Store

LATEST = """SELECT cells FROM sketch_binnings WHERE model = {model:String} AND reference = {reference:String}
ORDER BY created_at DESC, written_at DESC LIMIT 1"""
STALE = timedelta(seconds=60)
ROLLED = """SELECT intDiv(toUnixTimestamp({time}), {length}) * {length} AS at, {length} AS length_s,
  sum(predictions) AS rows, max(s.stored_at) AS changed FROM {table} AS s
WHERE model = {model:String}{all} AND ({where}) GROUP BY at"""
SUMS = {True: ("predictions_1h", "hour", " AND dimension = ''"), False: ("predictions_1m", "minute", "")}
"""By whether a stretch is of whole hours: where its rows are summed up, of when, and which of the sums are of all."""
COUNTED = """SELECT toUnixTimestamp(bucket) AS at, binning, attempt, seen, stored_at FROM sketch_buckets
WHERE model = {model:String} AND ({where})"""
UNKNOWN = """SELECT count() AS n FROM (
  SELECT s.hour AS hour, sum(predictions) AS rows FROM predictions_1h AS s
  WHERE model = {model:String} AND dimension = '' AND ({hours}) GROUP BY hour) AS h
LEFT JOIN (SELECT toStartOfHour(minute) AS hour, sum(predictions) AS rows FROM predictions_1m
  WHERE model = {model:String} AND ({minutes}) GROUP BY hour) AS m ON h.hour = m.hour WHERE h.rows > m.rows"""
SEEN = """SELECT count() FROM predictions WHERE model = {model:String}
AND timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}"""
MERGED = """SELECT s.dimension AS dimension, s.slice AS slice, s.feature AS feature,
  sum(s.rows) AS rows, sum(s.missing) AS missing, sum(s.non_finite) AS non_finite,
  sum(s.numbers) AS numbers, sum(s.texts) AS texts, sum(s.readable) AS readable,
  sum(s.squares) AS squares, min(s.low) AS low, max(s.high) AS high,
  sumForEachIf(s.counts, empty(s.names)) AS counts, sumForEachIf(s.sums, empty(s.names)) AS sums,
  sumMapIf(s.names, s.counts, notEmpty(s.names)) AS m, m.1 AS names, m.2 AS named{at}
FROM sketches AS s
WHERE model = {model:String} AND ({where}) AND attempt IN {attempts:Array(String)}"""
KEYS = " GROUP BY dimension, slice, feature, at"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A stretch with ``rows``: which attempt to count it holds, if any; ``due`` where it has to be counted first."""

    window: Window
    rows: int
    attempt: str
    due: bool


class Tables:
    """Reads and writes sketches. A bucket is a stretch of one of the lengths of a watch, on multiples of it since 1970.

    Those of other lengths than the watch's own are of the same cells under names of their own.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def binning(self, model: str, reference: str) -> Binning | None:
        """The cells that were last frozen on this reference, or None."""
        found = self._store.value(LATEST, {"model": model, "reference": reference})
        return Binning.from_json(found) if found else None

    def keep(self, model: str, reference: str, binning: Binning, now: datetime) -> None:
        """Write the cells down, as those that hold from now on."""
        row = {"created_at": now, "model": model, "reference": reference, "binning": binning.name}
        self._store.insert("sketch_binnings", [row | {"cells": binning.json}])

    def state(self, model: str, binning: Binning, stretches: Iterable[Window]) -> list[Bucket]:
        """Those of ``stretches`` that have traffic; due are those not counted, or of which more rows have come since.

        How many rows there are is known from the sums by hour and minute: no row is touched. Both are put in order
        here: a query that sorts a few lines costs a third more.
        """
        runs = _runs(stretches)
        if not runs:
            return []
        where, params = _counted_in(runs, binning)
        asked = params | {"model": model} | {f"l{at}": length for at, length in enumerate(runs)}
        made = sorted(
            self._store.rows(COUNTED.replace("{where}", where), asked), key=lambda row: (row["stored_at"], row["seen"])
        )
        last = {(row["binning"], row["at"]): row for row in made}
        rolled = " UNION ALL ".join(_rolled(at, length, spans) for at, (length, spans) in enumerate(runs.items()))
        rows = sorted(self._store.rows(rolled, asked), key=lambda row: row["at"])
        return [_bucket(row, last.get((binning.name_of(row["length_s"]), row["at"]))) for row in rows]

    def minutes_known(self, model: str, hours: Iterable[Window]) -> bool:
        """Whether the sums by minute know all rows of ``hours``: they began with the upgrade that brought them."""
        spans = joined(hours)
        asked = {"{hours}": _in_any(spans, "s.hour")[0], "{minutes}": _in_any(spans, "minute")[0]}
        sql = reduce(lambda text, part: text.replace(*part), asked.items(), UNKNOWN)
        return not self._store.value(sql, _in_any(spans, "minute")[1] | {"model": model})

    def seen(self, model: str, bucket: Window) -> int:
        """All rows of the model in a bucket, whatever their role, as the sums count them."""
        found: int = self._store.value(SEEN, {"model": model, "start": bucket.start, "end": bucket.end})
        return found

    def write(self, model: str, bucket: Window, counts: Counts, rows: int, seen: int) -> str:
        """Store a bucket; returns the name of this attempt. It holds once its line in ``sketch_buckets`` names that.

        So half of one is never read, and one that is counted twice, by two processes or after a crash, holds once.
        """
        attempt = uuid.uuid4().hex
        name = counts.binning.name_of(length_of(bucket))
        key = {"model": model, "binning": name, "bucket": bucket.start, "attempt": attempt}
        table = counts.rows()
        fixed = {name: pa.array([value] * len(table)) for name, value in key.items() if name != "bucket"}
        fixed["bucket"] = pa.array([bucket.start] * len(table), pa.timestamp("s", "UTC"))
        for name, column in fixed.items():
            table = table.append_column(name, column)
        self._store.insert_arrow("sketches", table)
        self._store.insert("sketch_buckets", [key | {"rows": rows, "seen": seen}])
        return attempt

    def read(self, model: str, binning: Binning, sides: Sequence[Sequence[Bucket]]) -> list[Counts]:
        """The counts of each side, of its buckets together; no two sides share one."""
        known = [each for side in sides for each in side]
        where, params = _counted_in(_runs(each.window for each in known), binning)
        last, numbered = _in_any(joined(each.window for each in sides[-1]), "bucket", "z")
        sql = MERGED.replace("{at}", f", ({last}) AS at").replace("{where}", where) + KEYS
        attempts = {"attempts": [each.attempt for each in known]}
        rows = self._store.rows(sql, params | numbered | attempts | {"model": model})
        return [Counts.from_rows([row for row in rows if row["at"] == at], binning) for at in range(2 - len(sides), 2)]

    def read_each(
        self,
        model: str,
        binning: Binning,
        known: Sequence[Bucket],
        windows: Sequence[Window],
        feature: str,
        part: Slice,
    ) -> list[Counts]:
        """The counts of one feature in one part of the traffic, window by window; all of one length, in order.

        Args:
            model: Whose.
            binning: The cells.
            known: The buckets that the windows are made of.
            windows: All of one length, in order.
            feature: Which.
            part: All traffic, or a slice.
        """
        where, params = _counted_in(_runs(each.window for each in known), binning)
        starts = {"starts": [int(each.start.timestamp()) for each in windows]}
        at = ", arrayFirstIndex(s -> s > toUnixTimestamp(bucket), {starts:Array(Int64)}) AS at"
        which = " AND dimension = {dimension:String} AND slice = {slice:String} AND feature IN ('', {feature:String})"
        sql = MERGED.replace("{at}", at).replace("{where}", where) + which + KEYS
        asked = {"dimension": part.dimension, "slice": part.value, "feature": feature, "model": model}
        rows = self._store.rows(sql, params | starts | asked | {"attempts": [each.attempt for each in known]})
        numbers = [*range(2, len(windows) + 1), 0]
        return [Counts.from_rows([row for row in rows if row["at"] == at], binning) for at in numbers]


Runs: TypeAlias = Mapping[int, Sequence[Window]]
"""By the length of stretches in seconds: from when to when they follow each other."""


def _runs(stretches: Iterable[Window]) -> Runs:
    found: dict[int, list[Window]] = {}
    for each in stretches:
        found.setdefault(length_of(each), []).append(each)
    return {length: joined(windows) for length, windows in found.items()}


def _rolled(at: int, length: int, spans: Sequence[Window]) -> str:
    """The query for the sums of stretches of one length."""
    table, time, whole = SUMS[length % HOUR_S == 0]
    where, _ = _in_any(spans, time, f"r{at}_")
    parts = {"{time}": time, "{length}": f"{{l{at}:UInt32}}", "{table}": table, "{all}": whole, "{where}": where}
    return reduce(lambda sql, part: sql.replace(*part), parts.items(), ROLLED)


def _counted_in(runs: Runs, binning: Binning) -> tuple[str, dict[str, Any]]:
    """The condition on buckets of these runs, and what it binds."""
    parts: list[str] = []
    params: dict[str, Any] = {}
    for at, (length, spans) in enumerate(runs.items()):
        where, ends = _in_any(spans, "bucket", f"r{at}_")
        parts.append(f"(binning = {{b{at}:String}} AND ({where}))")
        params |= ends | {f"b{at}": binning.name_of(length)}
    return " OR ".join(parts) or "0", params


def _bucket(rolled: Mapping[str, Any], made: Mapping[str, Any] | None) -> Bucket:
    """Rows that retention took away are no reason to count again: only what was stored since is."""
    due = made is None or (made["seen"] != rolled["rows"] and rolled["changed"] + STALE >= made["stored_at"])
    return Bucket(stretch(rolled["at"], rolled["length_s"]), rolled["rows"], made["attempt"] if made else "", due)


def _in_any(spans: Sequence[Window], column: str, letter: str = "a") -> tuple[str, dict[str, Any]]:
    parts: list[str] = []
    params: dict[str, Any] = {}
    for at, span in enumerate(spans):
        ends = f"{letter}{at}", f"{letter}{at}_end"
        parts.append(f"({column} >= {{{ends[0]}:DateTime('UTC')}} AND {column} < {{{ends[1]}:DateTime('UTC')}})")
        params |= {ends[0]: span.start, ends[1]: span.end}
    return " OR ".join(parts) or "0", _whole_s(params)


def _whole_s(params: dict[str, Any]) -> dict[str, Any]:
    """A DateTime takes no fraction of a second."""
    return {
        name: value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime) else value
        for name, value in params.items()
    }
