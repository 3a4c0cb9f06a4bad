"""What the detectors read from the tables ``predictions`` and ``labels``: all of their SQL on models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from tidegauge.detectors.spans import without
from tidegauge.detectors.traffic import Category, Traffic, encoded, from_arrow, seconds_of, slices_of
from tidegauge.model import Window, sides
from tidegauge.store import Store

COLUMNS = {"version": "version", "role": "role", "service": "service"}
HISTORY = timedelta(days=400)
HOUR_S, DAY_S = 3600, 86_400
RECENT = timedelta(days=15)
"""Of a window that began since then all labels are read; of an older one only those of its own predictions."""
MODELS = "SELECT DISTINCT model FROM predictions WHERE timestamp >= {since:DateTime64(6, 'UTC')} ORDER BY model"
FIRST = """SELECT count() AS n, min(first) AS first FROM (
  SELECT min(timestamp) AS first, count() AS rows, median(rows) OVER () AS usual FROM predictions
  WHERE model = {model:String} AND role != 'training'
  AND timestamp >= {since:DateTime64(6, 'UTC')} AND timestamp < {now:DateTime64(6, 'UTC')} GROUP BY toDate(timestamp))
WHERE rows * 100 >= usual"""
WITHIN = "timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND role != 'training'"
TRAINING = "role = 'training'"
LOADED_AS = "versions['reference']"
"""The name that training rows were brought in under, or nothing."""
LOADED = f"""SELECT {LOADED_AS} AS name FROM predictions WHERE model = {{model:String}} AND {TRAINING} AND name != ''
GROUP BY name ORDER BY min(stored_at) DESC, name DESC LIMIT 1"""  # noqa: S608
VERSIONS = f"""SELECT version, count() AS n, min(timestamp) AS first, max(timestamp) AS last,
  countIf(timestamp >= {{window:DateTime64(6, 'UTC')}}) AS here FROM predictions
WHERE model = {{model:String}} AND {WITHIN} AND version != '' GROUP BY version ORDER BY first, version"""  # noqa: S608
EMBEDDED_BY = "SELECT DISTINCT versions['embedding_model'] AS name FROM predictions WHERE "
SECONDS = "toUnixTimestamp64Second(timestamp)"
SAMPLED = " AND cityHash64(prediction_id, trace_id, timestamp) % {every:UInt32} = {part:UInt32}"
VOLUMES = f"""SELECT intDiv({{last:Int64}} - t, {{period:Int64}}) AS ago, count() AS rows
FROM (SELECT toUnixTimestamp(timestamp) AS t FROM predictions WHERE model = {{model:String}} AND {WITHIN})
WHERE ({{last:Int64}} - t) % {{period:Int64}} < {{length:Int64}} GROUP BY ago"""  # noqa: S608
LABELS = """SELECT prediction_id, argMax(value, (timestamp, stored_at, value)) AS label FROM labels
WHERE model = {model:String}
AND timestamp >= {labelled_from:DateTime64(6, 'UTC')} AND timestamp <= {now:DateTime64(6, 'UTC')}"""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which predictions of a model: those of a window, or those logged as training rows where there is none.

    Attributes:
        window: From the first moment to the last.
        spans: The stretches of ``window`` that count; none: all of it.
        holes: Stretches that do not count, of training rows.
        version: Only those of this version of the model; empty: of any.
        name: Of training rows: only those brought in under this name.
    """

    model: str
    window: Window | None
    spans: tuple[Window, ...] = ()
    holes: tuple[Window, ...] = ()
    version: str = ""
    name: str = ""

    @property
    def where(self) -> str:
        """The condition on ``predictions``."""
        parts = ["model = {model:String}", WITHIN if self.window else TRAINING]
        parts += [f"({' OR '.join(_between('s', at) for at in range(len(self.spans)))})"] if self.spans else []
        parts += [f"NOT ({_between('h', at)})" for at in range(len(self.holes))]
        parts += ["version = {version:String}"] if self.version else []
        parts += [f"{LOADED_AS} = {{reference:String}}"] if self.name else []
        return " AND ".join(parts)

    @property
    def params(self) -> dict[str, Any]:
        """What the condition binds."""
        found: dict[str, Any] = {"model": self.model, "version": self.version, "reference": self.name}
        if self.window:
            found |= {"start": self.window.start, "end": self.window.end}
        for letter, spans in (("s", self.spans), ("h", self.holes)):
            for at, span in enumerate(spans):
                found |= {f"{letter}{at}": span.start, f"{letter}{at}_end": span.end}
        return found


