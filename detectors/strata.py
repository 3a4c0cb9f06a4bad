"""Is it the mix? Drift told apart into other shares of known segments, and other contents of the same segments.

With segments s (the values of the declared context), w_s their shares in the window and p_s(k) the reference's share of
cell k within segment s, the reference as it would be with the window's mix is q(k) = sum_s w_s p_s(k)
(post-stratification: Holt and Smith, Journal of the Royal Statistical Society A, 1979). What PSI is left between the
window and q lies within the segments; the rest is the mix. Of the N_s reference rows of a segment each weighs
w_s / N_s, so chance moves q as it would move a sample of 1 / sum_s(w_s^2 / N_s) rows (Kish 1965): what such a sample
shows with a chance of more than 1 % is nothing, and of more its mean by chance is taken off. Segments that are new, or
have fewer than 10 rows in the reference, cannot be weighted: they are left out of the comparison within, are part of
the mix, and are named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtrc, ndtr

from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.statistics import Result
from tidegauge.detectors.statistics.arrays import FloatArray, IntArray
from tidegauge.detectors.statistics.result import beyond_noise
from tidegauge.detectors.traffic import Index, Traffic
from tidegauge.model import ALL

LEAST_IN_SEGMENT, LEAST_IN_ALL = 10, 50
CHANCE = 0.01
QUADRATIC = frozenset({"psi", "kl"})
UNTOLD = frozenset(
    {"new_categories", "lost_categories", "risen_category", "out_of_range", "outliers", "wrong_type"}
    | {"volume", "duplicates", "repeated_ids"}
)
"""Of these the cells of a feature say nothing."""
SHARES = {"missing": 0, "non_finite": 1}
"""Detectors of a share of rows, and which of the last two cells holds those rows."""


@dataclass(frozen=True, slots=True)
class Residual:
    """What is left of a feature's drift within segments.

    Attributes:
        share: Of PSI, 0 (all of it is the mix) to 1.
        odd: By how much the shares of missing and of non-finite rows differ within segments.
        new: Share of the window's rows in segments that the reference does not know.
    """

    share: float
    odd: tuple[float, float]
    new: float


def explained(claims: Sequence[Claim], reference: Profile, current: Profile, context: Sequence[str]) -> list[Claim]:
    """The claims, those of drift in all traffic with a word on whether the mix of ``context`` explains them."""
    known: dict[str, Residual | None] = {}
    segments: list[tuple[Index, Index]] = []

    def residual(feature: str) -> Residual | None:
        if not segments:
            segments.append(_segments(reference.traffic, current.traffic, context))
        if feature not in known:
            known[feature] = _residual(feature, reference, current, *segments[0])
        return known[feature]

    return [
        _told(claim, residual(claim.feature), " and ".join(context)) if _asks(claim, reference, current) else claim
        for claim in claims
    ]


def _asks(claim: Claim, reference: Profile, current: Profile) -> bool:
    drift = claim.verdict is Verdict.DRIFT and claim.part == ALL
    untold = claim.detector in UNTOLD
    return drift and not untold and reference.has(claim.feature) and current.has(claim.feature)


def _told(claim: Claim, residual: Residual | None, context: str) -> Claim:
    if residual is None or not isinstance(claim.outcome, Result):
        return claim
    left = claim.outcome.effect * (residual.share if claim.detector in QUADRATIC else math.sqrt(residual.share))
    if claim.detector in SHARES:
        left = residual.odd[SHARES[claim.detector]]
    said = f"explained by the mix of {context}" if left < claim.outcome.floor else f"within segments of {context}"
    new = f", {100 * residual.new:.0f} % of the rows in segments new to the reference" if residual.new >= 0.005 else ""
    return replace(claim, reason="; ".join(part for part in (f"{said}: {left:.2g} left{new}", claim.reason) if part))


def _segments(reference: Traffic, current: Traffic, context: Sequence[str]) -> tuple[Index, Index]:
    """The segment of every row, numbered alike on both sides."""
    both = np.zeros(reference.rows + current.rows, dtype=np.int64)
    for name in context:
        columns = reference.dimensions[name], current.dimensions[name]
        numbers = {value: at for at, value in enumerate(dict.fromkeys([*columns[0].names, *columns[1].names]), 1)}
        codes = [np.array([*(numbers[value] for value in each.names), 0])[each.codes] for each in columns]
        both = np.unique(both * (len(numbers) + 1) + np.concatenate(codes), return_inverse=True)[1].reshape(-1)
    return both[: reference.rows], both[reference.rows :]


def _residual(feature: str, reference: Profile, current: Profile, before: Index, now: Index) -> Residual | None:
    cells = _cells(feature, reference, current)
    shape = _most(before, now), max(3, _most(*cells))
    left, right = (_table(*each, shape) for each in zip((before, now), cells, strict=True))
    known = (left.sum(axis=1) >= LEAST_IN_SEGMENT) & (right.sum(axis=1) > 0)
    if right[known].sum() < LEAST_IN_ALL:
        return None
    rows, sizes = right[known].sum(axis=1), left[known].sum(axis=1)
    weights = rows / rows.sum()
    mixed = weights @ (left[known] / sizes[:, None])
    kish = 1 / float(np.sum(weights * weights / sizes))
    raw = _psi(left.sum(axis=0) / left.sum(), float(left.sum()), right.sum(axis=0))
    if not raw:
        return None
    within = _psi(mixed, kish, right[known].sum(axis=0))
    odd = [_gap(right[known].sum(axis=0)[at] / rows.sum(), mixed[at], 1 / kish + 1 / rows.sum()) for at in range(2)]
    return Residual(min(1.0, within / raw), (odd[0], odd[1]), 1 - float(rows.sum() / right.sum()))


def _cells(feature: str, reference: Profile, current: Profile) -> list[Index]:
    """The cell of every row: 0 for missing, 1 for non-finite, then those of the reference's bins."""
    if reference.is_numeric(feature):
        edges = np.array(reference.bins(feature).edges)
        return [_numeric(each.values(feature), each.traffic.rows, edges) for each in (reference, current)]
    bins = reference.categorical(feature, ALL).bins
    places = {name: at for at, name in enumerate(bins.names, 2)} | dict.fromkeys(bins.rare, len(bins.names) + 2)
    found = []
    for each in (reference, current):
        column = each.traffic.categorical.get(feature)
        if column is None:
            found.append(np.zeros(each.traffic.rows, dtype=np.int64))
            continue
        table = np.array([*(places.get(name, len(bins.names) + 3) for name in column.names), 0], dtype=np.int64)
        found.append(table[column.codes])
    return found


