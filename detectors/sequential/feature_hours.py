"""The table ``feature_hours``: every feature of every hour, as sums, counted once from the rows and read ever after.

Rows with the same features, which is nearly all of them, are added up as arrays, so a row costs one hash and one
addition for each feature, in each slice that it is of; nothing is exploded before it has been added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from typing import Any

import pyarrow as pa

from tidegauge.model import Slice, Window
from tidegauge.store import Store

HOUR_S = 3600
BATCHES = 10
"""Statements of one round, each about ``max_rows`` rows, to catch up."""
NAMES = 20
ROLLED = """SELECT toUnixTimestamp(hour) AS at, sum(predictions) AS rows FROM predictions_1h
WHERE model = {model:String} AND dimension = ''
  AND hour >= toDateTime({start:UInt32}, 'UTC') AND hour < toDateTime({end:UInt32}, 'UTC') GROUP BY at ORDER BY at"""
COUNTED = """SELECT toUnixTimestamp(hour) AS at, argMax(seen, written_at) AS counted FROM feature_hours
WHERE model = {model:String} AND feature = '' AND dimension = '' AND slice = '' AND kind = 'seen'
  AND hour >= toDateTime({start:UInt32}, 'UTC') AND hour < toDateTime({end:UInt32}, 'UTC') GROUP BY at"""
PARTS = """arrayConcat([('', '')], arrayFilter(part -> has({slices:Array(String)}, concat(part.1, '\\x1f', part.2)),
    arrayMap(name -> (name, slices[name]), {dimensions:Array(String)})))"""
ROWS = f"""SELECT toStartOfHour(timestamp) AS hour, arrayJoin({PARTS}) AS part, features, categories FROM predictions
WHERE model = {{model:String}} AND timestamp >= toDateTime64({{start:Int64}}, 9, 'UTC')
  AND timestamp < toDateTime64({{end:Int64}}, 9, 'UTC') AND has({{hours:Array(UInt32)}}, toUnixTimestamp(hour))
  AND ({{every:UInt32}} = 1 OR cityHash64(prediction_id, trace_id, timestamp) % {{every:UInt32}} = 0)"""  # noqa: S608
INTO = """INSERT INTO feature_hours
  (model, hour, dimension, slice, feature, kind, rows, mean, variance, names, counts, seen, written_at)
SELECT {model:String}, hour, part.1, part.2, """
COUNTS = f"""SELECT hour, part, mapKeys(features) AS keys, countForEach(x) AS counted,
  arrayMap(y -> ifNull(y, 0), avgForEach(x)) AS means, arrayMap(y -> ifNull(y, 0), varPopStableForEach(x)) AS spreads
FROM (
  SELECT hour, part, features, arrayMap(y -> if(isFinite(y), y, NULL), mapValues(features)) AS x FROM ({ROWS}))
WHERE notEmpty(keys) GROUP BY hour, part, keys"""  # noqa: S608
NUMBERS = f"""{INTO} feature, 'number', arraySum(ks) AS n, arraySum((k, m) -> k * m, ks, ms) / n AS middle,
  arraySum((k, m, v) -> k * (v + (m - middle) * (m - middle)), ks, ms, vs) / greatest(n - 1, 1), [], [], 0,
  {{now:DateTime64(6)}}
FROM (
  SELECT hour, part, each.1 AS feature, groupArray(each.2) AS ks, groupArray(each.3) AS ms, groupArray(each.4) AS vs
  FROM (SELECT hour, part, arrayJoin(arrayFilter(one -> one.2 > 0, arrayZip(keys, counted, means, spreads))) AS each
    FROM ({COUNTS}))
  GROUP BY hour, part, feature)"""  # noqa: S608
TEXTS = f"""{INTO} feature, 'text', sum(n), 0, 0,
  arrayMap(one -> one.2, arraySlice(arrayReverseSort(groupArray((n, name))), 1, {NAMES}) AS most),
  arrayMap(one -> one.1, most), 0, {{now:DateTime64(6)}}
FROM (
  SELECT hour, part, each.1 AS feature, each.2 AS name, count() AS n
  FROM (SELECT hour, part, arrayJoin(arrayZip(mapKeys(categories), mapValues(categories))) AS each FROM ({ROWS}))
  WHERE name != '' GROUP BY hour, part, feature, name)
