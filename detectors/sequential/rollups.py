"""Hours of a model as blocks of streams: score, its spread, volume, errors and labels, of all traffic and of slices.

Read from the sums by hour (``predictions_1h``) and from the view ``labelled``; never a row of a feature: those have
hours of their own (``feature_hours``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.sequential.baseline import Blocks, slots_of
from tidegauge.detectors.statistics.arrays import FloatArray, IntArray
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

DETECTOR = "sequential"
HOUR_S = 3600
LEAST_ROWS = 5
"""Of an hour; a mean of fewer says nothing."""
Stream: TypeAlias = tuple[str, Slice]
Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Sequence[Row]
TRAINED = """SELECT count() AS n, min(timestamp) AS first, max(timestamp) AS last FROM predictions
WHERE model = {model:String} AND role = 'training'"""
FIRST = "SELECT min(hour) AS first, count() AS n FROM predictions_1h WHERE model = {model:String} AND dimension = ''"
OUTPUTS = """SELECT toUnixTimestamp(hour) AS at, dimension, slice, sum(predictions) AS n, sum(scored) AS k,
  sum(score_sum) AS s, sum(score_sum_squares) AS q FROM predictions_1h
WHERE model = {model:String} AND dimension IN {dimensions:Array(String)}
  AND hour >= toDateTime({start:UInt32}, 'UTC') AND hour < toDateTime({end:UInt32}, 'UTC')
GROUP BY at, dimension, slice"""
WRONG = "NOT (value = label OR ifNull(toFloat64OrNull(value) = label_number, false))"
LABELS = f"""SELECT at, part.1 AS dimension, part.2 AS slice, count() AS n, sum(wrong) AS w, countIf(isFinite(e)) AS k,
  sumIf(e, isFinite(e)) AS s, sumIf(e * e, isFinite(e)) AS q, countIf(isFinite(l)) AS lk, sumIf(l, isFinite(l)) AS ls,
  sumIf(l * l, isFinite(l)) AS lq, uniqExactIf(l, isFinite(l)) AS kinds
FROM (SELECT intDiv(toUnixTimestamp(timestamp), 3600) * 3600 AS at, {WRONG} AS wrong, ifNull(label_number, nan) AS l,
    abs(ifNull(toFloat64OrNull(value), nan) - l) AS e,
    arrayJoin(arrayConcat([('', '')], arrayFilter(each -> each.2 != '',
      arrayMap(name -> (name, slices[name]), {{dimensions:Array(String)}})))) AS part
  FROM labelled(start = {{start:DateTime64(6)}}, end = {{end:DateTime64(6)}}, known_by = {{now:DateTime64(6)}},
    model = {{model:String}}))