@dataclass(frozen=True, slots=True)
class Extent:
    """How many rows a scope has, and from when to when."""

    rows: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model up to some moment: its rows, those of them in a window, and its first and last one."""

    name: str
    rows: int
    here: int
    first: datetime
    last: datetime


class Predictions:
    """Reads predictions and their labels. ``max_rows`` bounds what is read at once; beyond it rows are sampled."""

    def __init__(self, store: Store, max_rows: int) -> None:
        self._store = store
        self._max_rows = max_rows

    def models(self, now: datetime) -> list[str]:
        """Every model with predictions in the last 400 days."""
        return [row["model"] for row in self._store.rows(MODELS, {"since": now - HISTORY})]

    def first(self, model: str, now: datetime) -> datetime | None:
        """The first prediction of the last 400 days that is no training row, or None.

        Days with less than a hundredth of the usual number of rows do not count: a clock that is a year behind must not
        open a year of windows.
        """
        found = self._store.rows(FIRST, {"model": model, "since": now - HISTORY, "now": now})[0]
        return found["first"] if found["n"] else None

    def extent(self, scope: Scope) -> Extent | None:
        """Size and ends of a scope, or None where it is empty."""
        sql = f"""SELECT count() AS n, min(timestamp) AS first, max(timestamp) AS last
            FROM predictions WHERE {scope.where}"""  # noqa: S608
        found = self._store.rows(sql, scope.params)[0]
        return Extent(found["n"], found["first"], found["last"]) if found["n"] else None

    def versions(self, model: str, window: Window) -> list[Version]:
        """The named versions that were seen until the end of ``window``, in the order in which they first were."""
        params = {"model": model, "window": window.start, "start": window.end - HISTORY, "end": window.end}
        rows = self._store.rows(VERSIONS, params)
        return [Version(row["version"], row["n"], row["here"], row["first"], row["last"]) for row in rows]

    def loaded(self, model: str) -> str:
        """The name of the training set that was brought in last, or nothing."""
        return self._store.value(LOADED, {"model": model}) or ""

    def embedded_by(self, scope: Scope) -> frozenset[str]:
        """The embedding models that rows of ``scope`` name in their version tuple."""
        rows = self._store.rows(EMBEDDED_BY + scope.where, scope.params)
        return frozenset(row["name"] for row in rows if row["name"])

    def volumes(self, model: str, window: Window, back: int, holes: Sequence[Window] = ()) -> tuple[int, list[int]]:
        """Rows of the window, and of up to ``back`` like it before, the latest first.

        Windows of less than a day are those of the same hours on the days before. What lies before the traffic began,
        the window in which it began, and windows that touch one of ``holes`` are left out.
        """
        length = int(window.length.total_seconds())
        period = max(length, DAY_S)
        start = window.end - timedelta(seconds=period * (back + 1))
        params = {"model": model, "start": start, "end": window.end, "length": length, "period": period}
        found = self._store.rows(VOLUMES, params | {"last": int(window.end.timestamp()) - 1})
        rows = {row["ago"]: row["rows"] for row in found}
        oldest = max(rows, default=0)
        whole = oldest if oldest == back else oldest - 1
        known = [ago for ago in range(1, whole + 1) if not _touched(window, timedelta(seconds=period * ago), holes)]
        return rows.get(0, 0), [rows.get(ago, 0) for ago in known]

    def read(self, scope: Scope, rows: int, dimensions: Sequence[str]) -> Traffic:
        """The features, outputs and slices of a scope that has ``rows`` rows: of all, or of a sample by hash."""
        return self._read(scope, dimensions, ceil(rows / self._max_rows), 0)

    def read_all(self, scope: Scope, rows: int, dimensions: Sequence[str]) -> Iterator[Traffic]:
        """The same of every row, so many at a time that memory is bounded."""
        every = ceil(rows / self._max_rows)
        return (self._read(scope, dimensions, every, part) for part in range(every))

    def _read(self, scope: Scope, dimensions: Sequence[str], every: int, part: int) -> Traffic:
        dimensions, pairs = _divided(dimensions)
        names, params = _dimension_columns(dimensions)
        sql = f"""SELECT mapKeys(features) AS nk, mapValues(features) AS nv, mapKeys(categories) AS ck,
            mapValues(categories) AS cv, value AS v, score AS s, {SECONDS} AS at, {names}
            FROM predictions WHERE {scope.where}{SAMPLED if every > 1 else ""}"""  # noqa: S608
        table = self._store.arrow(sql, scope.params | params | {"every": every, "part": part})
        return _with_spans(from_arrow(table, dimensions, every).with_pairs(pairs), scope)

    def coverage(self, model: str, span: Window, bucket_s: int, now: datetime) -> dict[int, tuple[int, int]]:
        """Predictions, and those of them with a label at ``now``, by bucket of ``bucket_s`` seconds since 1970."""
        scope = Scope(model, span)
        sql = f"""SELECT intDiv(toUnixTimestamp(timestamp), {{bucket:Int64}}) AS at, count() AS n,
            countIf(prediction_id IN (SELECT prediction_id FROM ({_labels()}))) AS labelled
            FROM predictions WHERE {scope.where} GROUP BY at"""  # noqa: S608
        params = scope.params | _label_params(scope, now) | {"bucket": bucket_s}
        return {row["at"]: (row["n"], row["labelled"]) for row in self._store.rows(sql, params)}

    def has_labels(self, model: str, now: datetime) -> bool:
        """Whether any label of the model had come by ``now``."""
        sql = "SELECT 1 FROM labels WHERE model = {model:String} AND timestamp <= {now:DateTime64(6, 'UTC')} LIMIT 1"
        return self._store.value(sql, {"model": model, "now": now}) is not None

    def read_labels(self, scope: Scope, rows: int, dimensions: Sequence[str], now: datetime) -> Traffic:
        """Prediction and last label of the labelled rows of a scope, as categories ``prediction`` and ``label``."""
        every = ceil(rows / self._max_rows)
        dimensions, pairs = _divided(dimensions)
        names, params = _dimension_columns(dimensions)
        inside = f"{scope.where}{SAMPLED if every > 1 else ''}"
        recent = scope.window is not None and now - scope.window.start < RECENT
        own = f"prediction_id IN (SELECT prediction_id FROM predictions WHERE {inside})"  # noqa: S608
        shown = ", ".join(["v", "at", "label AS l", *(f"d{at}" for at in range(len(dimensions)))])
        sql = f"""SELECT {shown}
            FROM (SELECT prediction_id, value AS v, {SECONDS} AS at, {names} FROM predictions WHERE {inside}) AS p
            INNER JOIN ({_labels("" if recent else own)}) AS t ON p.prediction_id = t.prediction_id"""  # noqa: S608
        table = self._store.arrow(sql, scope.params | params | _label_params(scope, now) | {"every": every, "part": 0})
        columns: dict[str, Category] = {"prediction": encoded(table["v"]), "label": encoded(table["l"])}
        traffic = Traffic(len(table), {}, columns, slices_of(table, dimensions), every, seconds_of(table))
        return _with_spans(traffic.with_pairs(pairs), scope)


def _divided(dimensions: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Single dimensions, and pairs of them."""
    known = [(each, sides(each)) for each in dimensions]
    return [name for name, of in known if len(of) == 1], [(of[0], of[1]) for _, of in known if len(of) == 2]


