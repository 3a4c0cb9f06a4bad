"""Predictions beside their truth, in the form that each kind of model is measured in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tidegauge.detectors.performance import catalogue, classes, probabilities, ranking, regression
from tidegauge.detectors.performance.measured import Measured, Measurement, unknown
from tidegauge.detectors.performance.ranks import average_precision, macro_roc_auc, roc_auc
from tidegauge.detectors.performance.task import Task, codes
from tidegauge.detectors.statistics.arrays import BoolArray, FloatArray, IntArray
from tidegauge.detectors.traffic import Category, Codes

MOST_CLASSES = 50
PLACES = {"precision": classes.precision, "recall": classes.recall, "f1": classes.f1}
RANKS = {"roc_auc": roc_auc, "average_precision": average_precision}
HONESTY = {"log_loss": probabilities.log_loss, "brier": probabilities.brier, "ece": probabilities.ece}


@dataclass(frozen=True)
class Answers:
    """Rows of one kind of model.

    ``said``, ``truth`` and ``score`` are rows, or rows by classes where there are more than two (by metrics for
    rankings, which are measured list by list). ``score`` is NaN where it is missing.
    """

    task: Task
    said: FloatArray
    truth: FloatArray
    score: FloatArray
    weights: FloatArray
    k: int = 10

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, rows: IntArray | BoolArray | None) -> Answers:
        """Only these rows; None is all."""
        if rows is None:
            return self
        parts = {name: getattr(self, name)[rows] for name in ("said", "truth", "score", "weights")}
        return replace(self, **parts)

    def measure(self, metric: str) -> Measurement:
        """One metric of all rows; ``catalogue.names`` has those of each task."""
        if not len(self):
            return unknown(metric, "no labelled rows", 0)
        return {"binary": _binary, "multiclass": _multiclass, "regression": _regression, "ranking": _ranking}[
            self.task.kind
        ](self, metric)


def answers(
    task: Task,
    said: Category,
    label: Category,
    score: FloatArray,
    matrix: FloatArray | None = None,
    k: int = 10,
) -> tuple[Answers, BoolArray]:
    """The rows that can be measured, unweighted, and which of all those are.

    ``matrix`` holds the probabilities of the classes, rows by ``task.classes``, where a model of several sends them.
    """
    made = {"regression": _numbers, "ranking": _lists}.get(task.kind)
    if made:
        return made(task, said, label, score, k)
    own, true = codes(said, task.classes), codes(label, task.classes)
    kept: BoolArray = (own >= 0) & (true >= 0)
    ones = np.ones(int(kept.sum()))
    if task.kind == "binary":
        scores = positive_score(task, own, score)[kept]
        return Answers(task, own[kept].astype(np.float64), true[kept].astype(np.float64), scores, ones, k), kept
    if len(task.classes) > MOST_CLASSES:
        right = (own == true)[kept].astype(np.float64)[:, None]
        return Answers(task, right, np.ones_like(right), score[kept][:, None], ones, k), kept
    eye = np.eye(len(task.classes))
    scores = matrix[kept] if matrix is not None else top(own[kept], score[kept], len(task.classes))
    return Answers(task, eye[own[kept]], eye[true[kept]], scores, ones, k), kept


def positive_score(task: Task, said: Codes, score: FloatArray) -> FloatArray:
    """The score of the positive class, whichever class it was sent for."""
    return np.asarray(np.where(said == 1, score, 1 - score)) if task.confidence else score


def top(said: Codes, score: FloatArray, count: int) -> FloatArray:
    """The confidence at the predicted class, NaN at all others."""
    found = np.full((len(said), count), np.nan)
    found[np.arange(len(said)), said] = score
    return found


def _numbers(task: Task, said: Category, label: Category, score: FloatArray, k: int) -> tuple[Answers, BoolArray]:
    own, true = said.numbers(), label.numbers()
    kept = np.isfinite(own) & np.isfinite(true)
    return Answers(task, own[kept], true[kept], score[kept], np.ones(int(kept.sum())), k), kept


def _lists(task: Task, said: Category, label: Category, score: FloatArray, k: int) -> tuple[Answers, BoolArray]:
    """The metrics of every list; the same list and label are measured once."""
    lists, gains = [ranking.parsed(name) for name in said.names], [ranking.relevant(name) for name in label.names]
    found = np.full((len(score), 4), np.nan)
    kept = (said.codes >= 0) & (label.codes >= 0)
    known: dict[tuple[int, int], tuple[float, ...]] = {}
    for row in np.flatnonzero(kept):
        key = int(said.codes[row]), int(label.codes[row])
        own, good = lists[key[0]], gains[key[1]]
        if own is None or good is None:
            kept[row] = False
        elif good:
            found[row] = known[key] if key in known else known.setdefault(key, ranking.measures(own, good, k))
    return Answers(task, found[kept], found[kept], score[kept], np.ones(int(kept.sum())), k), kept


def _binary(rows: Answers, metric: str) -> Measurement:
    if metric == "accuracy":
        right = rows.said * rows.truth + (1 - rows.said) * (1 - rows.truth)
        return classes.accuracy(right, rows.weights)
    if metric in PLACES:
        return PLACES[metric](rows.said, rows.truth, rows.weights)
    if metric in HONESTY and not rows.task.probabilities:
        return unknown(metric, "the score is no probability", len(rows))
    return _scored(rows.score, rows.truth, rows.weights, metric, (RANKS | HONESTY)[metric])


def _scored(
    score: FloatArray,
    truth: FloatArray,
    weights: FloatArray,
    metric: str,
    compute: Callable[[FloatArray, FloatArray, FloatArray], Measurement],
) -> Measurement:
    """Of the rows with a score."""
    kept = np.asarray(np.isfinite(score).reshape(len(score), -1).all(axis=1))
    if not kept.any():
        return unknown(metric, "no scores", len(score))
    found = compute(score[kept], truth[kept], weights[kept])
    return found.without(len(kept) - int(kept.sum())) if isinstance(found, Measured) else found


def _multiclass(rows: Answers, metric: str) -> Measurement:
    right = (rows.said * rows.truth).sum(axis=1)
    if metric == "accuracy":
        return classes.accuracy(right, rows.weights)
    if metric == "ece":
        if not rows.task.probabilities:
            return unknown(metric, "the score is no probability", len(rows))
        confidence = np.where(rows.said > 0, rows.score, 0).sum(axis=1)
        return _scored(confidence, right, rows.weights, metric, probabilities.ece)
    if rows.said.shape[1] < 2:
        return unknown(metric, f"more than {MOST_CLASSES} classes", len(rows))
    if metric in PLACES:
        return classes.macro(metric, rows.said, rows.truth, rows.weights)
    every = {"roc_auc": macro_roc_auc, "log_loss": probabilities.log_loss, "brier": probabilities.brier}
    if not np.isfinite(rows.score).all(axis=1).any():
        return unknown(metric, "needs the probability of every class, as features probability.CLASS", len(rows))
    return _scored(rows.score, rows.truth, rows.weights, metric, every[metric])


def _regression(rows: Answers, metric: str) -> Measurement:
    compute: Callable[..., Measurement] = getattr(regression, metric)
    return compute(rows.said, rows.truth, rows.weights)


def _ranking(rows: Answers, metric: str) -> Measurement:
    at = ranking.names(rows.k).index(metric)
    return ranking.mean_of(metric, rows.truth[:, at], rows.weights)


def every(rows: Answers, metrics: Sequence[str]) -> Iterator[Measurement]:
    """All ``metrics`` of the rows that the task has."""
    known = catalogue.names(rows.task.kind, rows.k)
    yield from map(partial(Answers.measure, rows), (each for each in metrics or known if each in known))