GROUP BY at, dimension, slice"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of an hour. ``floor`` says from typical mean and deviation what matters, in the unit of the mean.

    ``feature`` and ``detector`` are what findings call it; ``name`` tells it from the others of its family.
    """

    name: str
    unit: str
    floor: Callable[[float, float], float]
    sliced: bool = True
    feature: str = ""
    detector: str = DETECTOR

    @property
    def about(self) -> str:
        """The feature of its findings."""
        return self.feature or self.name


NOTHING = (np.nan, np.nan, np.nan)


def _mean(count: float, total: float, squares: float) -> tuple[float, float, float]:
    if count < LEAST_ROWS:
        return NOTHING
    mean = total / count
    variance = max(0.0, squares / count - mean * mean) * count / (count - 1)
    return mean, variance / count, variance**0.5


def _spread(row: Row) -> tuple[float, float, float]:
    _, noise, deviation = _mean(row["k"], row["s"], row["q"])
    known = row["k"] >= 6 * LEAST_ROWS and noise > 0
    return (float(np.log(deviation)), 1 / (2 * row["k"]), 1.0) if known else NOTHING


def _share(hits: float, count: float) -> tuple[float, float, float]:
    if count < LEAST_ROWS:
        return NOTHING
    spread = (hits + 0.5) * (count - hits + 0.5) / (count + 1) ** 2
    return hits / count, spread / count, spread**0.5


def of_mean(mean: float, deviation: float) -> float:
    """A tenth of a deviation of the rows, or of the mean where that is less."""
    return min(0.1 * deviation, max(0.1 * abs(mean), 0.02 * deviation))


def _volume(row: Row) -> tuple[float, float, float]:
    return float(np.log(row["n"] + 0.5)), 1 / (row["n"] + 0.5), 1.0


def _of_rows(row: Row) -> tuple[float, float, float]:
    return _mean(row["k"], row["s"], row["q"])


READ: Mapping[str, Callable[[Row], tuple[float, float, float]]] = {
    "score": _of_rows,
    "score_spread": _spread,
    "volume": _volume,
    "error_rate": lambda row: _share(row["w"], row["n"]),
    "absolute_error": _of_rows,
    "label": lambda row: _mean(row["lk"], row["ls"], row["lq"]),
}
"""From sums to an hour's mean, the variance that it has by chance, and one row's deviation."""
MEASURES = (
    Measure("score", "score", of_mean),
    Measure("score_spread", "log of the deviation", lambda *_: float(np.log(1.2))),
    Measure("volume", "log of the rows", lambda *_: float(np.log(1.25)), sliced=False),
)
ERRORS = (Measure("error_rate", "share of rows", lambda *_: 0.02), Measure("label", "label", of_mean))
REGRESSION = (Measure("absolute_error", "label", of_mean), ERRORS[1])
EMPTY_HOUR: Row = {"n": 0}


@dataclass(frozen=True)
class Hours:
    """T hours of S streams; ``deviations`` are those of single rows."""

    seconds: IntArray
    streams: tuple[Stream, ...]
    means: FloatArray
    noise: FloatArray
    deviations: FloatArray

    def only(self, at: NDArray[np.intp]) -> Hours:
        """Some of the streams."""
        kept = tuple(self.streams[each] for each in at)
        return Hours(self.seconds, kept, self.means[:, at], self.noise[:, at], self.deviations[:, at])

    @classmethod
    def joined(cls, parts: Sequence[Hours]) -> Hours:
        """Several, of the same hours and other streams each, side by side."""
        streams = tuple(stream for each in parts for stream in each.streams)
        columns = ([each.means for each in parts], [each.noise for each in parts], [each.deviations for each in parts])
        return cls(parts[0].seconds, streams, *(np.hstack(each) for each in columns))

    @property
    def end(self) -> datetime:
        """Of the last hour."""
        return datetime.fromtimestamp(int(self.seconds[-1]) + HOUR_S, UTC)

    def blocks(self, weekly: bool) -> Blocks:
        """For a baseline."""
        return Blocks(self.means, self.noise, slots_of(self.seconds, HOUR_S, weekly))


class Rollups:
    """Reads hours of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def trained(self, model: str) -> Window | None:
        """From the first to the last training row, or None."""
        found = self._store.rows(TRAINED, {"model": model})[0]
        return Window(found["first"], found["last"]) if found["n"] and found["last"] > found["first"] else None

    def first(self, model: str) -> datetime | None:
        """The first hour with a prediction, training rows included."""
        found = self._store.rows(FIRST, {"model": model})[0]
        return found["first"] if found["n"] else None

    def outputs(self, model: str, dimensions: Sequence[str], span: Window) -> Rows:
        """Sums of predictions and scores of whole hours, by slice."""
        ends = {"start": int(span.start.timestamp()), "end": int(span.end.timestamp())}
        return self._store.rows(OUTPUTS, {"model": model, "dimensions": ["", *dimensions], **ends})

    def labels(self, model: str, dimensions: Sequence[str], span: Window, now: datetime) -> Rows:
        """Sums of errors and labels, as known at ``now``, by the hour of their predictions and by slice."""
        params = {"model": model, "dimensions": list(dimensions), "start": span.start, "end": span.end, "now": now}
        return self._store.rows(LABELS, params)


def parts_of(rows: Iterable[Row], most: int) -> list[Slice]:
    """All traffic and the slices with the most rows, ``most`` a dimension; 'other' is none."""
    counted: dict[Slice, int] = {}
    for row in rows:
        part = Slice(row["dimension"], row["slice"])
        counted[part] = counted.get(part, 0) + row["n"]
    ranked = sorted((part for part in counted if part != ALL), key=lambda part: (-counted[part], part))
    kept = [ALL]
    for dimension in sorted({part.dimension for part in ranked}):
        named = [part for part in ranked if part.dimension == dimension and part.value not in ("", "other")]
        kept += named[:most]
    return kept


def streams_of(measures: Iterable[Measure], parts: Sequence[Slice]) -> list[Stream]:
    """Each measure in each part of the traffic; ``parts`` begin with all of it."""
    return [(each.name, part) for each in measures for part in (parts if each.sliced else parts[:1])]


def hours_of(rows: Sequence[Row], span: Window, streams: Sequence[Stream]) -> Hours:
    """The hours of ``span`` in order; hours and streams without rows are NaN, or no rows for the volume."""
    start, end = (int(each.timestamp()) // HOUR_S for each in (span.start, span.end))
    found = {(row["at"] // HOUR_S, row["dimension"], row["slice"]): row for row in rows}
    table = np.full((3, end - start, len(streams)), np.nan)
    for column, (name, part) in enumerate(streams):
        read = READ[name]
        for at in range(start, end):
            row = found.get((at, part.dimension, part.value), EMPTY_HOUR if name == "volume" else None)
            table[:, at - start, column] = NOTHING if row is None else read(row)
    seconds = np.arange(start, end, dtype=np.int64) * HOUR_S
    return Hours(seconds, tuple(streams), table[0], table[1], table[2])


def hour_of(moment: datetime) -> datetime:
    """The start of the hour of ``moment``."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


HOUR = timedelta(hours=1)
