"""Maximum mean discrepancy of two sets of vectors."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.statistics.arrays import FloatArray, Matrix
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled

FLOOR = 0.001
LEAST_ROWS = 20
SAMPLED = 1000
TILE_BYTES = 64 * 2**20
FARTHEST = 1e4


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
    are dropped and counted. Runs on torch where that is installed (its GPU if there is one, or ``device``), else on
    numpy, with the same permutations. Memory: the Gram matrix is never whole; a tile of at most 64 MiB (or one row) and
    two temporaries of its size, plus 4 (N + M)(d + 2 permutations) bytes.
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
    if importlib.util.find_spec("torch") is None:
        return _tiled(np, points, labels)
    torch = importlib.import_module("torch")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with torch.no_grad():
        return _tiled(torch, torch.from_numpy(points).to(place), torch.from_numpy(labels).to(place))


def _tiled(xp: Any, points: Any, labels: Any) -> _Sums:
    """Walk the upper half of the Gram matrix in tiles; ``xp`` is numpy or torch, alike in all that is used here."""
    size = len(points)
    tile = max(1, min(size, TILE_BYTES // (4 * size)))
    norms = (points * points).sum(1)
    pairs, degree = 0.0, xp.zeros_like(norms, dtype=xp.float64)
    for start in range(0, size, tile):
        stop = min(size, start + tile)
        kernel = _kernel(xp, points[start:stop], points[start:], norms[start:stop], norms[start:])
        degree[start:stop] += kernel.sum(1)
        degree[stop:] += kernel[:, stop - start :].sum(0)
        kernel[:, stop - start :] *= 2
        pairs = pairs + (labels[start:stop] * (kernel @ labels[start:])).sum(0, dtype=xp.float64)
    rows = xp.zeros_like(pairs)
    for start in range(0, size, tile):
        some = slice(start, start + tile)
        rows += degree[some] @ xp.asarray(labels[some], dtype=xp.float64)
    return _Sums(_on_host(pairs), _on_host(rows), float(degree.sum()))


def _kernel(xp: Any, some: Any, rest: Any, some_norms: Any, rest_norms: Any) -> Any:
    """Kernel of ``some`` rows with the ``rest``, which start with the same rows: a row with itself counts 0."""
    kernel = some @ rest.T
    kernel *= 2
    kernel -= some_norms[:, None]
    kernel -= rest_norms
    xp.abs(kernel, out=kernel)
    kernel *= -0.5
    xp.exp(kernel, out=kernel)
    own = range(len(some))
    kernel[own, own] = 0
    return kernel


def _on_host(column: Any) -> FloatArray:
    return np.asarray(column.cpu() if hasattr(column, "cpu") else column, dtype=np.float64)
