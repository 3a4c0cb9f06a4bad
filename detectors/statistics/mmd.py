"""Maximum mean discrepancy of two sets of vectors."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tidegauge.detectors.statistics.arrays import FloatArray, Matrix
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled

FLOOR = 0.001
LEAST_ROWS = 20
SAMPLED = 1000
TILE_BYTES = 16 * 2**20
FARTHEST = 1e4
THREADS = min(8, os.cpu_count() or 1)
_ALONE = threading.Lock()
"""A matrix product of two threads burns a third more processor time than two products of one thread; the limit that
says so holds for the whole process, and two who set it at once would not put back what was there."""


def mmd(
    reference: Matrix,
    current: Matrix,
    *,
    permutations: int = 200,
    bandwidth: float | None = None,
    rng: np.random.Generator,
    device: str | None = None,
    floor: float = FLOOR,
) -> Outcome:
    """MMD² = mean k(x, x') + mean k(y, y') - 2 mean k(x, y), unbiased, with k = exp(-|x - y|² / (2 bandwidth²)).

    Range: about 0 (equal; slightly negative by chance) to 2; no unit; symmetric but for the bandwidth, which is the
    median distance within the reference unless given. p = (1 + hits) / (1 + permutations), all permutations at once as
    products of the Gram matrix with a matrix of labels. ``effect`` is MMD² over the mean kernel within the reference;
    the floor, 0.001, is about what 5 % of the rows moving to a wholly new topic give. Rows with a NaN or an infinity
    are dropped and counted. Runs on the GPU where torch finds one, or on torch's ``device``; else, and for ``cpu``, on
    numpy with up to 8 threads; with the same permutations everywhere. Memory: the Gram matrix is never whole; a tile of
    16 MiB and a temporary for each thread, plus 4 (N + M)(3 d + 2 permutations) bytes.
    Source: Gretton and others, Journal of Machine Learning Research, 2012.

    >>> rng = np.random.default_rng(0)
    >>> result = mmd(rng.normal(size=(100, 3)), rng.normal(size=(80, 3)) + 1, rng=rng)
    >>> round(result.value, 2), round(result.p_value, 3)
    (0.26, 0.005)
    """
    left, dropped_reference = _whole_rows(reference)
    right, dropped_current = _whole_rows(current)
    n, m = len(left), len(right)
    reason = _reason(left, right)
    width = (median_distance(left) if bandwidth is None else bandwidth) if not reason else 0.0
    if reason or not 0 < width < np.inf:
        return Undetermined("mmd", reason or "the reference has no spread to take a bandwidth from", n, m)
    points, labels = _scaled(left, right, width), _labels(n, m, permutations, rng)
    values, within = _estimates(_gram_sums(points, labels, device), n, m)
    p_value = (1 + int(np.count_nonzero(values[1:] >= values[0]))) / (1 + permutations)
    effect = max(0.0, float(values[0] / within)) if within > 0 else float("nan")
    dropped = dropped_reference, dropped_current
    return settled(Result("mmd", float(values[0]), p_value, effect, floor, n, m, *dropped))


def _whole_rows(values: Matrix) -> tuple[Matrix, int]:
    rows = np.asarray(values)
    if not np.issubdtype(rows.dtype, np.floating):
        rows = rows.astype(np.float64)
    rows = rows.reshape(len(rows), -1) if rows.size else rows.reshape(0, rows.shape[-1])
    kept = np.isfinite(rows).all(axis=1)
    return (rows if kept.all() else rows[kept]), int(np.count_nonzero(~kept))


def _reason(left: Matrix, right: Matrix) -> str:
    if min(len(left), len(right)) < LEAST_ROWS:
        return f"{min(len(left), len(right))} rows are too few: {LEAST_ROWS} are needed"
    if left.shape[1] != right.shape[1]:
        return f"the vectors do not match: {left.shape[1]} against {right.shape[1]} dimensions"
    return ""


def median_distance(reference: Matrix) -> float:
    """The median distance between different rows, over at most 1,000 evenly spaced ones: the same at every call.

    >>> median_distance(np.array([[0.0], [3.0], [3.0]]))
    3.0
    """
    rows = np.asarray(reference, dtype=np.float64)[:: -(-len(reference) // SAMPLED)]
    with np.errstate(all="ignore"):
        rows = rows - rows.mean(axis=0)
        norms = np.einsum("ij,ij->i", rows, rows)
        squares = norms[:, None] + norms - 2 * rows @ rows.T
    squares = squares[np.triu_indices(len(rows), 1)]
    apart = squares[squares > 1e-12 * norms.max(initial=0.0)]
    return float(np.sqrt(np.median(apart))) if len(apart) else 0.0


def _scaled(left: Matrix, right: Matrix, width: float) -> NDArray[np.float32]:
    """Both samples in one matrix, in bandwidths from the centre of the reference; far beyond it the kernel is 0."""
    centre = left.mean(axis=0)
    with np.errstate(over="ignore"):
        near = [np.clip((part - centre) / width, -FARTHEST, FARTHEST) for part in (left, right)]
    return np.concatenate(near).astype(np.float32)


def _labels(n: int, m: int, permutations: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """One column for each relabelling, 1 where a row counts as reference; the first column is the truth."""
    labels = np.zeros((n + m, permutations + 1), dtype=np.float32)
    labels[:n, 0] = 1
    for column in range(1, permutations + 1):
        labels[rng.permutation(n + m)[:n], column] = 1
    return labels


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of the Gram matrix with a zero diagonal: sums over reference pairs and reference rows by column, and over all."""

    pairs: FloatArray
    rows: FloatArray
    all: float


