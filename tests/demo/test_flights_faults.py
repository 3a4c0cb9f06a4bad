from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from tidegauge.demo.flights import FlightsStream, data, parse_fault
from tidegauge.demo.flights.damage import damaged
from tidegauge.demo.flights.drawn import drawn_faults
from tidegauge.demo.flights.faults import CHOICES, NEW_CODES, UNITS
from tidegauge.errors import ConfigError

SAMPLE = 0.03
DAY = date(2013, 7, 1)
ANSWERS = {"score", "prediction"}

EXPECTED_CHANGES = {
    "units:temp": {"temp"} | ANSWERS,
    "units:distance:JFK": {"distance"} | ANSWERS,
    "missing:humid": {"humid"} | ANSWERS,
    "missing:dest:LGA": {"dest"} | ANSWERS,
    "constant:minute_of_day": {"minute_of_day"} | ANSWERS,
    "constant:dest:EWR": {"dest"} | ANSWERS,
    "labels:UA": {"late"},
    "new_category:UA": {"carrier"} | ANSWERS,
    "missing:humid:UA": {"humid"} | ANSWERS,
    "default:temp": {"temp"} | ANSWERS,
    "outliers:distance": {"distance"} | ANSWERS,
    "precision:temp": {"temp"} | ANSWERS,
    "skew:plane_age": {"plane_age"} | ANSWERS,
    "swap:temp:humid": {"temp", "humid"} | ANSWERS,
    "stale:temp": {"temp"} | ANSWERS,
    "timezone": {"hour", "minute_of_day"} | ANSWERS,
    "join": {"plane_age", "seats"} | ANSWERS,
    "type:distance": ANSWERS,
    "definition": {"late"},
    "concept:UA": {"late"},
    "lost:late": {"late", "label_time"},
    "delay:3": {"label_time"},
    "calibration": ANSWERS,
    "threshold": {"prediction"},
    "version": {"version"} | ANSWERS,
    "version:0.3": {"version"} | ANSWERS,
}


@pytest.fixture(scope="module")
def sound() -> FlightsStream:
    return FlightsStream(sample=SAMPLE)


@pytest.fixture
def faulty(sound: FlightsStream, request: pytest.FixtureRequest) -> FlightsStream:
    """The stream with the fault of the test's parameter."""
    return sound.with_fault(parse_fault(request.param))


def differing(one: pl.DataFrame, other: pl.DataFrame, column: str) -> pl.Series:
    return one[column].ne_missing(other[column])


@pytest.mark.parametrize(
    ("faulty", "changes"),
    [(f"{kind}@{DAY}", changes) for kind, changes in EXPECTED_CHANGES.items()],
    indirect=["faulty"],
    ids=EXPECTED_CHANGES,
)
def test_a_fault_changes_what_it_says_on_its_slice_from_its_day_on_and_nothing_else(
    sound: FlightsStream, faulty: FlightsStream, changes: set[str]
) -> None:
    assert faulty.fault is not None
    before, after = sound.later, faulty.later
    touched = before.select(faulty.fault.touches().alias("touched"))["touched"]

    changed = {name: differing(before, after, name) for name in before.columns}

    assert after["prediction_id"].equals(before["prediction_id"])
    assert {name for name, rows in changed.items() if rows.any()} == changes
    assert not any((rows & ~touched).any() for rows in changed.values())
    assert 0 < touched.sum() < before.height
    assert faulty.training.equals(sound.training)


@pytest.mark.parametrize("faulty", [f"type:distance@{DAY}", f"duplicates:0.5@{DAY}", f"keys@{DAY}"], indirect=True)
def test_what_is_wrong_with_logging_alone_is_seen_from_its_day_on(sound: FlightsStream, faulty: FlightsStream) -> None:
    days = [(one, two) for one, two in zip(sound.days(), faulty.days(), strict=True) if abs(one.date - DAY).days <= 1]
    different = {
        one.date
        for one, two in days
        if one.label_ids != two.label_ids or not one.predictions_frame.equals(two.predictions_frame)
    }
    assert min(different) == DAY
    assert DAY + timedelta(days=1) in different


