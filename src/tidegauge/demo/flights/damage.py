"""What each kind of fault does: to the rows, to what the model reads and answers, and to what is logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tidegauge.demo.flights.data import CATEGORICAL, NEW_YORK, draw
from tidegauge.demo.flights.faults import CLASSES, NEW_CODES, UNITS, Fault

DEFAULT, DEFAULT_SHARE = -1.0, 0.3
OUTLIER_TIMES, OUTLIER_SHARE = 1000.0, 0.01
LATE_SHARE = 0.4
SQUEEZE, OTHER_THRESHOLD = 0.5, 0.5
DAY_H = 24
TEXT_UNIT = " units"

Floats = NDArray[np.float64]


def damaged(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with the fault in what is true, or in what reaches the model of it."""
    if fault.kind in ("volume", "drop"):
        return rows.filter(~(fault.touches() & _drawn(rows, fault.kind, fault.share)))
    if fault.kind == "mix":
        again = rows.filter(fault.touches()).with_columns(pl.col("prediction_id") + "-again")
        return pl.concat([rows, again]).sort("timestamp", "prediction_id")
    columns = _COLUMNS[fault.kind](rows, fault, training) if fault.kind in _COLUMNS else {}
    kept = [pl.when(fault.touches()).then(made).otherwise(name).alias(name) for name, made in columns.items()]
    return rows.with_columns(kept)


def read_by_model(rows: pl.DataFrame, fault: Fault) -> pl.DataFrame:
    """What the model can make of ``rows``: text in place of a number is nothing to it."""
    if fault.kind != "type":
        return rows
    return rows.with_columns(pl.when(~fault.touches()).then(fault.feature).otherwise(float("nan")).alias(fault.feature))


def scores_of(rows: pl.DataFrame, fault: Fault, scores: Floats) -> Floats:
    """The scores as they leave the model's server."""
    if fault.kind != "calibration":
        return scores
    touched = rows.select(fault.touches().alias("x"))["x"].to_numpy()
    return np.where(touched, scores**SQUEEZE / (scores**SQUEEZE + (1 - scores) ** SQUEEZE), scores)


def answers_of(rows: pl.DataFrame, fault: Fault) -> pl.DataFrame:
    """Rows with answers, decided as the fault has it."""
    if fault.kind != "threshold":
        return rows
    other = (pl.col("score") >= OTHER_THRESHOLD).cast(pl.Int8)
    return rows.with_columns(pl.when(fault.touches()).then(other).otherwise("prediction").alias("prediction"))


def logged(frame: pl.DataFrame, fault: Fault) -> pl.DataFrame:
    """A day's predictions as they are logged, of a day that the fault touches."""
    if fault.kind == "duplicates":
        twice = frame.filter(_drawn(frame, fault.kind, fault.share))
        return pl.concat([frame, twice]).sort("timestamp", "prediction_id")
    if fault.kind == "type":
        return frame.with_columns(pl.col(fault.feature).cast(pl.String) + TEXT_UNIT)
    return frame


def logged_ids(ids: list[str], fault: Fault) -> list[str]:
    """How labels name their predictions."""
    return [each.replace("-", "/") for each in ids] if fault.kind == "keys" else ids


def _drawn(rows: pl.DataFrame, purpose: str, share: float) -> pl.Expr:
    return pl.lit(pl.Series(draw(rows["prediction_id"], purpose) < share))


Made = Mapping[str, pl.Expr]
Maker = Callable[[pl.DataFrame, Fault, pl.DataFrame], Made]


def _units(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    return {fault.feature: UNITS[fault.feature][1](pl.col(fault.feature))}


def _missing(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    return {fault.feature: pl.lit("" if fault.feature in CATEGORICAL else float("nan"))}


def _constant(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    return {fault.feature: pl.lit(_typical(training[fault.feature]))}


def _default(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    instead = pl.when(_drawn(rows, "default", DEFAULT_SHARE)).then(DEFAULT)
    return {fault.feature: instead.otherwise(fault.feature)}


def _outliers(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    instead = pl.when(_drawn(rows, "outliers", OUTLIER_SHARE)).then(pl.col(fault.feature) * OUTLIER_TIMES)
    return {fault.feature: instead.otherwise(fault.feature)}


def _precision(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    return {fault.feature: (pl.col(fault.feature) / 10).round() * 10}


def _skew(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    return {fault.feature: (pl.col(fault.feature) + _typical(training[fault.feature])) / 2}


def _swap(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    return {fault.feature: pl.col(fault.other), fault.other: pl.col(fault.feature)}


def _stale(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    """The last value that the airport had a day earlier; where there is none yet, its own."""
    known = rows.select("origin", "timestamp", was=fault.feature).filter(pl.col("was").is_not_nan())
    asked = rows.select("origin", at=pl.col("timestamp") - pl.duration(hours=DAY_H)).with_row_index()
    found = asked.sort("at").join_asof(
        known.sort("timestamp"), left_on="at", right_on="timestamp", by="origin", check_sortedness=False
    )
    return {fault.feature: pl.lit(found.sort("index")["was"]).fill_null(pl.col(fault.feature))}


def _timezone(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    local = pl.col("timestamp").dt.convert_time_zone(NEW_YORK)
    offset_h = -(local.dt.base_utc_offset() + local.dt.dst_offset()).dt.total_hours()
    return {
        "hour": (pl.col("hour") + offset_h) % DAY_H,
        "minute_of_day": (pl.col("minute_of_day") + offset_h * 60) % (DAY_H * 60),
    }


def _join(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    """The aircraft of the flight that comes so many rows later, which differs from day to day."""
    other = np.random.default_rng(2013).permutation(rows.height)
    return {name: pl.lit(rows[name][other]) for name in fault.features}


def _flipped(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    return {"late": 1 - pl.col("late")}


def _lost(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    gone = pl.col("late") == CLASSES[fault.other]
    return {name: pl.when(~gone).then(name) for name in ("late", "label_time")}


def _delay(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    return {"label_time": pl.col("label_time") + pl.duration(seconds=int(fault.days * 86_400))}


def _concept(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    late = pl.when(_drawn(rows, "concept", LATE_SHARE) & pl.col("late").is_not_null()).then(1)
    return {"late": late.otherwise("late").cast(pl.Int8)}


def _renamed(rows: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> Made:
    return {"carrier": pl.lit(NEW_CODES[fault.part.value])}


_COLUMNS: Mapping[str, Maker] = {
    "units": _units,
    "missing": _missing,
    "constant": _constant,
    "default": _default,
    "outliers": _outliers,
    "precision": _precision,
    "skew": _skew,
    "swap": _swap,
    "stale": _stale,
    "timezone": _timezone,
    "join": _join,
    "labels": _flipped,
    "definition": _flipped,
    "lost": _lost,
    "delay": _delay,
    "concept": _concept,
    "new_category": _renamed,
}


def _typical(values: pl.Series) -> float | str:
    if values.dtype == pl.String:
        return str(values.mode().sort()[0])
    return float(values.drop_nans().median() or 0.0)  # type: ignore[arg-type]
