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
MOST_ROWS = 24_000

Columns = NDArray[np.float32]


@dataclass(frozen=True)
class Design:
    """Columns made of the features, each with the features that it was made of.

    Numbers come standardised on the days before and kept within twice
    the range that was seen then, with their squares and products, and a
    flag where they are missing; texts as flags of their most frequent values; the hour of the event as a wave. Of many
    rows every k-th is looked at: what is asked is how well days fit, not rows.

    Attributes:
        rows: Places of the rows looked at, at most 24,000.
        fold: Which fit each of them is predicted by.
        fitted: Whether each of them is of the days before.
    """

    matrix: Columns
    made_of: tuple[frozenset[str], ...]
    rows: Ints
    fold: Ints
    fitted: NDArray[np.bool_]

    @classmethod
    def of(cls, case: Case) -> Design:
        """All features."""
        rows = np.arange(0, case.rows.count, max(1, -(-case.rows.count // MOST_ROWS)))
        columns: list[Columns] = [np.ones(len(rows), dtype=np.float32)]
        made: list[frozenset[str]] = [frozenset()]
        numbers = {n: standard(v, case)[rows] for n, v in case.rows.traffic.numeric.items() if n != "score"}
        for name, values in numbers.items():
            columns.append(values)
            made.append(frozenset({name}))
        names = list(numbers)
        for at, one in enumerate(names):
            for two in names[at:]:
                columns.append(numbers[one] * numbers[two])
                made.append(frozenset({one, two}))
        for name, flags in _flags(case, rows):
            columns.append(flags)
            made.append(frozenset({name}))
        columns += _waves(case.rows.seconds[rows])
        made += [frozenset[str]()] * 2
        fold = np.mod(np.floor_divide(case.day[rows], BLOCK_DAYS), FOLDS)
        return cls(np.stack(columns, axis=1), tuple(made), rows, fold.astype(np.int64), case.before[rows])

    @cached_property
    def grams(self) -> NDArray[np.float64]:
        """Sums of products of columns over the fitted rows, for each fold."""
        return self._grams_of(self.fitted)

    def residual(self, target: Floats, leave_out: frozenset[str]) -> tuple[Floats, float]:
        """Target less its prediction, nan where it is missing or not looked at; the share of variance explained before.

        Days before are predicted without their own fold, so that they are as new to it as those since.
        """
        return self.rest(target, self.weights(target, leave_out))

    def rest(self, target: Floats, weights: Floats) -> tuple[Floats, float]:
        """As ``residual``, by weights of this design or of another one with the same days before."""
        values, fitted = self._known(target)
        foretold = (self.matrix @ weights.astype(np.float32))[np.arange(len(values)), self.fold]
        if fitted.any():  # a rare downpour, squared, foretells what never was
            foretold = np.clip(foretold, values[fitted].min(), values[fitted].max())
        rest = values - foretold
        spread = float(np.var(values[fitted])) if fitted.any() else 0.0
        explained = 1 - float(np.mean(rest[fitted] ** 2)) / spread if spread > 0 else 0.0
        found = np.full(len(target), np.nan)
        found[self.rows] = rest
        return found, explained

    def weights(self, target: Floats, leave_out: frozenset[str]) -> Floats:
        """A column of weights for each fold, of the columns that are made of no feature of ``leave_out``."""
        values, fitted = self._known(target)
        use = np.array([not (made & leave_out) for made in self.made_of])
        return self._solve(np.where(fitted, values, 0.0), fitted, use)

    def _known(self, target: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """The target of the rows looked at, and those of the days before of which it is known."""
        values = target[self.rows]
        return values, self.fitted & np.isfinite(values)

    def _solve(self, target: Floats, fitted: NDArray[np.bool_], use: NDArray[np.bool_]) -> Floats:
        """A column of weights for each fold, fitted on the others; 0 for columns not used."""
        whole = int(fitted.sum()) == int(self.fitted.sum())
        grams = (self.grams if whole else self._grams_of(fitted))[:, use][:, :, use]
        apart = np.where(self.fold[:, None] == np.arange(FOLDS), target[:, None], 0.0).astype(np.float32)
        sums = (self.matrix.T @ apart).T.astype(np.float64)[:, use]
        others = grams.sum(0) - grams + RIDGE * np.eye(int(use.sum()))
        found = np.zeros((len(use), FOLDS))
        found[use] = np.linalg.solve(others, (sums.sum(0) - sums)[..., None])[..., 0].T
        return found

    def _grams_of(self, fitted: NDArray[np.bool_]) -> NDArray[np.float64]:
        parts = [self.matrix[fitted & (self.fold == each)] for each in range(FOLDS)]
        return np.stack([(part.T @ part).astype(np.float64) for part in parts])


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


def number_target(case: Case, name: str) -> Floats:
    """A number as ``standard`` has it, nan where it is missing."""
    values = case.rows.traffic.numeric[name]
    return np.where(np.isfinite(values), standard(values, case).astype(np.float64), np.nan)


def _flags(case: Case, rows: Ints) -> list[tuple[str, Columns]]:
    found: list[tuple[str, Columns]] = []
    for name, values in case.rows.traffic.numeric.items():
        if name != "score" and not np.isfinite(values[case.before]).all():
            found.append((name, (~np.isfinite(values[rows])).astype(np.float32)))
    for name, column in case.rows.traffic.categorical.items():
        if name != "prediction":
            found += [(name, (column.codes[rows] == at).astype(np.float32)) for at in _largest(column, case)]
    return found


def _largest(column: Category, case: Case) -> list[int]:
    counts = np.bincount(column.codes[case.before & (column.codes >= 0)], minlength=len(column.names))
    return [int(at) for at in np.argsort(-counts, kind="stable")[:MOST_NAMES] if counts[at]]


def _waves(seconds: Floats) -> list[Columns]:
    turn = 2 * np.pi * (seconds / 86_400)
    return [np.sin(turn).astype(np.float32), np.cos(turn).astype(np.float32)]
