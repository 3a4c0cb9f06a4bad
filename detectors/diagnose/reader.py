"""The one reader of a diagnosis: all of its SQL. What it returns is a ``Case``, and the checks see nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa

from tidegauge.detectors.diagnose.case import Notes
from tidegauge.detectors.diagnose.rows import Floats, Hashes, Rows, Truth, no_truth
from tidegauge.detectors.traffic import Category, encoded, from_arrow
from tidegauge.errors import TidegaugeError
from tidegauge.store import Store

FIXED = ("version", "service", "role")
MOST_DIMENSIONS = 8
LOOK_BACK = timedelta(days=400)
KEYS_BEFORE = timedelta(days=14)
"""Labels of the first days belong to predictions of days before: their ids are read as well."""

SERVED = "model = {model:String} AND timestamp >= {start:DateTime64(6)} AND timestamp < {end:DateTime64(6)}"
HASH = "if(prediction_id = '', 0, cityHash64(prediction_id))"
SAMPLED = "cityHash64(prediction_id, if(prediction_id = '', toString(timestamp), '')) % {every:UInt32} = 0"
EXTENT = """SELECT count() AS n, min(timestamp) AS first, max(timestamp) AS last FROM predictions
WHERE model = {model:String} AND role != 'training'
  AND timestamp >= {start:DateTime64(6)} AND timestamp < {end:DateTime64(6)}"""
DIMENSIONS = f"""SELECT arrayJoin(mapKeys(slices)) AS name, count() AS n FROM predictions
WHERE {SERVED} AND role != 'training' GROUP BY name ORDER BY n DESC, name LIMIT {MOST_DIMENSIONS}"""  # noqa: S608
LABELS = """SELECT cityHash64(prediction_id) AS id, toUnixTimestamp64Micro(min(timestamp)) / 1e6 AS known,
  argMax(value, (timestamp, stored_at, value)) AS label, uniqExact(value) > 1 AS contradicted
FROM labels WHERE model = {model:String} AND timestamp >= {start:DateTime64(6)} AND timestamp <= {end:DateTime64(6)}
  AND cityHash64(prediction_id, '') % {every:UInt32} = 0
GROUP BY prediction_id"""
IDS = f"""SELECT DISTINCT cityHash64(prediction_id) AS id FROM predictions
WHERE {SERVED} AND role != 'training' AND prediction_id != ''"""  # noqa: S608
NOTES = f"""SELECT time_note AS note, toUnixTimestamp64Micro(timestamp) / 1e6 >= {{since:Float64}} AS after,
  count() AS n FROM predictions WHERE {SERVED} AND role != 'training' GROUP BY note, after"""  # noqa: S608
VERSIONS = f"""SELECT key, value, countIf(timestamp < {{since:DateTime64(6)}}) AS before,
  countIf(timestamp >= {{since:DateTime64(6)}}) AS after
FROM (SELECT timestamp, arrayJoin(arrayZip(mapKeys(versions), mapValues(versions))) AS pair, pair.1 AS key,
  pair.2 AS value FROM predictions WHERE {SERVED} AND role != 'training')
GROUP BY key, value HAVING before > 0 OR after > 0 ORDER BY key, value LIMIT 500"""  # noqa: S608
DEPLOYED = """SELECT timestamp, version, role, note FROM deployments
WHERE subject = {model:String} AND timestamp >= {start:DateTime64(6)} AND timestamp < {end:DateTime64(6)}
ORDER BY timestamp"""
OUTCOMES = f"""SELECT name, toInt64(floor((toUnixTimestamp64Milli(timestamp) - {{zero:Int64}}) / 86400000)) AS day,
  count() AS n, sum(value) AS total FROM outcomes
WHERE timestamp >= {{start:DateTime64(6)}} AND timestamp < {{end:DateTime64(6)}}
  AND prediction_id IN (SELECT prediction_id FROM predictions WHERE {SERVED} AND prediction_id != '')
GROUP BY name, day"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Asked:
    """What to look at: ``history`` before ``since``, and what came from then to ``until``; at most ``max_rows``."""

    model: str
    until: datetime
    since: datetime | None = None
    history: timedelta = timedelta(days=42)
    dimensions: tuple[str, ...] = ()
    max_rows: int = 150_000


