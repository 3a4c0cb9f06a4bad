"""What all the divergences over frozen cells share: the gate, the smoothing and the null distribution.

Near zero every one of them is the same quadratic form. With N reference and M current rows in B cells and no drift,
PSI / (1/N + 1/M) follows chi-squared with B - 1 degrees of freedom (Yurdakul and Naranjo 2020), and KL is about
PSI / 2, the Jensen-Shannon divergence and the squared Hellinger distance about PSI / 8 (in nats). So one p-value
serves all, and their effect floors say the same thing: the debiased PSI reaches 0.1.

Where the reference chose which of many categories are cells, the p-value is that of cells which both samples chose
together (``shared_cells``), and the effect is at most what is found in those: chosen cells shrink by chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from scipy.special import chdtrc, chdtri

from tidegauge.detectors.statistics.arrays import FloatArray, IntArray, floats
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled
from tidegauge.detectors.statistics.shared_cells import Cells

PSI_FLOOR = 0.1
GATE_ALPHA = 0.001
EXPECTED = 5.0


@cache
def minimum_rows(cells: int) -> int:
    """Rows under which chance alone lifts PSI over its floor more often than once in a thousand.

    >>> [minimum_rows(cells) for cells in (10, 20, 30)]
    [279, 439, 584]
    """
    return math.ceil(float(chdtri(cells - 1, GATE_ALPHA)) / PSI_FLOOR)


def smoothed(counts: IntArray) -> FloatArray:
    """Shares with half a row added to each cell, so that an empty cell has a finite logarithm.

    >>> smoothed(np.array([0, 9]))
    array([0.05, 0.95])
    """
    return floats((counts + 0.5) / (int(counts.sum()) + 0.5 * len(counts)))


def psi_of(reference: IntArray, current: IntArray) -> float:
    """PSI of two count arrays, smoothed; the base of every p-value here.

    >>> psi_of(np.array([50, 50]), np.array([50, 50]))
    0.0
    """
    p, q = smoothed(reference), smoothed(current)
    return float(np.sum((q - p) * np.log(q / p)))


def merge_sparse(reference: IntArray, current: IntArray) -> tuple[IntArray, IntArray]:
    """Put the cells that expect fewer than 5 rows of the smaller sample into one, with the next smallest if need be.

    >>> merge_sparse(np.array([90, 6, 2, 2]), np.array([94, 4, 1, 1]))
    (array([90, 10]), array([94,  6]))
    """
    total = reference + current
    scale = min(int(reference.sum()), int(current.sum())) / max(1, int(total.sum()))
    order = np.argsort(-total, kind="stable")
    expected = total[order] * scale
    kept = int(np.count_nonzero(expected >= EXPECTED))
    if kept < len(total) and float(expected[kept:].sum()) < EXPECTED:
        kept -= 1
    if kept >= len(total) - 1:
        return reference, current
    first, rest = order[: max(kept, 0)], order[max(kept, 0) :]
    return tuple(np.append(counts[first], counts[rest].sum()) for counts in (reference, current))  # type: ignore[return-value]


def occupied(reference: IntArray, current: IntArray) -> tuple[IntArray, IntArray]:
    """The cells that at least one sample uses; a cell empty on both sides says nothing.

    >>> occupied(np.array([3, 0, 1]), np.array([2, 0, 0]))
    (array([3, 1]), array([2, 0]))
    """
    used = (reference + current) > 0
    return reference[used], current[used]


def reason_against(reference: IntArray, current: IntArray) -> str:
    """Why two count arrays cannot be compared at all, or nothing.

    >>> reason_against(np.array([1, 2]), np.array([0, 0]))
    'the current window is empty'
    """
    if reference.shape != current.shape or reference.ndim != 1:
        return f"the cells do not match: {reference.shape} against {current.shape}"
    if min(reference.min(initial=0), current.min(initial=0)) < 0:
        return "a cell holds a negative count"
    if not reference.sum():
        return "the reference is empty"
    return "" if current.sum() else "the current window is empty"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two samples counted in the same occupied cells, enough of both to compare."""

    reference: IntArray
    current: IntArray

    @property
    def noise(self) -> float:
        """1/N + 1/M: the unit in which chance alone moves every divergence."""
        return 1 / int(self.reference.sum()) + 1 / int(self.current.sum())

    @property
    def shares(self) -> tuple[FloatArray, FloatArray]:
        """Smoothed shares of the reference and of the current window."""
        return smoothed(self.reference), smoothed(self.current)

    @property
    def expected_psi(self) -> float:
        """Mean of PSI when nothing drifted: (B - 1)(1/N + 1/M)."""
        return (len(self.reference) - 1) * self.noise

    def p_value(self) -> float:
        """P(a PSI at least this large | no drift), sparse cells merged first."""
        return _p_value(*(np.asarray(each, dtype=np.int64).tobytes() for each in (self.reference, self.current)))


@lru_cache(maxsize=64)
def _p_value(reference: bytes, current: bytes) -> float:
    """Of the counts of two samples. PSI, KL and their kin ask one after the other about the same ones."""
    pair = Pair(np.frombuffer(reference, dtype=np.int64), np.frombuffer(current, dtype=np.int64))
    merged = merge_sparse(pair.reference, pair.current)
    if len(merged[0]) < 2:
        return 1.0
    return float(chdtrc(len(merged[0]) - 1, psi_of(*merged) / pair.noise))


def paired(method: str, reference: IntArray, current: IntArray) -> Pair | Undetermined:
    """The two count arrays ready to compare, or why they cannot be.

    >>> paired("psi", np.array([50, 50]), np.array([20, 30])).reason
    '50 rows are too few for 2 cells: 109 are needed'
    """
    reference, current = np.asarray(reference), np.asarray(current)
    sizes = int(reference.sum()), int(current.sum())
    reason = reason_against(reference, current)
    if not reason:
        reference, current = occupied(reference, current)
        reason = _too_little(len(reference), min(sizes))
    return Undetermined(method, reason, *sizes) if reason else Pair(reference, current)


def _too_little(cells: int, rows: int) -> str:
    if cells < 2:
        return "all rows fall in one cell"
    needed = minimum_rows(cells)
    return f"{rows} rows are too few for {cells} cells: {needed} are needed" if rows < needed else ""


def divergence(
    method: str,
    reference: IntArray,
    current: IntArray,
    floor: float,
    measure: Callable[[Pair], tuple[float, float]],
    tested: Cells | None = None,
) -> Outcome:
    """Run one divergence: ``measure`` gives its value and its debiased effect, the rest is common to all.

    ``tested`` are the cells that both samples chose together, where the reference chose these.

    >>> divergence("demo", np.array([500, 500]), np.array([300, 200]), 0.1, lambda pair: (1.0, 0.5)).effect
    0.5
    """
    pair = paired(method, reference, current)
    if isinstance(pair, Undetermined):
        return pair
    value, effect = measure(pair)
    asked = pair
    if tested:
        asked = Pair(*occupied(*tested))
        effect = min(effect, measure(asked)[1])
    sizes = int(pair.reference.sum()), int(pair.current.sum())
    return settled(Result(method, value, asked.p_value(), effect, floor, *sizes))
