"""MMD from sums: random Fourier features added up by bucket, and buckets exchanged for the p-value."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.statistics.arrays import FloatArray, IntArray, Matrix
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled

FLOOR = 0.001
FREQUENCIES = 512
LEAST_BUCKETS = 8
"""On each side: of 8 against 8 there are 12,870 exchanges."""
LEAST_ROWS = 20
TILE_ROWS = 4096
LEAST_SPREAD = 1e-12


@dataclass(frozen=True)
class FeatureMap:
    """Random Fourier features of one embedding model: frozen, so that what was summed at any time can be compared.

    phi(x) = [cos(W x), sin(W x)] / sqrt(R), the R rows of W from a normal law of deviation 1 / ``width``: phi(x) phi(y)
    is on average exp(-|x - y|² / (2 width²)), the kernel of ``mmd``, and every phi has length 1.
    Source: Rahimi and Recht, Advances in Neural Information Processing Systems, 2007.

    Attributes:
        embedding_model: What made the vectors; those of two models have nothing in common.
        dimensions: Of a vector.
        width: Bandwidth of the kernel, in the unit of the vectors.
        seed: Of the frequencies.
        count: R, frequencies; a sum has 2 R numbers.
    """

    embedding_model: str
    dimensions: int
    width: float
    seed: int = 0
    count: int = FREQUENCIES

    def __post_init__(self) -> None:
        if not (self.dimensions > 0 and self.count > 0 and 0 < self.width < np.inf):
            raise ValueError(f"a feature map needs dimensions, frequencies and a width above 0, got {self}")

    @cached_property
    def frequencies(self) -> NDArray[np.float32]:
        """R rows, a column for each dimension. Legacy generators give the same stream in every version of numpy."""
        normal = np.random.RandomState(self.seed).standard_normal((self.count, self.dimensions))
        return (normal / self.width).astype(np.float32)

    @cached_property
    def name(self) -> str:
        """A digest of the model and of the frequencies themselves: sums under two names cannot be compared.

        >>> FeatureMap("a", 3, 1.0).name == FeatureMap("b", 3, 1.0).name
        False
        """
        known = hashlib.sha256(f"{self.embedding_model}\x1f{self.count}".encode(errors="surrogatepass"))
        known.update(self.frequencies.tobytes())
        return known.hexdigest()[:16]

    def features(self, vectors: Matrix) -> NDArray[np.float32]:
        """One row of 2 R features for each vector.

        Raises:
            ValueError: the vectors have other dimensions.

        >>> round(float(np.square(FeatureMap("a", 3, 1.0).features(np.ones((1, 3)))).sum()), 4)
        1.0
        """
        rows = np.asarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dimensions:
            raise ValueError(f"vectors of {self.dimensions} dimensions were expected, got an array of {rows.shape}")
        angles = rows @ self.frequencies.T
        found = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        found /= np.float32(np.sqrt(self.count))
        return found

    def buckets(self, vectors: Matrix, bucket_of: IntArray, count: int) -> Buckets:
        """Sums over the rows of each bucket, 0 to ``count`` - 1; rows with a NaN or an infinity are left out.

        >>> FeatureMap("a", 2, 1.0).buckets(np.zeros((3, 2)), np.array([0, 1, 1]), 2).rows.tolist()
        [1, 2]
        """
        kept = np.asarray(np.isfinite(vectors).all(axis=1))
        sums = np.zeros((count, 2 * self.count))
        for start in range(0, len(vectors), TILE_ROWS):
            some = slice(start, start + TILE_ROWS)
            of_row, order = bucket_of[some][kept[some]], np.argsort(bucket_of[some][kept[some]], kind="stable")
            if len(order):
                starts = np.flatnonzero(np.diff(of_row[order], prepend=-1))
                found = self.features(np.asarray(vectors)[some][kept[some]][order])
                sums[of_row[order][starts]] += np.add.reduceat(found, starts, axis=0, dtype=np.float64)
        rows = np.bincount(np.asarray(bucket_of)[kept], minlength=count).astype(np.int64)
        return Buckets(self.name, rows, sums)


@dataclass(frozen=True)
class Buckets:
    """Sums of features, a row for each bucket: a stretch of time in one part of the traffic.

    ``features`` names the map that they were made with, ``rows`` how many vectors each sum is of.
    """

    features: str
    rows: IntArray
    sums: FloatArray

    @property
    def whole(self) -> Buckets:
        """Without empty buckets, and without those that no rows can add up to: no feature is beyond 1."""
        largest = np.abs(self.sums).max(axis=1, initial=0.0)
        kept = np.asarray((self.rows > 0) & (largest <= 1.001 * self.rows))
        return self if kept.all() else Buckets(self.features, self.rows[kept], self.sums[kept])


def random_features(
    reference: Buckets,
    current: Buckets,
    *,
    permutations: int = 999,
    rng: np.random.Generator,
    floor: float = FLOOR,
) -> Outcome:
    """MMD² of all rows of two sets of buckets, from their sums alone, p-value by exchanging whole buckets.

    With S and n a side's sum and rows, within = sum over pairs of different buckets of s_b s_c, over the number of such
    pairs of rows, and MMD² = within reference + within current - 2 S S' / (n n'): pairs in one bucket are left out, so
    rows of one bucket may depend on each other, as those of one conversation or one incident do. Buckets must be
    exchangeable: as long in time and, so far as it matters, far enough apart. The statistic that is compared is
    MMD² over the variance of both means between buckets (as Chung and Romano, Annals of Statistics, 2013, for means),
    because with less traffic in the window than before, plain MMD² would reject too often.

    Range: about 0 (equal; slightly negative by chance) to 2; no unit; symmetric. p = (1 + hits) / (1 + permutations).
    ``effect`` is MMD² over the mean kernel within the reference, as in ``mmd``; so is the floor.
    Undetermined with fewer than 8 buckets or 20 rows on a side, and where the two were made with other features.
    Sources: Gretton and others, Journal of Machine Learning Research, 2012; Choi and Kim, arXiv 2407.08976.

    >>> rng, of = np.random.default_rng(0), FeatureMap("demo", 3, 1.0)
    >>> before, now = rng.normal(size=(160, 3)), rng.normal(size=(80, 3)) + 1
    >>> sides = of.buckets(before, np.arange(160) % 16, 16), of.buckets(now, np.arange(80) % 8, 8)
    >>> random_features(*sides, rng=rng).p_value
    0.001
    """
    left, right = reference.whole, current.whole
    n, m = int(left.rows.sum()), int(right.rows.sum())
    dropped = int(reference.rows.sum()) - n, int(current.rows.sum()) - m
    if reason := _reason(left, right):
        return Undetermined("random_features", reason, n, m)
    rows = np.concatenate([left.rows, right.rows]).astype(np.float64)
    sums = np.concatenate([left.sums, right.sums])
    values, spread, within = _estimates(sums, rows, _labels(len(left.rows), len(rows), permutations, rng))
    scaled = values / np.maximum(spread, LEAST_SPREAD)
    hits = int(np.count_nonzero(scaled[1:] >= scaled[0] - 1e-9 * abs(scaled[0])))  # within rounding
    effect = max(0.0, float(values[0] / within)) if within > 0 else float("nan")
    p_value = (1 + hits) / (1 + permutations)
    note = f"from {len(right.rows)} stretches against {len(left.rows)}"
    return settled(Result("random_features", float(values[0]), p_value, effect, floor, n, m, *dropped, note))


def effect_between(reference: Buckets, current: Buckets) -> float | None:
    """The ``effect`` that ``random_features`` would give, in time that grows with the number of buckets alone.

    None where it would be undetermined.

    >>> at = FeatureMap("demo", 1, 1.0).buckets(np.arange(64.0)[:, None] % 4, np.arange(64) % 16, 16)
    >>> effect_between(at, at)
    0.0
    """
    left, right = reference.whole, current.whole
    if _reason(left, right):
        return None
    within, other = (_within(each) for each in (left, right))
    across = float(left.sums.sum(axis=0) @ right.sums.sum(axis=0)) / float(left.rows.sum() * right.rows.sum())
    return max(0.0, (within + other - 2 * across) / within) if within > 0 else None


def _within(side: Buckets) -> float:
    """Mean kernel between rows of different buckets."""
    whole, rows = side.sums.sum(axis=0), side.rows.astype(np.float64)
    own = float(np.einsum("ij,ij->", side.sums, side.sums))
    return (float(whole @ whole) - own) / float(rows.sum() ** 2 - np.square(rows).sum())


def _reason(left: Buckets, right: Buckets) -> str:
    if left.features != right.features:
        return (
            f"not comparable: the reference was summed with the features {left.features or '(none)'}, the window with "
            f"{right.features or '(none)'}: another embedding model, or other frequencies"
        )
    few = min(len(left.rows), len(right.rows))
    if few < LEAST_BUCKETS:
        return f"{few} stretches with rows are too few: {LEAST_BUCKETS} are needed"
    rows = int(min(left.rows.sum(), right.rows.sum()))
    return f"{rows} rows are too few: {LEAST_ROWS} are needed" if rows < LEAST_ROWS else ""


def _labels(reference: int, size: int, permutations: int, rng: np.random.Generator) -> FloatArray:
    """One row for each arrangement, 1 where a bucket counts as reference; the first row is the truth."""
    truth = np.arange(size) < reference
    return np.stack([truth, *(rng.permutation(truth) for _ in range(permutations))]).astype(np.float64)


def _estimates(sums: FloatArray, rows: FloatArray, labels: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """MMD² of every arrangement, the variance of the two means in it, and the mean kernel within the true reference.

    All are quadratic forms of the Gram matrix of the buckets' sums.
    """
    gram = sums @ sums.T
    reached = labels @ gram
    within, spread, total = _side(gram, rows, labels, reached)
    other, other_spread, other_total = _side(gram, rows, 1 - labels, gram.sum(axis=0) - reached)
    across = (reached * (1 - labels)).sum(axis=1) / (total * other_total)
    return within + other - 2 * across, spread + other_spread, float(within[0])


def _side(
    gram: FloatArray, rows: FloatArray, part: FloatArray, reached: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of one side: mean kernel between different buckets, variance of the mean between buckets, and rows.

    ``reached`` is the product of ``part`` and the Gram matrix.
    """
    total, squares, own = part @ rows, part @ (rows * rows), part @ np.diag(gram)
    pairs = (reached * part).sum(axis=1)
    weighted = (reached * (part * rows)).sum(axis=1)
    residual = own - 2 * weighted / total + pairs * squares / (total * total)
    buckets = part.sum(axis=1)
    spread = np.maximum(residual, 0) * buckets / np.maximum(buckets - 1, 1) / (total * total)
    different = np.maximum(total * total - squares, np.finfo(np.float64).tiny)
    return (pairs - own) / different, spread, total
