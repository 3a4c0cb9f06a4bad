"""What is read of a model's predictions with their labels and outcomes: all of this folder's SQL on them."""

# ruff: noqa: S608 - the pieces are constants and numbered names; every value is a bound parameter

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa

from tidegauge.detectors.labels import canonical
from tidegauge.detectors.predictions import COLUMNS, TRAINING, WITHIN
from tidegauge.detectors.statistics.arrays import BoolArray, FloatArray, IntArray
from tidegauge.detectors.traffic import Category, Traffic, encoded, from_arrow
from tidegauge.model import Window
from tidegauge.store import Store

PROBABILITY = "probability."
"""Prefix of the features in which a model of several classes may send the probability of each."""
EARLY = timedelta(days=1)
SAMPLED = " AND cityHash64(prediction_id, trace_id, timestamp) % {every:UInt32} = 0"
LABELLED_FROM = "timestamp >= {labelled_from:DateTime64(6, 'UTC')} AND timestamp <= {now:DateTime64(6, 'UTC')}"
TRUTH = f"""SELECT prediction_id, argMax(value, (timestamp, stored_at, value)) AS said, min(timestamp) AS known
FROM labels WHERE model = {{model:String}} AND {LABELLED_FROM}
  AND prediction_id IN (SELECT prediction_id FROM predictions WHERE model = {{model:String}} AND """
COUNTS = f"""SELECT count() AS n, countIf(prediction_id IN (SELECT prediction_id FROM labels
  WHERE model = {{model:String}} AND {LABELLED_FROM})) AS labelled
FROM predictions WHERE model = {{model:String}} AND {WITHIN}"""
ANY_LABEL = "SELECT 1 FROM labels WHERE model = {model:String} AND timestamp <= {now:DateTime64(6, 'UTC')} LIMIT 1"
SPAN = "start = {start:DateTime64(6, 'UTC')}, end = {end:DateTime64(6, 'UTC')}, known_by = {now:DateTime64(6, 'UTC')}"
OUTCOMES = f"""SELECT prediction_id AS p, trace_id AS t, toString(outcomes_name) AS name, outcomes_value AS x,
  greatest(0, dateDiff('millisecond', timestamp, outcomes_at) / 1000) AS delay
FROM predictions_with_outcomes({SPAN}, model = {{model:String}})"""
ANY_OUTCOME = "SELECT 1 FROM outcomes WHERE timestamp <= {now:DateTime64(6, 'UTC')} LIMIT 1"


