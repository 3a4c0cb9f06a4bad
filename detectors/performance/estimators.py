"""What performance will turn out to be, estimated while labels are missing.

**Classes, confidence-based** (CBPE: NannyML 2022; Bialek, Perrakis, Kuberski and Schelter 2024, arXiv 2407.08649). A
calibrated score is the chance of each label, so every metric is computed with that chance in the place of the label.
**Numbers, direct loss estimation** (DLE: NannyML 2022). Gradient-boosted trees learn the loss from features and
prediction; the mean of what they expect is the estimate.

Both assume that the labels still depend on the inputs as they did in the reference: a change of that (concept drift)
moves performance and not its estimate. So each estimate carries how far off earlier ones were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from tidegauge.detectors.performance import catalogue
from tidegauge.detectors.performance.answers import MOST_CLASSES, Answers, positive_score, top
from tidegauge.detectors.performance.calibration import Calibration, calibrate
from tidegauge.detectors.performance.features import Encoding
from tidegauge.detectors.performance.measured import Measured, Measurement, bounded
from tidegauge.detectors.performance.reading import Rows
from tidegauge.detectors.performance.regression import root
from tidegauge.detectors.performance.task import Task, codes
from tidegauge.detectors.statistics.arrays import FloatArray, IntArray

FEWEST = 500
"""Labelled rows of the reference below which nothing is estimated."""
OFF = 0.01
"""By so much an estimate of accuracy may differ from the truth on the rows that it was fitted on, beside chance."""
LOSSES = ("mae", "rmse", "mape", "smape", "bias")


class Estimator(Protocol):
    """Fitted on labelled rows of the past; estimates metrics of rows without labels."""

    @property
    def method(self) -> str:
        """Its short name."""
        ...

    def estimate(
        self, rows: Rows, parts: Sequence[IntArray | None], metrics: Sequence[str], rng: np.random.Generator
    ) -> list[list[Measurement]]:
        """The metrics of each part of ``rows``; the interval is that of the value which labels will give.

        It holds what chance does to the labels, and not what the estimator does not know.
        """
        ...


@dataclass(frozen=True)
class ByConfidence:
    """CBPE. Of a binary model the chance of the positive class where it said no, and where it said yes, because not
    every prediction is its score beyond a threshold; of several classes a curve each; or, without their probabilities,
    one for being right.
    """

    task: Task
    curves: tuple[Calibration, ...]
    method: str = "cbpe"

    def estimate(
        self, rows: Rows, parts: Sequence[IntArray | None], metrics: Sequence[str], rng: np.random.Generator
    ) -> list[list[Measurement]]:
        """See ``Estimator``. The interval is as wide as that of labels drawn once by their chances."""
        soft = self._soft(rows)
        drawn = replace(soft, truth=_drawn(soft.truth, soft.said, self.only_right, rng))
        wanted = metrics or catalogue.names(self.task.kind, soft.k)
        possible = [each for each in wanted if not self.only_right or each in ("accuracy", "ece")]
        places = np.cumsum(np.asarray(self._usable(rows))) - 1
        found = []
        for part in parts:
            own = None if part is None else places[part[self._usable(rows)[part]]]
            found.append(list(_with_width(soft.take(own), drawn.take(own), possible)))
        return found

    @property
    def only_right(self) -> bool:
        """Whether it knows no more than how likely the predicted one of several classes is to be right."""
        return self.task.kind == "multiclass" and len(self.curves) == 1

    def _usable(self, rows: Rows) -> Any:
        known = codes(rows.said, self.task.classes) >= 0
        matrix = rows.matrix(self.task.classes) if not self.only_right and self.task.kind == "multiclass" else None
        return known & (np.isfinite(rows.score) if matrix is None else np.isfinite(matrix).all(axis=1))

    def _soft(self, rows: Rows) -> Answers:
        """The usable rows, with the chance of each class as their truth."""
        kept = self._usable(rows)
        own, score, ones = codes(rows.said, self.task.classes)[kept], rows.score[kept], np.ones(int(kept.sum()))
        if self.task.kind == "binary":
            scores, one = positive_score(self.task, own, score), own.astype(np.float64)
            return Answers(self.task, one, self.chances(one, scores), scores, ones)
        said = np.eye(len(self.task.classes))[own]
        matrix = None if self.only_right else rows.matrix(self.task.classes)
        raw = top(own, score, said.shape[1]) if matrix is None else matrix[kept]
        return Answers(self.task, said, self.chances(said, raw), raw, ones)

    def chances(self, said: FloatArray, score: FloatArray) -> FloatArray:
        """Of each class, from what was predicted and its score, shaped as ``Answers`` has them."""
        if self.task.kind == "binary":
            return np.where(said == 1, self.curves[1](score), self.curves[0](score))
        if self.only_right:
            return np.asarray(said * self.curves[0](np.nansum(score, axis=1))[:, None])
        found = np.stack([curve(score[:, at]) for at, curve in enumerate(self.curves)], axis=1)
        return np.asarray(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True)
class ByLoss:
    """DLE: trees for each loss, and the variance that they leave unexplained."""

    encoding: Encoding
    trees: Mapping[str, tuple[Any, float]]
    method: str = "dle"

    def estimate(
        self, rows: Rows, parts: Sequence[IntArray | None], metrics: Sequence[str], rng: np.random.Generator
    ) -> list[list[Measurement]]:
        """See ``Estimator``; R2 is not among what can be estimated."""
        matrix = self.encoding.matrix(rows)
        usable = np.isfinite(rows.said.numbers())
        wanted = [name for name in metrics or LOSSES if name in self.trees]
        expected = {name: self.trees[name][0].predict(matrix) for name in wanted}
        found = []
        for part in parts:
            own = usable if part is None else part[usable[part]]
            found.append([_loss(name, expected[name][own], self.trees[name][1]) for name in wanted])
        return found


def fitted(task: Task, rows: Rows, labelled: Answers, kept: Any, metrics: Sequence[str]) -> Estimator | str:
    """The estimator of a task, fitted on labelled rows (``kept`` of ``rows``), or why there is none."""
    if task.kind == "ranking":
        return "a ranking says nothing of how likely it is to be right"
    if len(labelled) < FEWEST:
        return f"{len(labelled)} labelled rows to learn from are too few: {FEWEST} are needed"
    if task.kind == "regression":
        return _by_loss(rows, labelled, kept, [name for name in metrics or LOSSES if name in LOSSES])
    if len(task.classes) > MOST_CLASSES:
        return f"more than {MOST_CLASSES} classes"
    curves = list(_curves(task, labelled))
    known = [each for each in curves if each is not None]
    if not curves or len(known) < len(curves):
        return "too few rows have a score"
    return _believed(ByConfidence(task, tuple(known)), labelled)


def _believed(made: ByConfidence, labelled: Answers) -> Estimator | str:
    """The estimator, unless it is wrong already about the rows that it was fitted on."""
    finite = np.isfinite(labelled.score.reshape(len(labelled), -1))
    scored = labelled.take(np.asarray(finite.any(axis=1) if made.only_right else finite.all(axis=1)))
    right = scored.measure("accuracy")
    guess = replace(scored, truth=made.chances(scored.said, scored.score)).measure("accuracy")
    if not isinstance(right, Measured) or not isinstance(guess, Measured):
        return "too few rows have a score"
    off = abs(guess.value - right.value)
    if off <= OFF + 3 * right.error:
        return made
    return f"the scores promise an accuracy of {guess.value:.3g} where {right.value:.3g} came: they say little of it"


def _curves(task: Task, labelled: Answers) -> Iterator[Calibration | None]:
    if task.kind == "binary":
        kept = np.asarray(np.isfinite(labelled.score))
        whole = calibrate(labelled.score[kept], labelled.truth[kept], task.probabilities)
        for side in (0, 1):
            own = kept & (labelled.said == side)
            yield calibrate(labelled.score[own], labelled.truth[own], task.probabilities) or whole
    elif np.isfinite(labelled.score).all(axis=1).any():
        kept = np.asarray(np.isfinite(labelled.score).all(axis=1))
        for at in range(labelled.score.shape[1]):
            yield calibrate(labelled.score[kept, at], labelled.truth[kept, at], task.probabilities)
    else:
        confidence = np.nansum(labelled.score, axis=1)
        kept = np.asarray(np.isfinite(labelled.score).any(axis=1))
        right = (labelled.said * labelled.truth).sum(axis=1)
        yield calibrate(confidence[kept], right[kept], task.probabilities)


def _drawn(truth: FloatArray, said: FloatArray, only_right: bool, rng: np.random.Generator) -> FloatArray:
    """Labels as they may turn out: 0 or 1, one class a row."""
    if truth.ndim == 1:
        return (rng.random(len(truth)) < truth).astype(np.float64)
    if only_right:
        right = (rng.random(len(truth)) < truth.sum(axis=1)).astype(np.float64)
        return np.asarray(said * right[:, None], dtype=np.float64)
    chosen = (np.cumsum(truth, axis=1) < rng.random(len(truth))[:, None]).sum(axis=1)
    return np.asarray(np.eye(truth.shape[1])[np.minimum(chosen, truth.shape[1] - 1)], dtype=np.float64)


def _with_width(soft: Answers, drawn: Answers, metrics: Sequence[str]) -> Iterator[Measurement]:
    for metric in metrics:
        value, width = soft.measure(metric), drawn.measure(metric)
        if isinstance(value, Measured) and isinstance(width, Measured):
            low, high = value.value - (width.value - width.low), value.value + (width.high - width.value)
            yield replace(value, low=low, high=high)
        else:
            yield width if isinstance(value, Measured) else value


def _by_loss(rows: Rows, labelled: Answers, kept: Any, metrics: Sequence[str]) -> ByLoss:
    from sklearn.ensemble import HistGradientBoostingRegressor  # a second to import, and for models of numbers alone
    from threadpoolctl import threadpool_limits

    encoding = Encoding.of(rows)
    matrix = encoding.matrix(rows)[kept]
    trees: dict[str, tuple[Any, float]] = {}
    with threadpool_limits(1, user_api="openmp"):
        for name in metrics:
            loss = _per_row(name, labelled.said, labelled.truth)
            known = np.isfinite(loss)
            model = HistGradientBoostingRegressor(
                max_iter=60, max_leaf_nodes=15, min_samples_leaf=50, early_stopping=False, random_state=0,
                categorical_features=encoding.categorical,
            ).fit(matrix[known], loss[known])  # fmt: skip
            trees[name] = model, float(np.mean((loss[known] - model.predict(matrix[known])) ** 2))
    return ByLoss(encoding, trees)


def _per_row(metric: str, said: FloatArray, truth: FloatArray) -> FloatArray:
    error, nothing = said - truth, np.full(len(truth), np.nan)
    if metric == "mape":
        found = np.divide(np.abs(error), np.abs(truth), out=nothing, where=truth != 0)
    elif metric == "smape":
        size = np.abs(said) + np.abs(truth)
        found = np.divide(2 * np.abs(error), size, out=np.zeros(len(truth)), where=size > 0)
    else:
        found = {"mae": np.abs(error), "rmse": error**2, "bias": error}[metric]
    return np.asarray(found, dtype=np.float64)


def _loss(metric: str, expected: FloatArray, unexplained: float) -> Measurement:
    if not len(expected):
        return bounded(metric, np.nan, np.nan, 0)
    safe = expected if metric == "bias" else np.maximum(expected, 0.0)
    error = float(np.sqrt((np.var(safe) + unexplained) / len(safe)))
    found = bounded(metric, float(safe.mean()), error, len(safe))
    return root(found) if metric == "rmse" else found
