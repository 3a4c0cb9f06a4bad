"""All SQL on the tables of sketches."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from tidegauge.detectors.sketches.binning import Binning
from tidegauge.detectors.sketches.counts import Counts
from tidegauge.model import Slice, Window
from tidegauge.store import Store

LATEST = """SELECT cells FROM sketch_binnings WHERE model = {model:String} AND reference = {reference:String}
ORDER BY created_at DESC, written_at DESC LIMIT 1"""
STALE = timedelta(seconds=60)
ROLLED = """SELECT toDateTime(intDiv(toUnixTimestamp(hour), {bucket_s:UInt32}) * {bucket_s:UInt32}, 'UTC') AS at,
  sum(predictions) AS rows, max(stored_at) AS changed FROM predictions_1h
WHERE model = {model:String} AND dimension = '' AND (HOURS) GROUP BY at"""
COUNTED = """SELECT bucket, attempt, seen, stored_at FROM sketch_buckets
WHERE model = {model:String} AND binning = {binning:String} AND (BUCKETS)"""
SEEN = """SELECT count() FROM predictions WHERE model = {model:String}
AND timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}"""
MERGED = """SELECT s.dimension AS dimension, s.slice AS slice, s.feature AS feature,
  sum(s.rows) AS rows, sum(s.missing) AS missing, sum(s.non_finite) AS non_finite,
  sum(s.numbers) AS numbers, sum(s.texts) AS texts, sum(s.readable) AS readable,
  sum(s.squares) AS squares, min(s.low) AS low, max(s.high) AS high,
  sumForEachIf(s.counts, empty(s.names)) AS counts, sumForEachIf(s.sums, empty(s.names)) AS sums,
  sumMapIf(s.names, s.counts, notEmpty(s.names)) AS m, m.1 AS names, m.2 AS named{at}
FROM sketches AS s
WHERE model = {model:String} AND binning = {binning:String} AND ({where}) AND attempt IN {attempts:Array(String)}"""
KEYS = " GROUP BY dimension, slice, feature, at"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A stretch with rows: which attempt to count it holds, if any; ``due`` where it has to be counted first."""

    window: Window
    attempt: str
    due: bool


class Tables:
    """Reads and writes sketches. A bucket is a stretch of ``bucket_s`` seconds on multiples of it since 1970."""

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

    def state(self, model: str, binning: Binning, spans: Sequence[Window]) -> list[Bucket]:
        """The buckets of traffic in ``spans``; due are those not counted, or of which more rows have come since.

        How many rows there are is known from ``predictions_1h``: no row is touched. Both are put in order here: a
        query that sorts a few lines costs a third more.
        """
        hours, params = _in_any(spans, "hour")
        asked = _key(model, binning) | params | {"bucket_s": binning.bucket_s}
        counted = COUNTED.replace("BUCKETS", _in_any(spans)[0])
        made = sorted(self._store.rows(counted, asked), key=lambda row: (row["stored_at"], row["seen"]))
        last = {row["bucket"]: row for row in made}
        length = timedelta(seconds=binning.bucket_s)
        return [
            Bucket(Window(row["at"], row["at"] + length), last.get(row["at"], {}).get("attempt", ""), _due(row, last))
            for row in sorted(self._store.rows(ROLLED.replace("HOURS", hours), asked), key=lambda row: row["at"])
        ]

    def seen(self, model: str, bucket: Window) -> int:
        """All rows of the model in a bucket, whatever their role, as ``predictions_1h`` counts them."""
        found: int = self._store.value(SEEN, {"model": model, "start": bucket.start, "end": bucket.end})
        return found

    def write(self, model: str, bucket: Window, counts: Counts, rows: int, seen: int) -> str:
        """Store a bucket; returns the name of this attempt. It holds once its line in ``sketch_buckets`` names that.

        So half of one is never read, and one that is counted twice, by two processes or after a crash, holds once.
        """
        attempt = uuid.uuid4().hex
        key = _key(model, counts.binning) | {"bucket": bucket.start, "attempt": attempt}
        table = counts.rows()
        fixed = {name: pa.array([value] * len(table)) for name, value in key.items() if name != "bucket"}
        fixed["bucket"] = pa.array([bucket.start] * len(table), pa.timestamp("s", "UTC"))
        for name, column in fixed.items():
            table = table.append_column(name, column)
        self._store.insert_arrow("sketches", table)
        self._store.insert("sketch_buckets", [key | {"rows": rows, "seen": seen}])
        return attempt

    def read(
        self, model: str, binning: Binning, sides: Sequence[Sequence[Window]], attempts: Sequence[str]
    ) -> list[Counts]:
        """The counts of each side, of the buckets in its spans together; no two sides share one."""
        where, params = _in_any([span for spans in sides for span in spans])
        last, numbered = _in_any(sides[-1], "bucket", "z")
        sql = MERGED.replace("{at}", f", ({last}) AS at").replace("{where}", where) + KEYS
        rows = self._store.rows(sql, _key(model, binning) | params | numbered | {"attempts": list(attempts)})
        return [Counts.from_rows([row for row in rows if row["at"] == at], binning) for at in range(2 - len(sides), 2)]

    def read_each(
        self,
        model: str,
        binning: Binning,
        attempts: Sequence[str],
        windows: Sequence[Window],
        feature: str,
        part: Slice,
    ) -> list[Counts]:
        """The counts of one feature in one part of the traffic, window by window; all of one length, in order."""
        where, params = _in_any(windows)
        starts = {"starts": [int(each.start.timestamp()) for each in windows], "attempts": list(attempts)}
        at = ", arrayFirstIndex(s -> s > toUnixTimestamp(bucket), {starts:Array(Int64)}) AS at"
        which = " AND dimension = {dimension:String} AND slice = {slice:String} AND feature IN ('', {feature:String})"
        sql = MERGED.replace("{at}", at).replace("{where}", where) + which + KEYS
        asked = {"dimension": part.dimension, "slice": part.value, "feature": feature}
        rows = self._store.rows(sql, _key(model, binning) | params | starts | asked)
        numbers = [*range(2, len(windows) + 1), 0]
        return [Counts.from_rows([row for row in rows if row["at"] == at], binning) for at in numbers]


def _due(rolled: dict[str, Any], counted: Mapping[datetime, dict[str, Any]]) -> bool:
    """Rows that retention took away are no reason to count again: only what was stored since is."""
    made = counted.get(rolled["at"])
    return made is None or (made["seen"] != rolled["rows"] and rolled["changed"] + STALE >= made["stored_at"])


def _key(model: str, binning: Binning) -> dict[str, Any]:
    return {"model": model, "binning": binning.name}


def _in_any(spans: Sequence[Window], column: str = "bucket", letter: str = "a") -> tuple[str, dict[str, Any]]:
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
