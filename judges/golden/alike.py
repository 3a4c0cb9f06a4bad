"""How alike failures are: by what was said or sent, and by their circumstances. Pure; every matrix is n x n, 0 to 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import rankdata
from sklearn.feature_extraction.text import HashingVectorizer

from tidegauge.golden import normalised
from tidegauge.judges.golden.failure import Case

Matrix: TypeAlias = NDArray[np.float32]
Embed: TypeAlias = Callable[[Sequence[str]], Matrix | None]
"""Texts to one row each; None where there is nothing to embed with."""
SAME = 0.85
"""Jaccard of two texts' shingles from which they say the same: one word changed in a line is below it."""
SAME_VECTOR = 0.95
"""Cosine of two embeddings from which their texts say the same."""
LONGEST = 4_000  # characters that are compared
CONTENT = 0.6
"""Weight of what was said or sent; the rest is that of the circumstances."""
_SHINGLES = HashingVectorizer(
    analyzer="char_wb",
    ngram_range=(4, 4),
    n_features=2**18,
    binary=True,
    norm=None,
    alternate_sign=False,
    lowercase=False,
)


def jaccard(texts: Sequence[str]) -> Matrix:
    """Share of shingles of four characters that two texts have in common; an empty text is like nothing else.

    Shingles do not cross spaces, so that the order of words hardly matters; letters of any script will do.

    >>> jaccard(["reset my password", "Reset  my password", "cancel the order"]).round(2).tolist()[0]
    [1.0, 1.0, 0.0]
    """
    shingles = _SHINGLES.transform([normalised(text)[:LONGEST] for text in texts])
    sizes = np.asarray(shingles.sum(axis=1)).ravel()
    both = _gram(shingles)
    either = sizes[:, None] + sizes[None, :] - both
    return np.asarray(np.divide(both, either, out=np.zeros_like(both), where=either > 0), dtype=np.float32)


def cosine(vectors: Matrix) -> Matrix:
    """Cosine of rows of any length, below 0 as 0; a row of zeros is like nothing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = vectors / np.where(lengths > 0, lengths, 1)
    return np.asarray(np.clip(rows @ rows.T, 0, 1), dtype=np.float32)


def features(cases: Sequence[Case]) -> Matrix:
    """1 - mean squared difference of features: of numbers that of their ranks, of text 0 or 1, as of what is missing.

    By ranks (Gower 1971, but squared, which is one matrix product), so that no unit and no outlier decides.
    """
    names = sorted({name for case in cases for name in case.features})
    if not names:
        return np.zeros((len(cases), len(cases)), dtype=np.float32)
    rows = sparse.hstack([_column([case.features.get(name) for case in cases]) for name in names], format="csr")
    squares = np.asarray(rows.multiply(rows).sum(axis=1)).ravel()
    distance = squares[:, None] + squares[None, :] - 2 * _gram(rows)
    return np.asarray(np.clip(1 - distance / len(names), 0, 1), dtype=np.float32)


def circumstances(cases: Sequence[Case]) -> Matrix:
    """Jaccard of reasons, slices and versions."""
    traits = [_traits(case) for case in cases]
    places = {trait: at for at, trait in enumerate(sorted(set().union(*traits)))}
    columns = [places[trait] for each in traits for trait in sorted(each)]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in traits])])
    rows = sparse.csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(cases), len(places)))
    sizes = np.diff(starts).astype(float)
    both = _gram(rows)
    return np.asarray(both / np.maximum(sizes[:, None] + sizes[None, :] - both, 1), dtype=np.float32)


def same(cases: Sequence[Case], vectors: Matrix | None = None) -> NDArray[np.bool_]:
    """Which cases say the same: equal or nearly equal texts, or embeddings; of predictions equal features."""
    if any(case.features for case in cases):
        codes = np.unique([case.text for case in cases], return_inverse=True)[1]
        return np.asarray(codes[:, None] == codes[None, :])
    found = jaccard([case.text for case in cases]) >= SAME
    if vectors is not None:
        found |= cosine(vectors) >= SAME_VECTOR
    return np.asarray(found | np.eye(len(cases), dtype=bool))


def similarity(cases: Sequence[Case], vectors: Matrix | None = None) -> Matrix:
    """What was said or sent and the circumstances together; where nothing of both was captured, the latter alone."""
    around = circumstances(cases)
    if any(case.features for case in cases):
        content = features(cases)
    else:
        content = cosine(vectors) if vectors is not None else jaccard([case.text for case in cases])
    known = np.array([bool(case.text) for case in cases])
    weight = np.where(known[:, None] & known[None, :], CONTENT, 0.0)
    return np.asarray(weight * content + (1 - weight) * around, dtype=np.float32)


def _traits(case: Case) -> set[str]:
    reasons = {f"reason {reason}" for reason in case.reasons}
    named = {f"{name}={value}" for name, value in {**case.versions, **case.slices}.items()}
    return reasons | named | {f"output {len(case.output) > 0}"}


def _column(values: Sequence[float | str | None]) -> sparse.csr_matrix:
    """Columns of one feature: the rank of numbers in 0..1, and for each text one that is 1/sqrt(2) where it stands."""
    numbers = np.array([value if isinstance(value, float) else np.nan for value in values])
    finite = np.isfinite(numbers)
    ranks = np.zeros(len(values))
    if finite.any():
        ranks[finite] = (rankdata(numbers[finite]) - 0.5) / finite.sum()
    words = ["" if is_number else f"t{value}" for value, is_number in zip(values, finite, strict=True)]
    places = {word: at for at, word in enumerate(sorted({word for word in words if word}))}
    at = [row for row, word in enumerate(words) if word]
    cells = (np.full(len(at), np.sqrt(0.5)), (at, [places[words[row]] for row in at]))
    texts = sparse.csr_matrix(cells, shape=(len(values), len(places)))
    return sparse.hstack([sparse.csr_matrix(ranks[:, None]), texts], format="csr")


def _gram(rows: sparse.csr_matrix) -> NDArray[np.float64]:
    return np.asarray((rows @ rows.T).toarray(), dtype=np.float64)