GROUP BY hour, part, feature"""  # noqa: S608
SIZES = f"""{INTO} '', '', count(), 0, 0, [], [], 0, {{now:DateTime64(6)}}
FROM ({ROWS}) GROUP BY hour, part"""
KNOWN = """SELECT feature, kind, sum(rows) AS n, sumMap(names, counts) AS named FROM feature_hours FINAL
WHERE model = {model:String} AND dimension = '' AND slice = '' AND feature != ''
  AND hour >= toDateTime({start:UInt32}, 'UTC') AND hour < toDateTime({end:UInt32}, 'UTC')
GROUP BY feature, kind ORDER BY feature, kind"""
READ = """SELECT toUnixTimestamp(hour) AS at, dimension, slice, feature, kind, rows, mean, variance, names, counts
FROM feature_hours FINAL
WHERE model = {model:String} AND feature IN {features:Array(String)} AND kind != 'seen'
  AND (dimension = '' OR has({slices:Array(String)}, concat(dimension, '\\x1f', slice)))
  AND hour >= toDateTime({start:UInt32}, 'UTC') AND hour < toDateTime({end:UInt32}, 'UTC')"""


@dataclass(frozen=True, slots=True)
class Known:
    """A feature that was seen: its ``kind``, rows with a value in all traffic, and texts by how often they came."""

    feature: str
    kind: str
    rows: int
    names: tuple[str, ...]


class FeatureHours:
    """Counts and reads hours of one store. ``max_rows`` rows are counted at a time; a larger hour by a sample of it."""

    def __init__(self, store: Store, max_rows: int) -> None:
        self._store = store
        self._max_rows = max_rows

    def count(self, model: str, parts: Sequence[Slice], span: Window, now: datetime) -> bool:
        """Count the hours of ``span`` that are new or have grown. False: there are more of them than one round may."""
        params = {"model": model} | _ends(span)
        known = {row["at"]: row["counted"] for row in self._store.rows(COUNTED, params)}
        due = [(row["at"], row["rows"]) for row in self._store.rows(ROLLED, params)]
        batches = list(self._batches([(at, rows) for at, rows in due if known.get(at, 0) < rows]))
        for hours in batches[:BATCHES]:
            self._count(model, parts, hours, now)
        return len(batches) <= BATCHES

    def known(self, model: str, span: Window) -> list[Known]:
        """The features of ``span``, by name."""
        return [
            Known(row["feature"], row["kind"], row["n"], _ranked(row["named"]))
            for row in self._store.rows(KNOWN, {"model": model} | _ends(span))
        ]

    def read(self, model: str, parts: Sequence[Slice], features: Sequence[str], span: Window) -> pa.Table:
        """The hours of some features, and of the size of each part (feature empty), in any order."""
        params = {"model": model, "features": ["", *features], "slices": _named(parts)} | _ends(span)
        return self._store.arrow(READ, params)

    def _batches(self, due: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        """Hours that are counted by one statement."""
        batch: list[tuple[int, int]] = []
        for each in due:
            if batch and sum(rows for _, rows in (*batch, each)) > self._max_rows:
                yield batch
                batch = []
            batch.append(each)
        if batch:
            yield batch

    def _count(self, model: str, parts: Sequence[Slice], hours: Sequence[tuple[int, int]], now: datetime) -> None:
        """What was seen is written last: an hour without that is counted again, and one whose rows are gone is not."""
        params: dict[str, Any] = {
            "model": model,
            "slices": _named(parts),
            "dimensions": sorted({part.dimension for part in parts if part.dimension}),
            "start": hours[0][0],
            "end": hours[-1][0] + HOUR_S,
            "hours": [at for at, _ in hours],
            "every": ceil(max(rows for _, rows in hours) / self._max_rows),
            "now": now.astimezone(UTC),
        }
        for statement in (NUMBERS, TEXTS, SIZES):
            self._store.execute(statement, params)
        seen = {"model": model, "dimension": "", "slice": "", "feature": "", "kind": "seen", "written_at": now}
        marks = [seen | {"hour": datetime.fromtimestamp(at, UTC), "seen": rows} for at, rows in hours]
        self._store.insert("feature_hours", marks)


def _named(parts: Sequence[Slice]) -> list[str]:
    return [f"{part.dimension}\x1f{part.value}" for part in parts if part.dimension]


def _ends(span: Window) -> dict[str, int]:
    return {"start": int(span.start.timestamp()), "end": int(span.end.timestamp())}


def _ranked(named: Any) -> tuple[str, ...]:
    names, counts = named
    return tuple(name for _, name in sorted(zip((-each for each in counts), names, strict=True)))
