from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tidegauge.demo.flights import data
from tidegauge.errors import MissingExtra

AFTER_DEPARTURE = {"dep_time", "dep_delay", "arr_time", "air_time", "arr_delay", "arrival", "late", "label_time"}


@pytest.fixture(scope="module")
def year() -> pl.DataFrame:
    return data.load()


def test_the_year_has_every_flight_once_and_no_label_for_those_cancelled_or_diverted(year: pl.DataFrame) -> None:
    assert year.height == 336_776
    assert year["prediction_id"].n_unique() == year.height
    assert year["late"].null_count() == year["arrival"].null_count() == 9_430
    assert data.training_part(year).height + data.later_part(year).height == year.height


def test_no_feature_is_known_only_after_departure(monkeypatch: pytest.MonkeyPatch, year: pl.DataFrame) -> None:
    untouched = data._flights
    monkeypatch.setattr(data, "_flights", lambda folder: untouched(folder).with_columns(pl.col("arr_delay").reverse()))

    with_other_delays = data.load()

    assert not AFTER_DEPARTURE & set(data.FEATURES)
    assert {"dep_time", "dep_delay", "arr_time", "air_time"}.isdisjoint(data._FLIGHT_COLUMNS)
    assert with_other_delays["late"].null_count() == 9_430
    assert not with_other_delays["late"].equals(year["late"])
    assert with_other_delays.select(data.FEATURES).equals(year.select(data.FEATURES))


def test_timestamps_are_scheduled_departures_in_utc(year: pl.DataFrame) -> None:
    minutes = pl.duration(minutes=pl.col("minute_of_day").cast(pl.Int64))
    local = (pl.col("date").cast(pl.Datetime("us")) + minutes).dt.replace_time_zone(data.NEW_YORK)

    expected = year.select(local.dt.convert_time_zone("UTC"))["date"]

    assert (year["timestamp"] == expected).all()
    assert year["timestamp"].is_sorted()
    assert str(year["timestamp"].dtype) == "Datetime(time_unit='us', time_zone='UTC')"


def test_weather_is_the_observation_of_the_hour_before_departure(year: pl.DataFrame) -> None:
    weather = pl.read_csv(data._folder() / "weather.csv", columns=["origin", "time_hour", "temp"], null_values="NA")
    flight = year.filter(pl.col("prediction_id") == "2013-07-04-B6-839-JFK-BQN").row(0, named=True)

    hour_before = flight["timestamp"].replace(minute=0) - timedelta(hours=1)
    seen = weather.filter(pl.col("origin") == "JFK", pl.col("time_hour") == f"{hour_before:%Y-%m-%dT%H:%M:%SZ}")

    assert flight["timestamp"].isoformat() == "2013-07-05T03:59:00+00:00"
    assert flight["temp"] == seen["temp"].item()


def test_scheduled_durations_reckon_with_both_ends_time_zones(year: pl.DataFrame) -> None:
    median = dict(year.group_by("dest").agg(pl.col("sched_duration").median()).iter_rows())

    assert (year["sched_duration"].min(), year["sched_duration"].max()) == (50, 700)
    assert 360 < median["LAX"] < 390
    assert 215 < median["SJU"] < 240
    assert 600 < median["HNL"] < 700


def test_a_sample_is_the_same_each_time_and_part_of_a_larger_one() -> None:
    small, again, larger = data.load(0.02), data.load(0.02), data.load(0.03)

    assert small.equals(again)
    assert set(small["prediction_id"]) < set(larger["prediction_id"])
    assert 0.018 < small.height / 336_776 < 0.022


def test_draws_for_two_purposes_are_uniform_and_unrelated() -> None:
    ids = pl.Series([f"flight-{number}" for number in range(20_000)])

    one, other = data.draw(ids, "one"), data.draw(ids, "other")

    assert np.array_equal(one, data.draw(ids, "one"))
    assert np.max(np.abs(np.histogram(one, 20, (0, 1))[0] - 1000)) < 160
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03


def test_without_the_data_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"tidegauge\[demo\]"):
        data.load()


def test_a_day_ends_at_midnight_in_new_york() -> None:
    assert data.day_end(data.LAST_TRAINING_DAY).isoformat() == "2013-04-01T04:00:00+00:00"