def _with_spans(traffic: Traffic, scope: Scope) -> Traffic:
    """With the stretches of the scope, if it has gaps."""
    if not scope.holes or traffic.seconds is None or not traffic.rows:
        return replace(traffic, spans=scope.spans)
    ends = int(traffic.seconds.min()) // HOUR_S, int(traffic.seconds.max()) // HOUR_S + 1
    whole = Window(*(datetime.fromtimestamp(each * HOUR_S, UTC) for each in ends))
    return replace(traffic, spans=without([whole], scope.holes))


def _between(letter: str, at: int) -> str:
    start, end = f"{{{letter}{at}:DateTime64(6, 'UTC')}}", f"{{{letter}{at}_end:DateTime64(6, 'UTC')}}"
    return f"timestamp >= {start} AND timestamp < {end}"


def _touched(window: Window, ago: timedelta, holes: Sequence[Window]) -> bool:
    return any(hole.start < window.end - ago and window.start - ago < hole.end for hole in holes)


def _labels(condition: str = "") -> str:
    return LABELS + (f" AND {condition}" if condition else "") + " GROUP BY prediction_id"


def _label_params(scope: Scope, now: datetime) -> dict[str, Any]:
    """Labels come after their prediction; a day is allowed for clocks that differ."""
    since = scope.window.start - timedelta(days=1) if scope.window else now - 10 * HISTORY
    return {"now": now, "labelled_from": since}


def _dimension_columns(dimensions: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The select list d0, d1 ... and what it binds; names never enter the text, unless they are columns of ours."""
    columns = [
        f"toString({COLUMNS[name]}) AS d{at}" if name in COLUMNS else f"slices[{{n{at}:String}}] AS d{at}"
        for at, name in enumerate(dimensions)
    ]
    return ", ".join(columns), {f"n{at}": name for at, name in enumerate(dimensions)}
