"""The year as a production stream: a training set, then day after day of predictions and of labels that come later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tidegauge.demo.flights import damage, data
from tidegauge.demo.flights.faults import LAST_DAY, Fault
from tidegauge.demo.flights.model import MODEL, Fitted, LateModel, fit, fit_with_a_bug

LABEL_DELAY_H = (1, 36)


class Client(Protocol):
    """The two calls of Tidegauge's SDK that the stream makes."""

    def log_predictions(
        self,
        model: str,
        frame: Any,
        *,
        features: Sequence[str],
        prediction: str,
        score: str | None,
        prediction_id: str | None,
        timestamp: str | None,
        slices: Sequence[str],
        version: str,
        role: str,
    ) -> list[str]: ...

    def log_labels(
        self, model: str, prediction_ids: Sequence[str], labels: Sequence[Any], *, timestamps: Sequence[datetime] | None
    ) -> Any: ...


@dataclass(frozen=True)
class Labels:
    """Outcomes that came in: for each prediction 1 (late) or 0, and when it became known (UTC)."""

    ids: list[str]
    values: list[int]
    times: list[datetime]


@dataclass(frozen=True)
class Day:
    """One day in New York: the flights scheduled on it, and the labels that arrived before its ``end`` (UTC).

    ``predictions_frame`` has ``prediction_id``, ``timestamp`` (UTC), the features, ``prediction`` (1 late, 0 not),
    ``score`` and ``version``. It is empty on the last days, when labels of December are still coming.
    """

    date: date
    end: datetime
    predictions_frame: pl.DataFrame
    label_ids: list[str]
    labels: list[int]
    label_times: list[datetime]


class FlightsStream:
    """Flights of 2013 as the model saw them; the same for the same arguments.

    A label is known 1 to 36 hours after the flight arrived; flights cancelled or diverted never get one. The training
    set's labels are all in by the end of March, or by the arrival of flights that were still in the air.

    Args:
        fault: what goes wrong, and from which day.
        sample: the share of flights to keep, above 0 to 1; the model is trained on the same share.
    """

    def __init__(self, fault: Fault | None = None, sample: float = 1.0) -> None:
        if not 0 < sample <= 1:
            raise ValueError(f"sample must be above 0 and up to 1, got {sample:g}")
        self.fault = fault
        self._rows = _with_label_times(data.load(sample))

    def with_fault(self, fault: Fault | None) -> FlightsStream:
        """The same flights and the same model, with ``fault`` in place of this stream's."""
        other = copy(self)
        other.__dict__.update(fault=fault, fitted=self.fitted)
        other.__dict__.pop("later", None)
        return other

    @cached_property
    def fitted(self) -> Fitted:
        """The model in production, and how good it was on days kept from it."""
        return fit(data.training_part(self._rows))

    @cached_property
    def training(self) -> pl.DataFrame:
        """January to March, in the columns of ``Day.predictions_frame`` and with ``late``, ``label_time``."""
        rows = data.training_part(self._rows)
        return _answered(rows, self.fitted.model, self.fitted.training_scores)

    @cached_property
    def later(self) -> pl.DataFrame:
        """April to December with the fault in it, in the columns of ``training``."""
        rows, model, fault = data.later_part(self._rows), self.fitted.model, self.fault
        if fault is None:
            return _answered(rows, model, model.score(rows))
        rows = damage.damaged(rows, fault, data.training_part(self._rows))
        scores = damage.scores_of(rows, fault, model.score(damage.read_by_model(rows, fault)))
        before = damage.answers_of(_answered(rows, model, scores), fault)
        return self._released(before) if fault.kind == "version" else before

    @cached_property
    def training_labels(self) -> Labels:
        """The training set's labels."""
        return _labels(self.training)

    def days(self) -> Iterator[Day]:
        """Every day from 2013-04-01 until the last label is in."""
        flights = _by_day(self.later, pl.col("date"))
        labels = _by_day(self.later.filter(pl.col("late").is_not_null()), _new_york_date("label_time"))
        none = self.later.clear()
        first, last = data.LAST_TRAINING_DAY + timedelta(days=1), max((LAST_DAY, *labels))
        for day in (first + timedelta(days=each) for each in range((last - first).days + 1)):
            known = _labels(labels.get(day, none))
            ids, frame = known.ids, flights.get(day, none).drop("date", "late", "label_time")
            if self.fault is not None and day >= self.fault.since:
                ids, frame = damage.logged_ids(ids, self.fault), damage.logged(frame, self.fault)
            yield Day(day, data.day_end(day), frame, ids, known.values, known.times)

    def send_training(self, client: Client) -> None:
        """Log the training set, in the role ``training``, and its labels."""
        send_predictions(client, self.training.drop("date", "late", "label_time"), role="training")
        known = self.training_labels
        client.log_labels(MODEL, known.ids, known.values, timestamps=known.times)

    def send_day(self, client: Client, day: Day) -> None:
        """Log a day's predictions, in one call a version, and the labels that arrived on it."""
        send_predictions(client, day.predictions_frame, role="production")
        if day.label_ids:
            client.log_labels(MODEL, day.label_ids, day.labels, timestamps=day.label_times)

    def _released(self, before: pl.DataFrame) -> pl.DataFrame:
        """``before``, with the faulty release's answers on its share of the flights."""
        assert self.fault is not None
        bad = fit_with_a_bug(self.training, self.fitted.model, self.fault.release)
        chosen = pl.Series(data.draw(before["prediction_id"], "version") < self.fault.share)
        scores = bad.score(before)
        after = _answered(before, bad, scores)
        answers = ("score", "prediction", "version")
        here = self.fault.touches() & chosen
        return before.with_columns(pl.when(here).then(after[each]).otherwise(each).alias(each) for each in answers)


