"""Chi-squared test of two samples over the same cells."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import chdtrc, gammaincc

from tidegauge.detectors.statistics.arrays import FloatArray, IntArray
from tidegauge.detectors.statistics.binned import merge_sparse, occupied, reason_against
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled
from tidegauge.detectors.statistics.shared_cells import Cells

FLOOR = 0.1
FEW = 20.0
MOST_ROWS = 100_000
"""Of larger samples the moments cannot be told in double precision, and chi-squared's law is good."""
FALLING = ((1.0,), (1.0, 1.0), (), (1.0, 7.0, 6.0, 1.0), (), (1.0, 31.0, 90.0, 65.0, 15.0, 1.0))
"""x, x² , x⁴ and x⁶ as sums of falling factorials x, x (x - 1), ... (Stirling's numbers)."""


def chi_squared(
    reference: IntArray, current: IntArray, *, floor: float = FLOOR, tested: Cells | None = None
) -> Outcome:
    """X² = N M sum (r/N - c/M)² / (r + c), the contingency statistic of two rows, with B - 1 degrees of freedom.

    Range: 0 upwards; no unit; symmetric. The reference is a sample too, not the truth. Cells that expect fewer than 5
    rows of the smaller sample are merged first. Where a cell still expects fewer than 20, p comes from a gamma law with
    the first three moments that X² has if the rows are dealt anew (``moments``): chi-squared's own tail is a sixth too
    light there. ``effect`` is Cramer's V with Bergsma's bias correction, at the
    balanced size 4NM / (N + M): V as it would be in two samples of equal size, so that a long reference does not
    shrink it. Where the reference chose which categories are cells, ``tested`` are those that both samples chose
    together: p is theirs, and V at most what it is there (``shared_cells``). Sources: Pearson 1900; Cochran 1954;
    Haldane, Biometrika, 1940; Bergsma, Journal of the Korean Statistical Society, 2013.

    >>> import numpy as np
    >>> result = chi_squared(np.array([500, 500]), np.array([300, 200]))
    >>> round(result.value, 4), round(result.p_value, 6), round(result.effect, 4)
    (13.3929, 0.000253, 0.0964)
    """
    reference, current = np.asarray(reference), np.asarray(current)
    n, m = int(reference.sum()), int(current.sum())
    reason = reason_against(reference, current)
    if reason:
        return Undetermined("chi_squared", reason, n, m)
    used = occupied(reference, current)
    merged = merge_sparse(*used)
    cells = len(merged[0])
    if cells < 2:
        return Undetermined("chi_squared", "fewer than 2 cells expect 5 rows of the smaller sample", n, m)
    value, p_value, effect = _measured(*merged)
    if tested:
        _, p_value, within = _measured(*merge_sparse(*occupied(*tested)))
        effect = min(effect, within)
    note = f"{len(used[0]) - cells + 1} sparse cells merged" if len(used[0]) > cells else ""
    return settled(Result("chi_squared", value, p_value, effect, floor, n, m, note=note))


def _measured(reference: IntArray, current: IntArray) -> tuple[float, float, float]:
    """The statistic, its p-value and V, of cells of which none is sparse."""
    if len(reference) < 2:
        return 0.0, 1.0, 0.0
    n, m = int(reference.sum()), int(current.sum())
    value = _statistic(reference, current)
    return value, _p_value(reference + current, value, (n, m)), _v(value, len(reference), n, m)


def _statistic(reference: IntArray, current: IntArray) -> float:
    n, m = int(reference.sum()), int(current.sum())
    gap = reference / n - current / m
    return float(np.sum(gap * gap / (reference + current))) * n * m


def _v(value: float, cells: int, n: int, m: int) -> float:
    size = max(2.0, 4 * n * m / (n + m))
    square = max(0.0, value / size - (cells - 1) / (size - 1))
    rows = 2 - 1 / (size - 1)
    columns = cells - (cells - 1) ** 2 / (size - 1)
    room = min(rows, columns) - 1
    return min(1.0, math.sqrt(square / room)) if room > 0 else 0.0


def _p_value(cells: IntArray, value: float, sizes: tuple[int, int]) -> float:
    plain = float(chdtrc(len(cells) - 1, value))
    if float(cells.min()) * min(sizes) / sum(sizes) >= FEW or min(sizes) > MOST_ROWS:
        return plain
    mean, variance, third = moments(cells, min(sizes))
    if not (variance > 0 and third > 0):
        return plain
    shape, scale = 4 * variance**3 / third**2, third / (2 * variance)
    return float(gammaincc(shape, max(0.0, (value - mean) / scale + shape)))


def moments(cells: IntArray, size: int) -> tuple[float, float, float]:
    """Mean, variance and third central moment of X² if the rows of ``cells`` are dealt anew, ``size`` to one side.

    X² = N² / (n m) (Y - m² / N), Y = sum x_k² / c_k. In falling factorials the moments of the x_k are products of those
    of the c_k and of m over those of N, so sums of products over different cells come from sums over single ones.

    >>> [round(each, 3) for each in moments(np.array([500, 500]), 500)]
    [1.001, 2.002, 8.0]
    """
    total = int(cells.sum())
    powers = [_falling(cells, power) for power in (2, 4, 6)]
    single = [each.sum(axis=1) for each in powers]
    both = _product(powers[0], powers[1]).sum(axis=1), _product(powers[0], powers[0]).sum(axis=1)
    cubes = _product(_product(powers[0], powers[0]), powers[0]).sum(axis=1)
    second = _sum(single[1], np.convolve(single[0], single[0]), -both[1])
    third = _sum(
        single[2],
        3 * _sum(np.convolve(single[1], single[0]), -both[0]),
        _sum(
            np.convolve(np.convolve(single[0], single[0]), single[0]), -3 * np.convolve(both[1], single[0]), 2 * cubes
        ),
    )
    order = np.arange(7)
    dealt = np.concatenate([[1.0], np.cumprod((size - order[:6]) / (total - order[:6]))])
    first, second_, third_ = (float(each @ dealt[: len(each)]) for each in (single[0], second, third))
    scale = total * total / (size * (total - size))
    variance = second_ - first * first
    central = third_ - 3 * first * second_ + 2 * first**3
    return scale * (first - size * size / total), scale**2 * variance, scale**3 * central


def _falling(cells: IntArray, power: int) -> FloatArray:
    """E x^power / c^(power/2), a line for each order of falling factorial, 0 to ``power``, a column for each cell."""
    c = cells.astype(np.float64)
    found = np.zeros((power + 1, len(c)))
    product = np.ones(len(c))
    for order, weight in enumerate(FALLING[power - 1], 1):
        product = product * (c - (order - 1))
        found[order] = weight * product
    return found / c ** (power / 2)


def _product(left: FloatArray, right: FloatArray) -> FloatArray:
    """Orders add up."""
    found = np.zeros((len(left) + len(right) - 1, left.shape[1]))
    for order, line in enumerate(left):
        found[order : order + len(right)] += line * right
    return found


def _sum(*parts: FloatArray) -> FloatArray:
    longest = max(len(each) for each in parts)
    found: FloatArray = np.sum([np.pad(each, (0, longest - len(each))) for each in parts], axis=0)
    return found
