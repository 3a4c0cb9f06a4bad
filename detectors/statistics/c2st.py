"""Classifier two-sample test: can the window be told from the reference, row by row?"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.statistics.arrays import FloatArray, Matrix
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled

Rows: TypeAlias = NDArray[np.int64]
FLOOR = 0.03
FOLDS = 5
LEAST_ROWS = 20
RIDGE = 1.0
"""Of the mean variance of a column, for each row: enough that as many columns as rows do no harm."""
FARTHEST = 1e4


def c2st(
    reference: Matrix,
    current: Matrix,
    *,
    permutations: int = 199,
    rng: np.random.Generator,
    floor: float = FLOOR,
) -> Outcome:
    """Area under the ROC curve of a ridge classifier on rows that it was not trained on, less a half, times 2.

    Each fifth of the rows is scored by weights fitted on the other four, in closed form; the areas within the fifths
    are averaged. Range: -1 to 1; 0: nothing tells the samples apart; no unit; symmetric. p = (1 + hits) / (1 +
    permutations) over exchanges of the labels, each trained and scored anew (one product of matrices serves all), so it
    holds whatever the rows look like and although folds share their training rows, which a binomial law ignores.
    ``effect`` is the value, not below 0; the floor, 0.03, is a little under the 0.05 that 5 % of the rows moving to a
    wholly new topic can reach at most. Rows with a NaN or an infinity are dropped and counted.
    Sources: Lopez-Paz and Oquab, International Conference on Learning Representations, 2017; for permutations: Kim,
    Ramdas, Singh and Wasserman, Annals of Statistics, 2021.

    >>> rng = np.random.default_rng(0)
    >>> result = c2st(rng.normal(size=(100, 3)), rng.normal(size=(80, 3)) + 1, rng=rng)
    >>> result.value > 0.5, result.p_value
    (True, 0.005)
    """
    left, dropped_reference = _whole(reference)
    right, dropped_current = _whole(current)
    n, m = len(left), len(right)
    rows = _scaled(left, right) if not (reason := _reason(left, right)) else None
    if rows is None:
        return Undetermined("c2st", reason or "the rows have no spread", n, m)
    folds = _folds(n, m, rng)
    areas = _areas(rows, _labels(n, m, permutations, folds, rng), folds)
    hits = int(np.count_nonzero(areas[1:] >= areas[0] - 1e-12))
    value, dropped = float(2 * areas[0] - 1), (dropped_reference, dropped_current)
    result = Result("c2st", value, (1 + hits) / (1 + permutations), max(0.0, value), floor, n, m, *dropped)
    return settled(result)


def _whole(values: Matrix) -> tuple[FloatArray, int]:
    rows = np.asarray(values, dtype=np.float64)
    rows = rows.reshape(len(rows), -1) if rows.size else rows.reshape(0, rows.shape[-1])
    kept = np.isfinite(rows).all(axis=1)
    return rows[kept], int(np.count_nonzero(~kept))


def _reason(left: FloatArray, right: FloatArray) -> str:
    if min(len(left), len(right)) < LEAST_ROWS:
        return f"{min(len(left), len(right))} rows are too few: {LEAST_ROWS} are needed"
    if left.shape[1] != right.shape[1]:
        return f"the vectors do not match: {left.shape[1]} against {right.shape[1]} dimensions"
    return ""


def _scaled(left: FloatArray, right: FloatArray) -> NDArray[np.float32] | None:
    """All rows about their middle, in units of their spread, and a column of ones; None where there is no spread."""
    with np.errstate(all="ignore"):
        rows = np.concatenate([left, right]) - np.median(left, axis=0)
        width = float(np.median(np.abs(rows[rows != 0]))) if (rows != 0).any() else 0.0
        if not 0 < width < np.inf:
            return None
        near = np.clip(rows / width, -FARTHEST, FARTHEST)
    return np.concatenate([near, np.ones((len(near), 1))], axis=1).astype(np.float32)


def _folds(n: int, m: int, rng: np.random.Generator) -> list[Rows]:
    """The rows of each fold, in any order: both samples are dealt evenly."""
    fold = np.concatenate([rng.permutation(np.arange(size) % FOLDS) for size in (n, m)])
    return [rng.permutation(np.flatnonzero(fold == each)) for each in range(FOLDS)]


def _labels(n: int, m: int, permutations: int, folds: list[Rows], rng: np.random.Generator) -> NDArray[np.float32]:
    """One column for each labelling, 1 where a row counts as current; exchanged within folds, so each stays as full."""
    labels = np.zeros((n + m, permutations + 1), dtype=np.float32)
    labels[n:] = 1
    for here in folds:
        labels[here, 1:] = rng.permuted(np.repeat(labels[here, :1], permutations, axis=1), axis=0)
    return labels


def _areas(rows: NDArray[np.float32], labels: NDArray[np.float32], folds: list[Rows]) -> FloatArray:
    """The mean area of every labelling over the folds. What a fold adds to the products is taken off the whole."""
    target = labels - labels.mean(axis=0)
    squares = [rows[part].T @ rows[part] for part in folds]
    products = [rows[part].T @ target[part] for part in folds]
    gram, product = (np.asarray(sum(each), dtype=np.float64) for each in (squares, products))
    columns = len(gram) - 1
    penalty = np.diag([*[RIDGE * float(np.trace(gram[:columns, :columns])) / columns] * columns, 1e-6])
    areas = np.zeros(labels.shape[1])
    for part, square, own in zip(folds, squares, products, strict=True):
        weights = np.linalg.solve(gram - square + penalty, product - own)
        areas += _area(rows[part] @ weights.astype(np.float32), labels[part])
    return areas / FOLDS


def _area(scores: NDArray[np.float32], labels: NDArray[np.float32]) -> FloatArray:
    """By column: the chance that a current row scores higher than a reference row (Mann and Whitney).

    Rows are in any order, so equal scores are ranked by chance, in the true labelling as in the others.
    """
    found = np.ascontiguousarray(np.take_along_axis(labels, np.argsort(scores, axis=0, kind="stable"), axis=0))
    ones = float(labels[:, 0].sum())
    ranks = np.arange(1, len(labels) + 1, dtype=np.float64) @ found
    return np.asarray((ranks - ones * (ones + 1) / 2) / (ones * (len(labels) - ones)))