def test_more_or_fewer_flights_come_and_their_labels_with_them(sound: FlightsStream) -> None:
    later = sound.later.filter(pl.col("date") >= DAY)
    half, twice = (sound.with_fault(parse_fault(f"{kind}@{DAY}")).later for kind in ("drop:0.5", "mix:UA"))

    assert 0.45 < half.filter(pl.col("date") >= DAY).height / later.height < 0.55
    assert twice.height - sound.later.height == later.filter(pl.col("carrier") == "UA").height
    assert twice["prediction_id"].is_unique().all()


@pytest.mark.parametrize("faulty", [f"volume:JFK@{DAY}"], indirect=True)
def test_lost_volume_takes_that_origins_flights_and_their_labels(sound: FlightsStream, faulty: FlightsStream) -> None:
    gone = (pl.col("date") >= DAY) & (pl.col("origin") == "JFK")

    labels = {name for day in faulty.days() for name in day.label_ids}

    assert faulty.later.equals(sound.later.filter(~gone))
    assert labels.isdisjoint(sound.later.filter(gone)["prediction_id"])


def test_another_fault_leaves_the_first_stream_as_it_was(sound: FlightsStream) -> None:
    before = sound.later

    faulty = sound.with_fault(parse_fault(f"volume:JFK@{DAY}"))

    assert faulty.later.height < before.height
    assert faulty.with_fault(None).later.equals(before)
    assert sound.fault is None
    assert sound.later is before


def with_fault(sound: FlightsStream, text: str) -> pl.DataFrame:
    rows = sound.later.filter(pl.col("date") >= DAY)
    return damaged(rows, parse_fault(f"{text}@{DAY}"), sound.training)


def test_units_become_the_other_ones(sound: FlightsStream) -> None:
    celsius, km = with_fault(sound, "units:temp")["temp"], with_fault(sound, "units:distance")["distance"]
    rows = sound.later.filter(pl.col("date") >= DAY)

    assert (celsius * 1.8 + 32 - rows["temp"]).drop_nans().abs().max() < 1e-9  # type: ignore[operator]
    assert (km / rows["distance"]).round(6).unique().to_list() == [1.609344]


@pytest.mark.parametrize("feature", UNITS)
def test_every_change_of_units_moves_the_feature(sound: FlightsStream, feature: str) -> None:
    rows = sound.later.filter(pl.col("date") >= DAY)
    assert differing(rows, with_fault(sound, f"units:{feature}"), feature).any()


def test_what_is_missing_is_nan_for_numbers_and_empty_for_a_category(sound: FlightsStream) -> None:
    assert with_fault(sound, "missing:temp")["temp"].is_nan().all()
    assert (with_fault(sound, "missing:dest")["dest"] == "").all()


def test_a_constant_is_the_median_or_the_mode_of_training(sound: FlightsStream) -> None:
    training = data.training_part(sound.training)

    temp, dest = with_fault(sound, "constant:temp")["temp"], with_fault(sound, "constant:dest")["dest"]

    assert temp.unique().to_list() == [training["temp"].drop_nans().median()]
    assert dest.unique().to_list() == [training["dest"].value_counts(sort=True)["dest"][0]]


def test_flipped_labels_are_the_opposite_and_missing_ones_stay_missing(sound: FlightsStream) -> None:
    before = sound.later.filter(pl.col("date") >= DAY, pl.col("carrier") == "UA")["late"]
    after = with_fault(sound, "labels:UA").filter(pl.col("carrier") == "UA")["late"]

    assert (before + after).drop_nulls().unique().to_list() == [1]
    assert after.null_count() == before.null_count() > 0


def test_a_renamed_carrier_is_new_everywhere(sound: FlightsStream) -> None:
    assert "UAL" in with_fault(sound, "new_category:UA")["carrier"].unique().to_list()
    assert "UA" not in with_fault(sound, "new_category:UA")["carrier"].unique().to_list()
    assert set(NEW_CODES) == {*data.load(SAMPLE)["carrier"]} | {"OO"}
    assert not set(NEW_CODES.values()) & set(NEW_CODES)