class Reader:
    """Reads what a diagnosis needs of one model."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def newest(self, model: str, until: datetime) -> datetime | None:
        """The model's last prediction before ``until`` of those of the last 400 days, or None."""
        found = self._store.rows(EXTENT, {"model": model, "start": until - LOOK_BACK, "end": until})[0]
        last: datetime | None = found["last"] if found["n"] else None
        return last

    def read(self, asked: Asked) -> tuple[Rows, Truth, Hashes]:
        """Predictions with their labels from ``history`` before ``since`` (or ``until``) on; labels; ids of before."""
        end = asked.until
        start = (asked.since or asked.until) - asked.history
        params: dict[str, Any] = {"model": asked.model, "start": start, "end": end}
        extent = self._store.rows(EXTENT, params)[0]
        if not extent["n"]:
            raise TidegaugeError(
                f"there are no predictions of {asked.model!r} from {start:%Y-%m-%d} to {end:%Y-%m-%d %H:%M}"
            )
        every = ceil(extent["n"] / asked.max_rows)
        table = self._predictions(params | {"every": every}, self._dimensions(asked, params))
        labels = self._labels(params | {"every": every})
        ids = self._store.arrow(IDS, params | {"start": start - KEYS_BEFORE, "end": start})["id"]
        return joined(table[0], table[1], labels, every), labels, np.asarray(ids.to_numpy(), dtype=np.uint64)

    def notes(self, asked: Asked, since: datetime) -> Notes:
        """What is counted rather than read: versions by key, doubtful times, deployments, outcomes by day."""
        params: dict[str, Any] = {"model": asked.model, "start": since - asked.history, "end": asked.until}
        zero = round(since.timestamp() * 1000)
        return Notes(
            versions=tuple(
                (r["key"], r["value"], r["before"], r["after"])
                for r in self._store.rows(VERSIONS, params | {"since": since})
            ),
            times={
                (r["note"], bool(r["after"])): r["n"]
                for r in self._store.rows(NOTES, params | {"since": since.timestamp()})
            },
            deployments=tuple(
                (r["timestamp"], r["version"], r["role"], r["note"]) for r in self._store.rows(DEPLOYED, params)
            ),
            outcomes=tuple(
                (r["name"], r["day"], r["n"], r["total"]) for r in self._store.rows(OUTCOMES, params | {"zero": zero})
            ),
        )

    def training_copies(self, asked: Asked, start: datetime) -> Rows | None:
        """Rows of role ``training`` from ``start`` on: features as training has them, of predictions served."""
        params: dict[str, Any] = {"model": asked.model, "start": start, "end": asked.until, "every": 1}
        table, _ = self._predictions(params, (), "role = 'training'")
        return joined(table, (), no_truth(), 1) if len(table) else None

    def _dimensions(self, asked: Asked, params: dict[str, Any]) -> tuple[str, ...]:
        found = [row["name"] for row in self._store.rows(DIMENSIONS, params)]
        return tuple(dict.fromkeys((*asked.dimensions, *found, *FIXED)))

    def _predictions(
        self, params: dict[str, Any], dimensions: Sequence[str], role: str = "role != 'training'"
    ) -> tuple[pa.Table, tuple[str, ...]]:
        """The rows in the columns that ``traffic.from_arrow`` reads, and the dimensions d0, d1 ..."""
        names = [
            f"toString({name}) AS d{at}" if name in FIXED else f"slices[{{n{at}:String}}] AS d{at}"
            for at, name in enumerate(dimensions)
        ]
        bound = {f"n{at}": name for at, name in enumerate(dimensions)}
        columns = ", ".join(
            [
                "mapKeys(features) AS nk, mapValues(features) AS nv",
                "mapKeys(categories) AS ck, mapValues(categories) AS cv",
                f"value AS v, score AS s, toUnixTimestamp64Second(timestamp) AS at, {HASH} AS id",
                *names,
            ]
        )
        sql = f"SELECT {columns} FROM predictions WHERE {SERVED} AND {role} AND {SAMPLED} ORDER BY timestamp"  # noqa: S608
        return self._store.arrow(sql, params | bound), tuple(dimensions)

    def _labels(self, params: dict[str, Any]) -> Truth:
        table = self._store.arrow(LABELS, params)
        ids = np.asarray(table["id"].to_numpy(), dtype=np.uint64)
        known = np.asarray(table["known"].to_numpy(), dtype=np.float64)
        contradicted = np.asarray(table["contradicted"].to_numpy(), dtype=np.bool_)
        return Truth(ids, encoded(table["label"]), known, contradicted)


def joined(table: pa.Table, dimensions: Sequence[str], labels: Truth, every: int) -> Rows:
    """Predictions with the label of the same id, if there is one."""
    traffic = from_arrow(table, dimensions, every)
    ids = np.asarray(table["id"].to_numpy(), dtype=np.uint64)
    seconds = np.asarray(table["at"].to_numpy(), dtype=np.float64)
    order = np.argsort(labels.ids)
    place = np.minimum(np.searchsorted(labels.ids[order], ids), max(0, labels.rows - 1))
    at = order[place] if labels.rows else np.zeros(len(ids), dtype=np.int64)
    hit = (labels.ids[at] == ids) & (ids != 0) if labels.rows else np.zeros(len(ids), dtype=np.bool_)
    codes = (
        np.where(hit, labels.values.codes[at], -1).astype(np.int32) if labels.rows else np.full(len(ids), -1, np.int32)
    )
    lag: Floats = np.where(hit, labels.known[at] - seconds, np.nan) if labels.rows else np.full(len(ids), np.nan)
    return Rows(traffic, ids, seconds, Category(codes, labels.values.names), lag, every)
