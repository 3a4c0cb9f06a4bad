"""What each feature, and the score, should be by all the others: ridge regressions that share one matrix of sums."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.rows import Floats, Ints
from tidegauge.detectors.traffic import Category

MOST_NAMES = 24
FOLDS = 4
BLOCK_DAYS = 2
RIDGE = 3.0
MOST_FITTED = 60_000

Columns = NDArray[np.float32]


@dataclass(frozen=True)
class Design:
    """Columns made of the features, each with the features that it was made of.

    Numbers come standardised on the days before and kept within twice
    the range that was seen then, with their squares and products, and a
    flag where they are missing; texts as flags of their most frequent values; the hour of the event as a wave.
    """

    matrix: Columns
    made_of: tuple[frozenset[str], ...]
    fold: Ints
    fitted: Ints

    @classmethod
    def of(cls, case: Case) -> Design:
        """All features."""
        columns: list[Columns] = [np.ones(case.rows.count, dtype=np.float32)]
        made: list[frozenset[str]] = [frozenset()]
        numbers = {n: standard(v, case) for n, v in case.rows.traffic.numeric.items() if n != "score"}
        for name, values in numbers.items():
            columns.append(values)
            made.append(frozenset({name}))
        names = list(numbers)
        for at, one in enumerate(names):
            for two in names[at:]:
                columns.append(numbers[one] * numbers[two])
                made.append(frozenset({one, two}))
        for name, flags in _flags(case):
            columns.append(flags)
            made.append(frozenset({name}))
        columns += _waves(case.rows.seconds)
        made += [frozenset[str]()] * 2
        fold = np.mod(np.floor_divide(case.day, BLOCK_DAYS), FOLDS)
        fitted = np.flatnonzero(case.before)
        step = max(1, len(fitted) // MOST_FITTED)
        return cls(np.stack(columns, axis=1), tuple(made), fold.astype(np.int64), fitted[::step])

    @cached_property
    def grams(self) -> NDArray[np.float64]:
        """Sums of products of columns over the fitted rows, for each fold."""
        return np.stack([self._gram(each) for each in range(FOLDS)])

    def _gram(self, fold: int) -> NDArray[np.float64]:
        rows = self.matrix[self.fitted[self.fold[self.fitted] == fold]]
        found: Floats = (rows.T @ rows).astype(np.float64)
        return found

    def residual(self, target: Floats, leave_out: frozenset[str]) -> tuple[Floats, float]:
        """Target less its prediction, nan where it is missing; and the share of variance explained before.

        Days before are predicted without their own fold, so that they are as new to it as those since.
        """
        use = np.array([not (made & leave_out) for made in self.made_of])
        known = np.isfinite(target)
        rows = self.fitted[known[self.fitted]]
        weights = self._solve(target, rows, use, len(rows) == len(self.fitted))
        found = np.full(len(target), np.nan)
        matrix = self.matrix[:, use]
        for fold in range(FOLDS):
            mine = (self.fold == fold) & known
            found[mine] = target[mine] - matrix[mine] @ weights[fold]
        spread = float(np.var(target[rows])) if len(rows) else 0.0
        explained = 1 - float(np.mean(found[rows] ** 2)) / spread if spread > 0 else 0.0
        return found, explained

    def _solve(self, target: Floats, rows: Ints, use: NDArray[np.bool_], whole: bool) -> list[Floats]:
        """One set of weights for each fold, fitted on the others."""
        at = np.ix_(use, use)
        grams = self.grams[:, at[0], at[1]] if whole else self._grams_of(rows, use)
        sums = [self._moments(target, rows[self.fold[rows] == each], use) for each in range(FOLDS)]
        penalty = RIDGE * np.eye(int(use.sum()))
        return [
            np.linalg.solve(grams.sum(0) - grams[each] + penalty, sum(sums) - sums[each]).astype(np.float64)
            for each in range(FOLDS)
        ]

    def _grams_of(self, rows: Ints, use: NDArray[np.bool_]) -> NDArray[np.float64]:
        matrix = self.matrix[:, use]
        parts = [matrix[rows[self.fold[rows] == each]] for each in range(FOLDS)]
        return np.stack([(part.T @ part).astype(np.float64) for part in parts])

    def _moments(self, target: Floats, rows: Ints, use: NDArray[np.bool_]) -> Floats:
        return (self.matrix[rows][:, use].T @ target[rows].astype(np.float32)).astype(np.float64)


def standard(values: Floats, case: Case) -> Columns:
    """Mean 0 and spread 1 on the days before, kept within twice the range that was seen there; 0 where missing."""
    known = values[case.before & np.isfinite(values)]
    if not len(known):
        return np.zeros(len(values), dtype=np.float32)
    low, high = np.quantile(known, (0.001, 0.999))
    low, high = low - (high - low) / 2, high + (high - low) / 2  # a season goes on beyond what was seen of it
    spread = float(known.std()) or 1.0
    kept = (np.clip(values, low, high) - known.mean()) / spread
    found: Columns = np.nan_to_num(kept, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
    return found


def _flags(case: Case) -> list[tuple[str, Columns]]:
    found: list[tuple[str, Columns]] = []
    for name, values in case.rows.traffic.numeric.items():
        if name != "score" and not np.isfinite(values[case.before]).all():
            found.append((name, (~np.isfinite(values)).astype(np.float32)))
    for name, column in case.rows.traffic.categorical.items():
        if name != "prediction":
            found += [(name, (column.codes == at).astype(np.float32)) for at in _largest(column, case)]
    return found


def _largest(column: Category, case: Case) -> list[int]:
    counts = np.bincount(column.codes[case.before & (column.codes >= 0)], minlength=len(column.names))
    return [int(at) for at in np.argsort(-counts, kind="stable")[:MOST_NAMES] if counts[at]]


def _waves(seconds: Floats) -> list[Columns]:
    turn = 2 * np.pi * (seconds / 86_400)
    return [np.sin(turn).astype(np.float32), np.cos(turn).astype(np.float32)]