@pytest.mark.parametrize("faulty", [f"version:0.3@{DAY}"], indirect=True)
def test_a_release_answers_its_share_of_the_flights(faulty: FlightsStream) -> None:
    after = faulty.later.filter(pl.col("date") >= DAY)
    assert 0.27 < (after["version"] == "2013-06-30").mean() < 0.33  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("units:temp:JFK", ("units", "feature", "temp", "origin=JFK", 1.0, "")),
        ("missing:humid", ("missing", "feature", "humid", "all", 1.0, "")),
        ("constant:dest", ("constant", "feature", "dest", "all", 1.0, "")),
        ("labels:AA", ("labels", "label", "", "carrier=AA", 1.0, "")),
        ("new_category:B6", ("new_category", "feature", "carrier", "carrier=B6", 1.0, "JBU")),
        ("volume:LGA", ("volume", "volume", "", "origin=LGA", 1.0, "")),
        ("version:0.25", ("version", "version", "", "all", 0.25, "2013-06-30")),
    ],
)
def test_the_truth_names_the_feature_the_slice_and_the_day(text: str, truth: tuple[object, ...]) -> None:
    told = parse_fault(f"{text}@{DAY}").truth

    assert tuple(told[key] for key in ("kind", "changes", "feature", "slice", "share", "new")) == truth
    assert told["since"] == datetime(2013, 7, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "nonsense@2013-07-01", "units", "@2013-07-01"])
def test_an_unknown_or_half_written_fault_is_told_the_choices(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_fault(text)
    kind = text.partition("@")[0]
    expected = [CHOICES[kind]] if kind in CHOICES else list(CHOICES.values())
    assert all(any(choice in problem for problem in raised.value.problems) for choice in expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("units:temp", "'' is no day"),
        ("units:temp@2013-03-31", "no day from 2013-04-01"),
        ("units:temp@2014-01-01", "to 2013-12-31"),
        ("units:temp@soon", "'soon' is no day"),
        ("units@2013-07-01", "0 argument"),
        ("units:humid@2013-07-01", "'humid' is none of temp"),
        ("units:temp:BOS@2013-07-01", "'BOS' is none of EWR, JFK, LGA"),
        ("missing:temp:JFK:x@2013-07-01", "3 argument"),
        ("missing:carrier@2013-07-01", "it is also a slice"),
        ("constant:dep_delay@2013-07-01", "'dep_delay' is none of"),
        ("labels:ZZ@2013-07-01", "'ZZ' is none of 9E"),
        ("labels@2013-07-01", "0 argument"),
        ("new_category:UAL@2013-07-01", "'UAL' is none of"),
        ("volume:BOS@2013-07-01", "'BOS' is none of"),
        ("version:0@2013-07-01", "'0' is no share"),
        ("version:nan@2013-07-01", "'nan' is no share"),
        ("delay:0@2013-07-01", "'0' is no number of days"),
        ("lost:some@2013-07-01", "'some' is none of late"),
        ("swap:temp@2013-07-01", "1 argument"),
        ("join:UA@2013-07-01", "1 argument"),
        ("version:all@2013-07-01", "'all' is no share"),
    ],
)
def test_a_wrong_argument_is_named(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_fault(text)
    assert reason in str(raised.value)
    assert text in str(raised.value)


def test_a_fault_is_drawn_only_where_it_changes_most_of_the_values_it_is_about() -> None:
    rows = data.load(SAMPLE)
    dry = rows.with_columns(precip=pl.lit(0.0))
    drawn = [drawn_faults(dry, DAY + timedelta(days=at), len(CHOICES)) for at in range(40)]

    assert all(sorted({each.partition("@")[0].split(":")[0] for each in day}) == sorted(CHOICES) for day in drawn)
    named = {each.partition("@")[0] for day in drawn for each in day}
    assert not any(each.startswith(("outliers:precip", "units:precip", "precision:precip")) for each in named)
    assert any(each.startswith("outliers:") for each in named)