def _estimates(sums: _Sums, n: int, m: int) -> tuple[FloatArray, float]:
    """MMD² of every column, and the mean kernel within the true reference."""
    across = sums.rows - sums.pairs
    current = sums.all - 2 * sums.rows + sums.pairs
    within = sums.pairs / (n * (n - 1))
    return within + current / (m * (m - 1)) - 2 * across / (n * m), float(within[0])


def _gram_sums(points: NDArray[np.float32], labels: NDArray[np.float32], device: str | None) -> _Sums:
    place = device or _accelerator()
    if place == "cpu":
        with _ALONE, threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(THREADS) as threads:
            return _tiled(np, points, labels, threads.map)
    torch = importlib.import_module("torch")
    with torch.no_grad():
        return _tiled(torch, torch.from_numpy(points).to(place), torch.from_numpy(labels).to(place))


def _accelerator() -> str:
    found = importlib.util.find_spec("torch") is not None and importlib.import_module("torch").cuda.is_available()
    return "cuda" if found else "cpu"


def _tiled(xp: Any, points: Any, labels: Any, run: Callable[..., Iterable[Any]] = map) -> _Sums:
    """Walk the upper half of the Gram matrix in tiles; ``xp`` is numpy or torch, alike in all that is used here.

    With u = (x, -|x|²/2, 1) and v = (y, 1, -|y|²/2) the product u·v is -|x - y|²/2: the kernel takes one matrix product
    and one exponential. Off the diagonal a tile stands for its mirror image too, which the sums below count.
    """
    ones, halves = xp.ones_like(points[:, :1]), (points * points).sum(1)[:, None] / -2
    left, right = xp.concatenate([points, halves, ones], 1), xp.concatenate([points, ones, halves], 1)
    signs = xp.concatenate([labels, ones], 1)
    size, side = len(points), max(1, math.isqrt(TILE_BYTES // 16))
    corners = [(row, column) for row in range(0, size, side) for column in range(row, size, 4 * side)]

    def tile(corner: tuple[int, int]) -> Any:
        """Sums of the tile over pairs, over its rows and over its columns, by column of labels; the last is of all."""
        rows, columns = slice(corner[0], corner[0] + side), slice(corner[1], corner[1] + 4 * side)
        sums = _kernel(xp, left[rows], right[columns], corner[0] == corner[1]) @ signs[columns]
        some = signs[rows]
        return xp.stack([each.sum(0, dtype=xp.float64) for each in (some * sums, some * sums[:, -1:], sums)])

    pairs, by_row, by_column = _on_host(sum(run(tile, corners)))
    return _Sums(2 * pairs[:-1], by_row[:-1] + by_column[:-1], float(2 * pairs[-1]))


def _kernel(xp: Any, some: Any, rest: Any, diagonal: bool) -> Any:
    """Kernel of ``some`` rows with the ``rest``. On the diagonal these start with the same rows.

    There a row with itself counts 0 and every pair one half, because it is met twice.
    """
    kernel = some @ rest.T
    xp.clip(kernel, None, 0, out=kernel)
    xp.exp(kernel, out=kernel)
    if diagonal:
        own = range(len(some))
        kernel[own, own] = 0
        kernel[:, : len(some)] *= 0.5
    return kernel


def _on_host(column: Any) -> FloatArray:
    return np.asarray(column.cpu() if hasattr(column, "cpu") else column, dtype=np.float64)
