"""Topics: clusters frozen on the reference, and which of them grew and shrank, by words and texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from tidegauge.detectors.embedding.witness import ALIKE, SHOWN, cosine, words
from tidegauge.detectors.statistics import Outcome, Result, Undetermined, benjamini_hochberg, chi_squared
from tidegauge.detectors.statistics.missing import share_shift

MOST_TOPICS, TEXTS_A_TOPIC, LEAST_TEXTS = 20, 50, 100
FARTHEST = 0.99
TOLD, TERMS, EXAMPLES = 5, 6, 3
LEAST_USE = 3
NEW = "(unlike the reference)"
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Topic:
    """One topic's share of the texts, on both sides.

    ``low`` and ``high`` hold the difference of the shares, for all topics together; ``p_adjusted`` too.
    """

    name: str
    terms: tuple[str, ...]
    reference: float
    current: float
    low: float
    high: float
    p_adjusted: float
    change: str
    examples: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the evidence of a finding."""
        shares = {name: round(getattr(self, name), 4) for name in ("reference", "current", "low", "high")}
        texts = {"name": self.name, "terms": list(self.terms), "examples": list(self.examples)}
        return texts | shares | {"p_adjusted": self.p_adjusted, "change": self.change}


@dataclass(frozen=True)
class Clusters:
    """Centres, and how far from the nearest of them a text may lie."""

    centres: Vectors
    farthest: float

    @classmethod
    def fit(cls, reference: Vectors) -> Clusters:
        """Clusters of every other row; the rows between them say what is far. The same rows give the same clusters."""
        from sklearn.cluster import MiniBatchKMeans

        own, others = reference[::2], reference[1::2]
        count = max(2, min(MOST_TOPICS, len(reference) // TEXTS_A_TOPIC))
        found = MiniBatchKMeans(count, random_state=0, n_init=3, batch_size=max(256, count)).fit(own)
        centres = np.asarray(found.cluster_centers_, dtype=np.float32)
        return cls(centres, float(np.quantile(_squares(others, centres).min(axis=1), FARTHEST, method="higher")))

    def of(self, vectors: Vectors) -> NDArray[np.int64]:
        """The topic of each row; the last one is that of rows farther from all centres than 99 % of the reference."""
        squares = _squares(vectors, self.centres)
        nearest = squares.argmin(axis=1)
        return np.where(squares.min(axis=1) > self.farthest, len(self.centres), nearest)


def compare_topics(
    reference: Vectors, current: Vectors, before: Sequence[str], now: Sequence[str], rate: float
) -> tuple[Outcome, list[Topic]]:
    """Whether the shares of topics changed, and every topic, the surest changes first.

    Centres are fitted on one half of the reference and its shares counted on the other: rows that shaped a cluster lie
    in it more often than new ones do. The outcome is the chi-squared test over topics, named ``topics``. Of each topic
    the difference of shares is tested apart, adjusted for all (Benjamini and Hochberg), with intervals of Newcombe's
    hybrid of scores at a level divided by the number of topics (Statistics in Medicine, 1998).
    """
    if min(len(reference), len(current)) < LEAST_TEXTS:
        few = min(len(reference), len(current))
        return Undetermined("topics", f"{few} texts are too few: {LEAST_TEXTS} are needed", len(before), len(now)), []
    if len(np.unique(reference[::2], axis=0)) < 2 * TERMS:
        return Undetermined("topics", "the reference repeats the same few texts", len(before), len(now)), []
    clusters = Clusters.fit(reference)
    of_before, of_now = clusters.of(reference), clusters.of(current)
    size = len(clusters.centres) + 1
    old, new = (np.bincount(each, minlength=size).astype(np.int64) for each in (of_before[1::2], of_now))
    topics = _topics(old, new, _terms(of_before, of_now, before, now, size), rate)
    for at, each in enumerate(topics):
        if each.change == "grew":
            topics[at] = replace(each, examples=_examples(current, of_now == at, now))
        elif each.change == "shrank":
            topics[at] = replace(each, examples=_examples(reference, of_before == at, before))
    ranked = sorted(topics, key=lambda each: (each.p_adjusted, -abs(each.current - each.reference)))
    return _outcome(old, new, ranked), ranked


def told(topics: Sequence[Topic]) -> str:
    """The topics that changed, in a sentence.

    >>> told([Topic("refund, bank", ("refund", "bank"), 0.0, 0.21, 0.1, 0.3, 0.001, "grew")])
    'grew: refund, bank (0 % to 21 %)'
    """
    parts = []
    for change in ("grew", "shrank"):
        found = [
            f"{each.name} ({each.reference:.0%} to {each.current:.0%})" for each in topics if each.change == change
        ]
        parts += [f"{change}: {'; '.join(found[:TOLD])}".replace("%)", " %)").replace("% to", " % to")] if found else []
    return "; ".join(parts)


def _outcome(old: NDArray[np.int64], new: NDArray[np.int64], topics: Sequence[Topic]) -> Outcome:
    found = chi_squared(old, new)
    if isinstance(found, Undetermined):
        return replace(found, method="topics")
    return replace(found, method="topics", note=told(topics))


def _topics(
    old: NDArray[np.int64], new: NDArray[np.int64], terms: Sequence[tuple[str, ...]], rate: float
) -> list[Topic]:
    n, m = int(old.sum()), int(new.sum())
    tests = [share_shift("topic", int(a), n, int(b), m) for a, b in zip(old, new, strict=True)]
    p_values = np.array([each.p_value if isinstance(each, Result) else 1.0 for each in tests], dtype=np.float64)
    adjusted = benjamini_hochberg(p_values, rate)[1]
    z = float(ndtri(1 - rate / (2 * len(old))))
    found = []
    for at, (a, b) in enumerate(zip(old.tolist(), new.tolist(), strict=True)):
        low, high = _newcombe(a, n, b, m, z)
        name = ", ".join(terms[at][:3]) or f"topic {at + 1}"
        name = f"{NEW} {', '.join(terms[at][:3])}".strip() if at == len(old) - 1 else name
        moved = "grew" if b * n > a * m else "shrank"
        change = moved if adjusted[at] <= rate else ""
        found.append(Topic(name, terms[at], a / n, b / m, low, high, float(adjusted[at]), change))
    return found


def _newcombe(a: int, n: int, b: int, m: int, z: float) -> tuple[float, float]:
    """Limits of b / m - a / n."""
    (low, high), (lower, upper) = _wilson(b, m, z), _wilson(a, n, z)
    p, q = b / m, a / n
    return p - q - sqrt((p - low) ** 2 + (upper - q) ** 2), p - q + sqrt((high - p) ** 2 + (q - lower) ** 2)


def _wilson(hits: int, n: int, z: float) -> tuple[float, float]:
    share, square = hits / n, z * z / n
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * sqrt(share * (1 - share) / n + square / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _terms(
    of_before: NDArray[np.int64], of_now: NDArray[np.int64], before: Sequence[str], now: Sequence[str], size: int
) -> list[tuple[str, ...]]:
    """The words of each topic: share of its texts with the word, times the log of how much larger that is than usual.

    A word counts once a text. After c-TF-IDF (Grootendorst, arXiv 2203.05794), with shares for counts, so that a large
    topic says no more than a small one.
    """
    topics, texts = np.concatenate([of_before, of_now]), [*before, *now]
    counts: list[Counter[str]] = [Counter() for _ in range(size)]
    for topic, text in zip(topics.tolist(), texts, strict=True):
        counts[topic].update(words(text))
    sizes = np.maximum(np.bincount(topics, minlength=size), 1).tolist()
    usual: dict[str, float] = {}
    for found, rows in zip(counts, sizes, strict=True):
        for word, count in found.items():
            usual[word] = usual.get(word, 0.0) + count / rows / size
    return [_ranked(found, rows, usual) for found, rows in zip(counts, sizes, strict=True)]


def _ranked(found: Counter[str], rows: int, usual: Mapping[str, float]) -> tuple[str, ...]:
    scored = {
        word: count / rows * log(count / rows / usual[word])
        for word, count in found.items()
        if count >= LEAST_USE and count / rows > usual[word]
    }
    return tuple(sorted(scored, key=lambda word: (-scored[word], word))[:TERMS])


def _examples(vectors: Vectors, chosen: NDArray[np.bool_], texts: Sequence[str]) -> tuple[str, ...]:
    """The most typical texts of a topic; of those that say the same, one."""
    rows = np.flatnonzero(chosen)
    order = rows[np.argsort(_squares(vectors[rows], vectors[rows].mean(axis=0)[None])[:, 0], kind="stable")]
    found: list[int] = []
    for at in order.tolist():
        if len(found) < EXAMPLES and (not found or cosine(vectors[found], vectors[at]) < 0.5 + ALIKE / 2):
            found.append(at)
    return tuple(texts[at][:SHOWN] for at in found)


def _squares(rows: Vectors, centres: Vectors) -> Vectors:
    norms = np.einsum("ij,ij->i", rows, rows)[:, None] + np.einsum("ij,ij->i", centres, centres)
    return np.asarray(np.maximum(norms - 2 * rows @ centres.T, 0), dtype=np.float32)
