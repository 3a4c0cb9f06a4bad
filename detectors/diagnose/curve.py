"""What was usual of like predictions before: the mean outcome in cells of the score, and what is left of each since."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.graded import FARTHEST, MIDDLE, Graded
from tidegauge.detectors.diagnose.rows import Floats, Ints, Mask
from tidegauge.detectors.statistics import Undetermined
from tidegauge.detectors.statistics.bins import NumericBins

CELLS, ROWS_PER_CELL = 20, 25
MOST_ANSWERS = 20
FEWEST, FEWEST_SINCE = 500, 100
OUTSIDE = 0.001
"""Of the days before, the share at each end of scores of no fixed range that counts as never seen."""
LEAST_FORETOLD = 0.02
"""Of the outcomes' variance by the features, where there is no score: below that all are one cell."""


@dataclass(frozen=True)
class Binned:
    """Rows and the mean outcome, by cell of the score."""

    rows: Floats
    rate: Floats


@dataclass(frozen=True)
class Curve:
    """Outcomes by answer and score, and what parts of the traffic differ by, fitted on the days before.

    Attributes:
        cell: The cell of each row; the last of each answer's cells holds missing scores.
        value: Outcomes, nan where unknown or where nothing before is like them. Of numbers errors, less the cell's
            median and over its spread, cut at 2.5.
        parts: Of each dimension the code of each row's value, from 0 on.
        loss: As ``Graded`` has it, nan where ``value`` is; of numbers the size of the error as it is cut.
        unit: What one of ``value`` is: 1, or of numbers the usual spread of the cell.
        spread: Standard deviation of one row's value.
        same: At the same what outcomes are compared, in words.
    """

    graded: Graded
    before: Mask
    cell: Ints
    cells: int
    parts: tuple[Ints, ...]
    value: Floats
    loss: Floats
    unit: Floats
    spread: float
    same: str

    @classmethod
    def of(cls, case: Case) -> Curve | Undetermined:
        """Undetermined with fewer than 500 outcomes before or 100 since, of predictions as there were before."""
        graded = case.rows.graded
        if graded is None:
            return _undetermined("labels, and predictions or scores, are needed", 0, 0)
        cell, cells, value, same = _placed(case, graded)
        before, since = _counts(case, value)
        if before < FEWEST or since < FEWEST_SINCE:
            came = f"{before} outcomes before and {since} since can be compared"
            unlike = int((case.after & np.isfinite(graded.value)).sum()) - since
            more = f"; {unlike} since are of predictions such as there were none before" if unlike > since / 10 else ""
            return _undetermined(f"{came}, {FEWEST} and {FEWEST_SINCE} are needed{more}", before, since)
        unit, loss, spread = np.ones(len(value)), np.where(np.isfinite(value), graded.loss, np.nan), 0.5
        if graded.kind == "numbers":
            middle, unit = _spreads(value, cell, case.before, cells)
            value = np.clip((value - middle) / unit, -FARTHEST, FARTHEST)
            loss, spread = np.abs(value * unit + middle), float(np.nanstd(value[case.before]))
        parts = tuple(each.codes.astype(np.int64) + 1 for each in case.dimensions.values())
        return cls(graded, case.before, cell, cells, parts, value, loss, unit, spread, same)

    @classmethod
    def of_two_classes(cls, case: Case) -> Curve | None:
        """None where outcomes are not of two classes with scores, or fewer than 500 are known before."""
        graded = case.rows.graded
        if graded is None or graded.kind != "two classes" or _counts(case, graded.value)[0] < FEWEST:
            return None
        cell, cells, value, same = _placed(case, graded)
        return cls(graded, case.before, cell, cells, (), value, graded.loss, np.ones(len(value)), 0.5, same)

    def usual(self, values: Floats) -> Floats:
        """The mean before in the row's cell, and what its parts differed by then: that a part grew is no concept."""
        fitted = self.before & np.isfinite(values)
        found = _means(values, self.cell, fitted, self.cells)[self.cell]
        for code in self.parts:
            left, size = (values - found)[fitted], int(code.max(initial=0)) + 1
            rows = np.bincount(code[fitted], minlength=size)
            found += (np.bincount(code[fitted], weights=left, minlength=size) / (rows + ROWS_PER_CELL))[code]
        return found

    @cached_property
    def expected(self) -> Floats:
        """What was usual of ``value``."""
        return self.usual(self.value)

    @property
    def residual(self) -> Floats:
        """Outcome less what was to be expected at its score; nan where unknown."""
        return self.value - self.expected

    @property
    def scatter(self) -> Floats:
        """The size of the residual less what was usual of it: how far outcomes lie apart."""
        size = np.abs(self.residual)
        return size - self.usual(size)

    def binned(self, where: Mask) -> Binned:
        """Counts and rates by cell, of the labelled rows among ``where``."""
        kept = where & np.isfinite(self.value)
        rows = np.bincount(self.cell[kept], minlength=self.cells).astype(np.float64)
        total = np.bincount(self.cell[kept], weights=self.value[kept], minlength=self.cells)
        return Binned(rows, total / np.maximum(rows, 1))


