"""The model under watch: gradient-boosted trees that say, at scheduled departure, whether a flight will arrive late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tidegauge.demo.flights.data import CATEGORICAL, LAST_TRAINING_DAY, NUMERIC, TIMETABLE
from tidegauge.errors import MissingExtra

MODEL = "flight-delay"
VERSION = LAST_TRAINING_DAY.isoformat()
FOLDS = 3
_DAYS_PER_BLOCK = 5
_SETTINGS = {"max_iter": 40, "learning_rate": 0.15, "max_leaf_nodes": 15, "min_samples_leaf": 100}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """How well scores fit labels: ``auc`` and ``brier`` in 0 to 1, ``late_rate`` among ``flights`` labelled ones."""

    flights: int
    late_rate: float
    auc: float
    brier: float


@dataclass(frozen=True)
class LateModel:
    """A fitted model. ``score`` is a probability of arriving more than 15 minutes late; late means >= ``threshold``."""

    version: str
    threshold: float
    trees: Any
    tables: dict[str, list[str]]

    def score(self, rows: pl.DataFrame) -> Floats:
        """The probability of a late arrival, for each row."""
        return np.asarray(self.trees.predict_proba(encode(rows, self.tables))[:, 1], dtype=np.float64)

    def decide(self, scores: Floats) -> NDArray[np.int8]:
        """1 where the flight is called late, else 0."""
        return (scores >= self.threshold).astype(np.int8)


@dataclass(frozen=True)
class Fitted:
    """A model, the scores that models of the same kind gave to days kept from them, and how good those are."""

    model: LateModel
    training_scores: Floats
    quality: Quality


def fit(training: pl.DataFrame, version: str = VERSION) -> Fitted:
    """Fit on every labelled flight of ``training``; deterministic.

    Scores of the training flights come from cross-fitting over blocks of five days, so that they are as good as on
    new days of the same season and no better. The threshold calls as many flights late as were.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    tables = {name: training[name].unique().sort().to_list() for name in CATEGORICAL}
    matrix, late = encode(training, tables), training["late"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    labelled = ~np.isnan(late)
    fold = training["date"].dt.ordinal_day().to_numpy() // _DAYS_PER_BLOCK % FOLDS
    scores = np.empty(training.height)
    for each in range(FOLDS):
        kept = labelled & (fold != each)
        scores[fold == each] = _train(matrix[kept], late[kept]).predict_proba(matrix[fold == each])[:, 1]
    quality = assess(scores[labelled], late[labelled])
    threshold = float(np.quantile(scores[labelled], 1 - quality.late_rate))
    trees = _train(matrix[labelled], late[labelled])
    return Fitted(LateModel(version, threshold, trees, tables), scores, quality)


def fit_with_a_bug(training: pl.DataFrame, model: LateModel, version: str) -> LateModel:
    """A later release whose training set was joined wrongly: timetable and categories belong to other flights.

    Its scores are spread much as before and average about the same, but they rank flights far worse.
    """
    labelled = training.filter(pl.col("late").is_not_null())
    other = labelled.select(*TIMETABLE, *CATEGORICAL)[np.random.default_rng(2013).permutation(labelled.height)]
    matrix, late = encode(labelled.with_columns(other), model.tables), labelled["late"].to_numpy()
    trees = _train(matrix, late)
    threshold = float(np.quantile(trees.predict_proba(matrix)[:, 1], 1 - late.mean()))
    return LateModel(version, threshold, trees, model.tables)


def encode(rows: pl.DataFrame, tables: dict[str, list[str]]) -> Floats:
    """The features as one matrix; a category becomes its place in its table, nan when it is not there."""
    places = [
        pl.col(name).replace_strict(tables[name], list(range(len(tables[name]))), default=None, return_dtype=pl.Float64)
        for name in CATEGORICAL
    ]
    return rows.select(*NUMERIC, *places).cast(pl.Float64).fill_null(float("nan")).to_numpy()


def assess(scores: Floats, late: Floats) -> Quality:
    """Quality of ``scores`` against ``late`` (0 or 1); ``auc`` is nan when only one class is there."""
    positives = int(late.sum())
    negatives = len(late) - positives
    return Quality(len(late), float(late.mean()), auc(scores, late, positives, negatives), brier(scores, late))


def auc(scores: Floats, late: Floats, positives: int, negatives: int) -> float:
    """The chance that a late flight scores above an on-time one, ties counted half."""
    if not positives or not negatives:
        return float("nan")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(count) - (count - 1) / 2
    return float((middle_rank[place][late == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def brier(scores: Floats, late: Floats) -> float:
    """The mean squared distance of score and outcome."""
    return float(np.mean((scores - late) ** 2))


def _train(matrix: Floats, late: Floats) -> Any:
    """Fitted trees. One thread: on busy cores, two of them wait for each other far longer than they compute."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits
    except ImportError as missing:
        raise MissingExtra("the flights demo", "demo") from missing
    categorical = list(range(len(NUMERIC), len(NUMERIC) + len(CATEGORICAL)))
    trees = HistGradientBoostingClassifier(
        **_SETTINGS, categorical_features=categorical, early_stopping=False, random_state=0
    )
    with threadpool_limits(1, user_api="openmp"):
        return trees.fit(matrix, late)