def _numeric(values: FloatArray | None, rows: int, edges: FloatArray) -> Index:
    if values is None:
        return np.zeros(rows, dtype=np.int64)
    cells = np.searchsorted(edges, values, side="right").astype(np.int64) + 2
    cells[np.isnan(values)] = 0
    cells[np.isinf(values)] = 1
    return cells


def _most(*numbers: Index) -> int:
    return 1 + max(int(each.max(initial=0)) for each in numbers)


def _table(segments: Index, cells: Index, shape: tuple[int, int]) -> IntArray:
    counts = np.bincount(segments * shape[1] + cells, minlength=shape[0] * shape[1])
    return counts.reshape(shape)


def _psi(shares: FloatArray, size: float, counts: IntArray) -> float:
    """PSI of shares that are known as from ``size`` rows, and of counts, less what chance gives."""
    used = (shares > 0) | (counts > 0)
    cells, rows = int(used.sum()), float(counts.sum())
    p = (shares[used] * size + 0.5) / (size + 0.5 * cells)
    q = (counts[used] + 0.5) / (rows + 0.5 * cells)
    value, noise = float(np.sum((q - p) * np.log(q / p))), 1 / size + 1 / rows
    return max(0.0, value - (cells - 1) * noise) if chdtrc(max(1, cells - 1), value / noise) <= CHANCE else 0.0


def _gap(share: float, expected: float, noise: float) -> float:
    """By how much two shares differ beyond chance."""
    deviation = math.sqrt(max(share * (1 - share), expected * (1 - expected)) * noise)
    gap = abs(share - expected)
    return beyond_noise(gap, deviation) if 2 * ndtr(-gap / max(deviation, 1e-12)) <= CHANCE else 0.0
