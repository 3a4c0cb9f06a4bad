"""What a change of texts is about: the texts least like the reference, and the words that became more frequent."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.detectors.statistics.mmd import median_distance

EXAMPLES, TERMS, SHOWN = 5, 8, 300
CANDIDATES, ALIKE = 200, 0.8
WORD = re.compile(r"[^\W\d_]{3,}", re.UNICODE)
LEAST_TEXTS, LONGEST = 3, 40
LEAST_Z = 2.0


def explain(
    reference: NDArray[np.float32], current: NDArray[np.float32], before: Sequence[str], now: Sequence[str]
) -> str:
    """Evidence as JSON: ``examples``, and ``terms`` with the shares of texts that have them."""
    found = {"examples": examples(reference, current, now), "terms": grown_terms(before, now)}
    return json.dumps(found, ensure_ascii=False)


def witness(reference: NDArray[np.float32], current: NDArray[np.float32]) -> FloatArray:
    """f(x) = mean k(x, current) - mean k(x, reference) at each current row: high where only the current one is dense.

    The kernel is that of the MMD test. Source: Gretton and others, Journal of Machine Learning Research, 2012.

    >>> near, far = np.zeros((5, 2), np.float32), np.full((5, 2), 9, np.float32)
    >>> witness(np.arange(10, dtype=np.float32).reshape(5, 2) / 9, np.vstack([near, far])).argmax() >= 5
    np.True_
    """
    width = median_distance(reference) or 1.0
    return _mean_kernel(current, current, width) - _mean_kernel(current, reference, width)


def examples(reference: NDArray[np.float32], current: NDArray[np.float32], texts: Sequence[str]) -> list[str]:
    """The current texts with the highest witness, cut to 300 characters; of those that say the same, one."""
    chosen: list[int] = []
    for at in np.argsort(-witness(reference, current), kind="stable")[:CANDIDATES].tolist():
        if not chosen or cosine(current[chosen], current[at]) < ALIKE:
            chosen.append(at)
    return [texts[at][:SHOWN] for at in chosen[:EXAMPLES]]


def grown_terms(before: Sequence[str], now: Sequence[str]) -> list[dict[str, object]]:
    """The words in a larger share of texts than before, the surest first: log odds ratio over its standard error.

    A word counts once a text. Half a text is added to each count. Source: Haldane 1956, for the correction.

    >>> [term["term"] for term in grown_terms(["my order"] * 9, ["my refund please"] * 9)]
    ['please', 'refund']
    """
    old, new = (Counter(word for text in texts for word in words(text)) for texts in (before, now))
    n, m = len(before), len(now)
    scored = {word: _z(old[word], n, count, m) for word, count in new.items() if count >= LEAST_TEXTS}
    ranked = sorted((word for word in scored if scored[word] >= LEAST_Z), key=lambda word: (-scored[word], word))
    return [
        {"term": word, "reference": round(old[word] / n, 4) if n else 0.0, "current": round(new[word] / m, 4)}
        for word in ranked[:TERMS]
    ]


def cosine(rows: NDArray[np.float32], row: NDArray[np.float32]) -> float:
    """The largest cosine of ``row`` with one of ``rows``."""
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(row)
    return float(np.max(rows @ row / np.maximum(lengths, 1e-12)))


def words(text: str) -> set[str]:
    """The different words of a text, in small letters; a word has 3 to 40 letters and no digit."""
    return {word for word in WORD.findall(text.lower()) if len(word) <= LONGEST}


def _z(old: int, n: int, new: int, m: int) -> float:
    a, b, c, d = (count + 0.5 for count in (new, m - new, old, n - old))
    return log(a * d / (b * c)) / sqrt(1 / a + 1 / b + 1 / c + 1 / d)


def _mean_kernel(at: NDArray[np.float32], rows: NDArray[np.float32], width: float) -> FloatArray:
    squares = np.einsum("ij,ij->i", at, at)[:, None] + np.einsum("ij,ij->i", rows, rows) - 2 * at @ rows.T
    return np.asarray(np.exp(-np.maximum(squares, 0) / (2 * width * width)).mean(axis=1), dtype=np.float64)
