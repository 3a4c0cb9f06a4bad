"""What a model's own past teaches: its task, when labels come, and an estimator; learned anew once a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from tidegauge.config import Performance, Watch
from tidegauge.detectors.performance.answers import Answers, answers
from tidegauge.detectors.performance.arrival import Arrival, learn
from tidegauge.detectors.performance.estimators import Estimator, fitted
from tidegauge.detectors.performance.reading import Reader, Rows
from tidegauge.detectors.performance.task import Task, codes, infer
from tidegauge.detectors.statistics.arrays import BoolArray, FloatArray, IntArray
from tidegauge.model import Window

FEWEST = 30
"""Labelled rows that a task can be told from."""
ENOUGH = 2000
"""Labelled predictions of the recent past with which the training set is no longer asked."""
KEPT = timedelta(days=1)


@dataclass(frozen=True)
class Lesson:
    """What was learned until the end of a window, ``until``. ``estimator`` is text where there is none: why."""

    until: datetime
    task: Task
    arrival: Arrival | None
    estimator: Estimator | str

    def holds_for(self, window: Window) -> bool:
        """Whether it is not yet time to learn again."""
        return window.end < self.until + KEPT


def learned(
    reader: Reader, model: str, settings: Performance, window: Window, now: datetime, wait_days: float
) -> Lesson | None:
    """From labelled predictions before ``window``, and the training rows where those are few; None without labels.

    An estimator learns only from predictions before the window whose labels have all had time to come, so that fast
    labels do not stand for all and no estimate knows its own answer.
    """
    span: Window | None = Window(window.start - timedelta(days=settings.estimate_from_days), window.end)
    recent = reader.read(model, span, (), now)
    wait_s = wait_days * 86_400
    source, usable = recent, _settled(recent, window, now, wait_s)
    if int(usable.sum()) < ENOUGH and reader.size(model, None):
        training = reader.read(model, None, (), now)
        if int(training.labelled.sum()) > int(usable.sum()):
            span, source, usable = None, training, training.labelled
    known = source if usable.any() else recent
    if int(known.labelled.sum()) < FEWEST:
        return None
    task = infer(known.said, known.label, known.score, settings.task, settings.positive)
    arrival = learn(recent.delay_s, strata(task, recent), ages(recent, now), wait_s)
    if task.kind == "regression" and settings.estimate:
        source = reader.read(model, span, (), now, features=True)
        usable = _settled(source, window, now, wait_s) if span else source.labelled
    return Lesson(window.end, task, arrival, _estimator(task, source, usable, settings))


def _settled(rows: Rows, window: Window, now: datetime, wait_s: float) -> BoolArray:
    """The labelled rows before ``window`` that are old enough for every label."""
    before = np.asarray(rows.at < window.start.timestamp())
    return rows.labelled & before & np.asarray(ages(rows, now) >= wait_s)


def dimensions(watch: Watch) -> tuple[str, ...]:
    """The declared dimensions, and always the version: releases are compared with the versions before them."""
    return tuple(dict.fromkeys(("version", *watch.slices)))


def strata(task: Task, rows: Rows) -> IntArray:
    """The stratum of each row's delay: its label, and whether the prediction agrees; 0 for models without classes."""
    if not task.classes:
        return np.zeros(len(rows), dtype=np.int64)
    said, label = codes(rows.said, task.classes), codes(rows.label, task.classes)
    return np.asarray(2 * np.maximum(label, 0) + (said == label), dtype=np.int64)


def measurable(
    task: Task, rows: Rows, settings: Performance, arrival: Arrival | None = None, now: datetime | None = None
) -> tuple[Answers, BoolArray]:
    """The labelled rows as answers, and which they are; weighted by arrival where ``arrival`` and ``now`` are given."""
    made, kept = answers(task, rows.said, rows.label, rows.score, rows.matrix(task.classes), settings.k)
    if arrival is None or now is None:
        return made, kept
    chances = arrival.chances(ages(rows, now)[kept], strata(task, rows)[kept])
    return Answers(made.task, made.said, made.truth, made.score, 1 / chances, made.k), kept


def ages(rows: Rows, now: datetime) -> FloatArray:
    """Seconds from each prediction to ``now``."""
    return np.asarray(now.timestamp() - rows.at, dtype=np.float64)


def _estimator(task: Task, rows: Rows, usable: BoolArray, settings: Performance) -> Estimator | str:
    if not settings.estimate:
        return "estimates are turned off"
    made, kept = measurable(task, rows, settings)
    return fitted(task, rows, made.take(usable[kept]), kept & usable, settings.metrics)