@dataclass(frozen=True)
class Rows:
    """Predictions as columns. ``label`` is missing, and ``delay_s`` NaN, where no label had come.

    Args:
        at: Seconds since 1970.
        delay_s: From the prediction to its first label.
        traffic: The same rows with their slices and, where they were asked for, their features.
        keys: Prediction and trace id of each, for outcomes.
    """

    said: Category
    label: Category
    score: FloatArray
    at: IntArray
    delay_s: FloatArray
    traffic: Traffic
    keys: tuple[pa.ChunkedArray, pa.ChunkedArray]

    def __len__(self) -> int:
        return len(self.score)

    @property
    def labelled(self) -> BoolArray:
        """Which rows have a label."""
        return self.label.codes >= 0

    def matrix(self, classes: Sequence[str]) -> FloatArray | None:
        """The probability of each class, rows by ``classes``, or None where they were not sent."""
        sent = {
            canonical(name.removeprefix(PROBABILITY)): values
            for name, values in self.traffic.numeric.items()
            if name.startswith(PROBABILITY)
        }
        if not classes or any(name not in sent for name in classes):
            return None
        return np.stack([sent[name] for name in classes], axis=1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One kind of outcome of the rows: ``value`` is NaN where none had come, ``delay_s`` of those that had."""

    name: str
    value: FloatArray
    delay_s: FloatArray


class Reader:
    """Reads up to ``max_rows`` rows at once; of more a sample by hash."""

    def __init__(self, store: Store, max_rows: int) -> None:
        self._store = store
        self._max_rows = max_rows

    def has_labels(self, model: str, now: datetime) -> bool:
        """Whether any label of the model had come by ``now``."""
        return self._store.value(ANY_LABEL, {"model": model, "now": now}) is not None

    def has_outcomes(self, now: datetime) -> bool:
        """Whether any outcome, of whatever, had come by ``now``."""
        return self._store.value(ANY_OUTCOME, {"now": now}) is not None

    def counts(self, model: str, window: Window, now: datetime) -> tuple[int, int]:
        """Predictions of a window, and those of them with a label at ``now``."""
        found = self._store.rows(COUNTS, _params(model, window, now))[0]
        return found["n"], found["labelled"]

    def size(self, model: str, window: Window | None) -> int:
        """How many predictions a window has, or how many rows were logged as training."""
        sql = f"SELECT count() FROM predictions WHERE model = {{model:String}} AND {WITHIN if window else TRAINING}"
        ends = {"start": window.start, "end": window.end} if window else {}
        return int(self._store.value(sql, {"model": model, **ends}) or 0)

    def read(
        self, model: str, window: Window | None, dimensions: Sequence[str], now: datetime, features: bool = False
    ) -> Rows:
        """The predictions of a window, or the rows logged as training where there is none, labels as of ``now``."""
        where = WITHIN if window else TRAINING
        params = _params(model, window, now)
        every = max(1, ceil(self.size(model, window) / self._max_rows))
        inside = where + (SAMPLED if every > 1 else "")
        names, bound = _dimensions(dimensions)
        sql = f"""SELECT nk, nv, ck, cv, v, s, at, p, t, {"".join(f"d{at}, " for at in range(len(dimensions)))}
            l.said AS label, greatest(0, dateDiff('millisecond', made, l.known) / 1000) AS delay
            FROM (SELECT {_features(features)}, value AS v, ifNull(score, nan) AS s, timestamp AS made,
              toUnixTimestamp64Second(timestamp) AS at, prediction_id AS p, trace_id AS t{names}
              FROM predictions WHERE model = {{model:String}} AND {inside}) AS m
            LEFT JOIN ({TRUTH}{inside}) GROUP BY prediction_id) AS l ON m.p = l.prediction_id"""
        table = self._store.arrow(sql, params | bound | {"every": every})
        return _rows(table, dimensions, every)

    def events(self, model: str, window: Window, now: datetime) -> pa.Table:
        """The outcomes of the predictions of ``window``, for ``outcomes_of``."""
        return self._store.arrow(OUTCOMES, _params(model, window, now))


def outcomes_of(rows: Rows, events: pa.Table) -> list[Outcome]:
    """Each kind of outcome of ``rows``, by name."""
    places = {key: at for at, key in enumerate(zip(*(each.to_pylist() for each in rows.keys), strict=True))}
    found: dict[str, Outcome] = {}
    for event in events.to_pylist():
        at = places.get((event["p"], event["t"]))
        if at is not None and np.isfinite(event["x"]):
            empty = Outcome(event["name"], np.full(len(rows), np.nan), np.full(len(rows), np.nan))
            own = found.setdefault(event["name"], empty)
            own.value[at], own.delay_s[at] = event["x"], event["delay"]
    return [found[name] for name in sorted(found)]


def _rows(table: pa.Table, dimensions: Sequence[str], every: int) -> Rows:
    traffic = from_arrow(table, tuple(dimensions), every)
    label = encoded(table["label"])
    delay = np.where(label.codes >= 0, table["delay"].to_numpy(), np.nan)
    score = np.asarray(table["s"].to_numpy(), dtype=np.float64)
    at = np.asarray(table["at"].to_numpy(), dtype=np.int64)
    return Rows(encoded(table["v"]), label, score, at, delay, traffic, (table["p"], table["t"]))


def _params(model: str, window: Window | None, now: datetime) -> dict[str, Any]:
    """Labels come after their prediction; a day is allowed for clocks that differ."""
    ends = {"start": window.start, "end": window.end} if window else {}
    since = window.start - EARLY if window else now - timedelta(days=4000)
    return {"model": model, "now": now, "labelled_from": since, **ends}


def _features(every: bool) -> str:
    """Names and values of the features: all, or only those that are probabilities of classes."""
    numbers, texts = "features", "categories"
    if not every:
        numbers = f"mapFilter((k, x) -> startsWith(k, '{PROBABILITY}'), features)"
        texts = "CAST(map(), 'Map(LowCardinality(String), LowCardinality(String))')"
    return f"mapKeys({numbers}) AS nk, mapValues({numbers}) AS nv, mapKeys({texts}) AS ck, mapValues({texts}) AS cv"


def _dimensions(dimensions: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The select list d0, d1 ... and what it binds; names never enter the text, unless they are columns of ours."""
    columns = [
        f", toString({COLUMNS[name]}) AS d{at}" if name in COLUMNS else f", slices[{{n{at}:String}}] AS d{at}"
        for at, name in enumerate(dimensions)
    ]
    return "".join(columns), {f"n{at}": name for at, name in enumerate(dimensions)}
