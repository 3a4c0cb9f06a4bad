"""What scores foretold before: the mean outcome in cells of the score, and what is left of each outcome since."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.rows import Floats, Ints, Mask
from tidegauge.detectors.statistics.bins import NumericBins

CELLS = 20
FEWEST = 500


@dataclass(frozen=True)
class Binned:
    """Rows and the mean outcome, by cell of the score."""

    rows: Floats
    rate: Floats


@dataclass(frozen=True)
class Curve:
    """Outcomes by score, fitted on the days before.

    Attributes:
        cell: The cell of each row's score; the last cell holds missing scores.
        label: Outcomes, nan where unknown.
        expected: The mean outcome before in the row's cell.
    """

    cell: Ints
    label: Floats
    expected: Floats
    cells: int

    @classmethod
    def of(cls, case: Case) -> Curve | None:
        """None where outcomes are no numbers in 0 to 1, or fewer than 500 are known before, or there are no scores."""
        label, score = case.rows.outcome, case.rows.score
        if label is None or score is None:
            return None
        fitted = case.before & ~np.isnan(label)
        if fitted.sum() < FEWEST or not np.isin(label[fitted], (0.0, 1.0)).all():
            return None
        edges = np.array(NumericBins.fit(score[case.before], CELLS).edges)
        cell = np.where(np.isnan(score), len(edges) + 1, np.searchsorted(edges, score, side="right"))
        cells = len(edges) + 2
        mean = float(label[fitted].mean())
        rate = (np.bincount(cell[fitted], weights=label[fitted], minlength=cells) + mean) / (
            np.bincount(cell[fitted], minlength=cells) + 1
        )
        return cls(cell.astype(np.int64), label, rate[cell], cells)

    @property
    def residual(self) -> Floats:
        """Outcome less what was to be expected at its score; nan where unknown."""
        return self.label - self.expected

    def binned(self, where: Mask) -> Binned:
        """Counts and rates by cell, of the labelled rows among ``where``."""
        kept = where & ~np.isnan(self.label)
        rows = np.bincount(self.cell[kept], minlength=self.cells).astype(np.float64)
        total = np.bincount(self.cell[kept], weights=self.label[kept], minlength=self.cells)
        return Binned(rows, total / np.maximum(rows, 1))
