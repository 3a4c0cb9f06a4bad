"""What became of each prediction, as one number, and at what it is fair to compare it: for every kind of model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tidegauge.detectors.diagnose.rows import Floats, Ints, Rows
from tidegauge.detectors.labels import canonical
from tidegauge.detectors.performance import answers, ranking, task
from tidegauge.detectors.traffic import MOST_CLASSES, Category

Kind = Literal["two classes", "classes", "numbers", "lists"]
K = 10
NDCG = f"ndcg@{K}"
LABEL = "the mean label"
MIDDLE = (0.16, 0.5, 0.84)
"""Quantiles: half the distance of the outer two is the spread of errors, which a few wild ones do not change."""
FARTHEST = 2.5
"""Spreads at which an error of a predicted number is cut, so that a few wild ones decide nothing."""
MOST = 0.9
"""Of the known values, the share that has to be numbers where a model is said to predict numbers."""


@dataclass(frozen=True)
class Graded:
    """One entry a row.

    Attributes:
        value: Nan where unknown. Two classes with scores: the label, 0 or 1. Other classes: 1 where the label is the
            predicted class, else 0. Numbers: label less prediction. Lists: nDCG@10, unknown where nothing is relevant.
        at: What sums up the inputs: the score; of numbers the prediction. Nan where there is none.
        answer: Code of the predicted class, or of the first of the list; 0 where that says no more than ``at``.
        loss: Brier's, 1 where wrong, the absolute error, 1 - nDCG@10.
        what: Whose mean is compared, in words.
        same: At the same what, beside the score.
    """

    kind: Kind
    value: Floats
    at: Floats
    answer: Ints
    loss: Floats
    what: str
    same: str

    @classmethod
    def of(cls, rows: Rows) -> Graded | None:
        """None without labels or predictions. The kind is told from the earlier half, so that no fault changes it."""
        label, score, said = rows.outcome, rows.score, rows.prediction
        usual = np.arange(rows.count) < (rows.count + 1) // 2
        known = usual & (rows.label.codes >= 0)
        if not known.any():
            return None
        if label is not None and score is not None and np.isin(label[known], (0.0, 1.0)).all():
            none = np.zeros(rows.count, dtype=np.int64)
            return cls("two classes", label, score, none, (score - label) ** 2, "outcomes", "")
        if said is None:
            return None
        halves = _only(said, usual), _only(rows.label, usual)
        if all(map(_numbers, halves)) and any(map(_many, halves)):
            return _of_numbers(rows, said)
        at = score if score is not None else np.full(rows.count, np.nan)
        if task.infer(*halves, at[usual]).kind == "ranking":
            return _of_lists(rows, said, at)
        return _of_classes(rows, said, at)


def learned(rows: Rows) -> list[tuple[str, Floats]]:
    """Series of what labels say, one number a row; errors of numbers are in spreads, and cut at 2.5."""
    graded, label = rows.graded, rows.outcome
    if graded is None or not np.isfinite(graded.value).any():
        return []
    found = [(LABEL, label)] if label is not None else []
    if graded.kind == "numbers":
        low, middle, high = np.nanquantile(graded.value, MIDDLE)
        error = np.clip((graded.value - middle) / max((high - low) / 2, 1e-300), -FARTHEST, FARTHEST)
        return [*found, ("the mean error", error), ("the size of errors", np.abs(error))]
    if graded.kind == "lists":
        return [*found, (f"the mean {NDCG}", graded.value)]
    right = graded.value
    if graded.kind == "two classes":
        if rows.decision is None:
            return found
        right = np.where(np.isfinite(right), right == rows.decision, np.nan)
    return [*found, ("the agreement of labels and predictions", right)]


def _of_numbers(rows: Rows, said: Category) -> Graded:
    own, true = said.numbers(), rows.label.numbers()
    value = np.where(np.isfinite(own) & np.isfinite(true), true - own, np.nan)
    answer = np.zeros(rows.count, dtype=np.int64)
    return Graded("numbers", value, own, answer, np.abs(value), "errors (label less prediction)", "prediction")


def _of_classes(rows: Rows, said: Category, at: Floats) -> Graded:
    names = list(dict.fromkeys(map(canonical, (*said.names, *rows.label.names))))
    own, true = (task.codes(each, names).astype(np.int64) for each in (said, rows.label))
    value = np.where((own >= 0) & (true >= 0), own == true, np.nan)
    return Graded("classes", value, at, own, 1 - value, "hits (label is the predicted class)", "class")


def _of_lists(rows: Rows, said: Category, at: Floats) -> Graded:
    found, kept = answers.answers(task.Task("ranking"), said, rows.label, at, k=K)
    value = np.full(rows.count, np.nan)
    value[kept] = found.truth[:, ranking.names(K).index(NDCG)]
    firsts = [each[0] if each else "" for each in (ranking.parsed(name) or [] for name in said.names)]
    places = {name: place for place, name in enumerate(dict.fromkeys(firsts))}
    answer = np.array([*(places[each] for each in firsts), -1], dtype=np.int64)[said.codes]
    return Graded("lists", value, at, answer, 1 - value, NDCG, "first item")


def _only(column: Category, keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Category:
    return Category(column.codes[keep], column.names)


def _numbers(column: Category) -> bool:
    known = column.codes >= 0
    return bool(known.any()) and float(np.isfinite(column.numbers()[known]).mean()) >= MOST


def _many(column: Category) -> bool:
    return len(np.unique(column.codes[column.codes >= 0])) > MOST_CLASSES
