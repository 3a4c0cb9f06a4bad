from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from tidegauge.demo.flights import Day, FlightsStream, data, parse_fault
from tidegauge.demo.flights.model import MODEL, VERSION

SAMPLE = 0.03


@dataclass
class Recorder:
    """Stands in for the SDK's client and keeps what it was given."""

    predictions: list[tuple[pl.DataFrame, dict[str, Any]]] = field(default_factory=list)
    labels: list[tuple[Sequence[str], Sequence[Any], Sequence[datetime] | None]] = field(default_factory=list)

    def log_predictions(self, model: str, frame: Any, **options: Any) -> list[str]:
        assert model == MODEL
        self.predictions.append((frame, options))
        return list(frame[options["prediction_id"]])

    def log_labels(
        self, model: str, prediction_ids: Sequence[str], labels: Sequence[Any], *, timestamps: Sequence[datetime] | None
    ) -> None:
        assert model == MODEL
        self.labels.append((prediction_ids, labels, timestamps))


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return data.load(SAMPLE)


@pytest.fixture(scope="module")
def stream() -> FlightsStream:
    return FlightsStream(sample=SAMPLE)


@pytest.fixture(scope="module")
def days(stream: FlightsStream) -> list[Day]:
    return list(stream.days())


def test_the_days_follow_each_other_and_hold_each_later_flight_once(rows: pl.DataFrame, days: list[Day]) -> None:
    ids = [each for day in days for each in day.predictions_frame["prediction_id"]]

    assert Counter(ids) == Counter(data.later_part(rows)["prediction_id"])
    assert days[0].date == date(2013, 4, 1)
    assert [each.date - days[0].date for each in days] == [timedelta(days=each) for each in range(len(days))]
    assert all(
        day.end - timedelta(hours=25) <= moment < day.end
        for day in days
        for moment in day.predictions_frame["timestamp"]
    )


def test_every_label_comes_once_and_from_one_to_36_hours_after_the_arrival(rows: pl.DataFrame, days: list[Day]) -> None:
    known = data.later_part(rows).filter(pl.col("late").is_not_null())
    truth = {each["prediction_id"]: each for each in known.iter_rows(named=True)}
    sent = [each for day in days for each in zip(day.label_ids, day.labels, day.label_times, strict=True)]

    assert Counter(name for name, _, _ in sent) == dict.fromkeys(truth, 1)
    for name, label, moment in sent:
        assert label == truth[name]["late"]
        assert timedelta(hours=1) <= moment - truth[name]["arrival"] <= timedelta(hours=36)


def test_a_label_belongs_to_the_day_on_which_it_becomes_known(days: list[Day]) -> None:
    for before, day in pairwise(days):
        assert all(before.end <= moment < day.end for moment in day.label_times)


def test_after_december_only_labels_are_left(days: list[Day]) -> None:
    last = days[-1]

    assert last.date in (date(2014, 1, 1), date(2014, 1, 2))
    assert last.predictions_frame.height == 0
    assert last.label_ids


def test_the_training_set_has_the_flights_to_march_with_the_cross_fitted_scores(
    rows: pl.DataFrame, stream: FlightsStream
) -> None:
    assert stream.training["prediction_id"].to_list() == data.training_part(rows)["prediction_id"].to_list()
    assert stream.training["version"].unique().to_list() == [VERSION]
    assert stream.training["score"].to_list() == stream.fitted.training_scores.tolist()


def test_training_labels_come_after_the_arrival_and_before_the_first_morning(
    rows: pl.DataFrame, stream: FlightsStream
) -> None:
    arrivals = dict(data.training_part(rows).select("prediction_id", "arrival").drop_nulls().iter_rows())
    labels = stream.training_labels

    assert set(labels.ids) == set(arrivals)
    assert all(moment >= arrivals[name] for name, moment in zip(labels.ids, labels.times, strict=True))
    assert max(labels.times) < datetime(2013, 4, 1, 16, tzinfo=UTC)


def test_training_is_sent_in_one_call_with_its_role_and_its_labels(stream: FlightsStream) -> None:
    client = Recorder()

    stream.send_training(client)

    [(frame, options)] = client.predictions
    named = {*options["features"], *options["slices"]}
    named |= {options[each] for each in ("prediction", "score", "prediction_id", "timestamp")}
    assert named == set(frame.columns) - {"version"}
    assert (options["role"], options["version"], options["slices"]) == ("training", VERSION, ("carrier", "origin"))
    assert not frame.select(data.FEATURES).null_count().transpose().sum().item()
    assert len(client.labels) == 1


def test_a_day_is_one_call_for_predictions_and_one_for_labels(stream: FlightsStream, days: list[Day]) -> None:
    client = Recorder()

    stream.send_day(client, days[1])
    stream.send_day(client, days[-1])

    [(frame, options)] = client.predictions
    assert frame.drop("version").equals(days[1].predictions_frame.drop("version"))
    assert options["role"] == "production"
    assert client.labels == [(day.label_ids, day.labels, day.label_times) for day in (days[1], days[-1])]


def test_a_day_with_two_versions_is_one_call_for_each() -> None:
    stream, client = FlightsStream(parse_fault("version:0.5@2013-04-02"), sample=SAMPLE), Recorder()
    days = stream.days()

    for day in (next(days), next(days)):
        stream.send_day(client, day)

    sent = [(options["version"], frame["version"].unique().to_list()) for frame, options in client.predictions]
    assert sorted(sent) == [(VERSION, [VERSION])] * 2 + [("2013-04-01", ["2013-04-01"])]


def test_two_streams_of_the_same_arguments_are_equal(stream: FlightsStream, days: list[Day]) -> None:
    again = FlightsStream(sample=SAMPLE)

    assert again.training.equals(stream.training)
    for one, other in zip(days, again.days(), strict=True):
        assert one.predictions_frame.equals(other.predictions_frame)
        assert (one.label_ids, one.labels, one.label_times) == (other.label_ids, other.labels, other.label_times)


@pytest.mark.parametrize("sample", [0, -0.1, 1.1])
def test_a_sample_that_is_no_share_is_refused(sample: float) -> None:
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        FlightsStream(sample=sample)