def _with_label_times(rows: pl.DataFrame) -> pl.DataFrame:
    """``label_time`` in place of ``arrival``."""
    first, last = LABEL_DELAY_H
    delay_h = first + (last - first) * data.draw(rows["prediction_id"], "label")
    usual = pl.col("arrival") + pl.Series(delay_h * 3.6e9).cast(pl.Duration("us"))
    training_end = pl.lit(data.day_end(data.LAST_TRAINING_DAY)).cast(pl.Datetime("us", "UTC"))
    hurried = pl.min_horizontal(usual, pl.max_horizontal("arrival", training_end))
    time = pl.when(pl.col("date") <= data.LAST_TRAINING_DAY).then(hurried).otherwise(usual)
    return rows.with_columns(label_time=pl.when(pl.col("late").is_not_null()).then(time)).drop("arrival")


def _answered(rows: pl.DataFrame, model: LateModel, scores: NDArray[np.float64]) -> pl.DataFrame:
    """``rows`` with the model's answer to each."""
    decisions = pl.Series(model.decide(scores))
    return rows.with_columns(prediction=decisions, score=pl.Series(scores), version=pl.lit(model.version))


def _by_day(rows: pl.DataFrame, day: pl.Expr) -> dict[date, pl.DataFrame]:
    parts = rows.with_columns(day.alias("day")).partition_by("day", as_dict=True, include_key=False)
    return {key[0]: part for key, part in parts.items()}


def _new_york_date(column: str) -> pl.Expr:
    return pl.col(column).dt.convert_time_zone(data.NEW_YORK).dt.date()


def _labels(rows: pl.DataFrame) -> Labels:
    known = rows.filter(pl.col("late").is_not_null()).sort("label_time", "prediction_id")
    return Labels(known["prediction_id"].to_list(), known["late"].to_list(), known["label_time"].to_list())


def send_predictions(client: Client, frame: pl.DataFrame, *, role: str) -> None:
    """Log the flights of ``frame``, which has a column ``version``, with their versions."""
    for part in frame.partition_by("version", maintain_order=True) if frame.height else []:
        client.log_predictions(
            MODEL,
            part,
            features=data.FEATURES,
            prediction="prediction",
            score="score",
            prediction_id="prediction_id",
            timestamp="timestamp",
            slices=data.SLICES,
            version=part["version"][0],
            role=role,
        )