def _undetermined(reason: str, before: int, since: int) -> Undetermined:
    return Undetermined("outcome at the same score", reason, before, since)


def _counts(case: Case, value: Floats) -> tuple[int, int]:
    """Known values before and since."""
    known = np.isfinite(value)
    return int((known & case.before).sum()), int((known & case.after).sum())


def _placed(case: Case, graded: Graded) -> tuple[Ints, int, Floats, str]:
    """The cell of each row, how many cells there are, the outcomes that can be compared, and at the same what."""
    at, value, same = graded.at, graded.value, [graded.same]
    if not np.isfinite(at).any():
        at, value = _foretold(case, value)
        same += ["features"] if np.isfinite(at).any() else []
    elif graded.kind != "numbers":
        same.append("score")
    group = _groups(graded.answer, case.before)
    cell, cells = np.zeros(len(at), dtype=np.int64), 0
    for each in np.unique(group):
        here = group == each
        wanted = min(CELLS, max(2, int((here & case.before).sum()) // ROWS_PER_CELL))
        edges = np.array(NumericBins.fit(at[here & case.before], wanted).edges)
        place = np.where(np.isnan(at), len(edges) + 1, np.searchsorted(edges, at, side="right"))
        cell[here] = cells + place[here]
        cells += len(edges) + 2
    value = np.where(_seen(at, case.before), value, np.nan)
    return cell, cells, value, " and ".join(filter(None, same))


def _foretold(case: Case, value: Floats) -> tuple[Floats, Floats]:
    """The outcome that the features foretell, in the place of a score; all nan where they foretell none."""
    if (case.before & np.isfinite(value)).sum() < FEWEST:
        return np.full(len(value), np.nan), value
    rest, explained = case.design.residual(value, frozenset())
    if explained < LEAST_FORETOLD:
        return np.full(len(value), np.nan), value
    return value - rest, np.where(np.isfinite(rest), value, np.nan)


def _groups(answer: Ints, before: Mask) -> Ints:
    """The code of each answer that was frequent before; -1 for all others."""
    counts = np.bincount(answer[before & (answer >= 0)], minlength=int(answer.max(initial=0)) + 1)
    kept = [at for at in np.argsort(-counts, kind="stable")[:MOST_ANSWERS] if counts[at] >= 2 * ROWS_PER_CELL]
    return np.where(np.isin(answer, kept), answer, -1)


def _seen(at: Floats, before: Mask) -> Mask:
    """Rows whose score lies in the range of before: beyond it nothing says what is usual. Shares have but one range."""
    known = at[np.isfinite(at)]
    if not len(known) or (known.min() >= 0 and known.max() <= 1):
        return np.ones(len(at), dtype=np.bool_)
    usual = at[before & np.isfinite(at)]
    low, high = np.quantile(usual, (OUTSIDE, 1 - OUTSIDE)) if len(usual) else (np.nan, np.nan)
    return ~((at < low) | (at > high))


def _means(value: Floats, cell: Ints, fitted: Mask, cells: int) -> Floats:
    """The mean by cell, drawn to that of all by the weight of one row."""
    mean = float(value[fitted].mean())
    total = np.bincount(cell[fitted], weights=value[fitted], minlength=cells) + mean
    found: Floats = total / (np.bincount(cell[fitted], minlength=cells) + 1)
    return found


def _spreads(value: Floats, cell: Ints, before: Mask, cells: int) -> tuple[Floats, Floats]:
    """Median and spread (half the distance of the quantiles that hold 68 %) of before in the cell of each row."""
    fitted = before & np.isfinite(value)
    whole = np.quantile(value[fitted], MIDDLE)
    found = np.tile(whole, (cells, 1))
    for each in np.flatnonzero(np.bincount(cell[fitted], minlength=cells) >= ROWS_PER_CELL):
        found[each] = np.quantile(value[fitted & (cell == each)], MIDDLE)
    least = max(0.1 * (whole[2] - whole[0]) / 2, 1e-9 * float(np.abs(value[fitted]).max()), 1e-300)
    spread = np.maximum((found[:, 2] - found[:, 0]) / 2, least)
    return found[cell, 1], spread[cell]
