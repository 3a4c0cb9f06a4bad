"""What users ask about: the words of their questions, before and since."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.rows import Floats, Ints
from tidegauge.detectors.diagnose.verdict import MOST_STRENGTH, Level, Stage, Verdict, told

WORD = re.compile(r"[^\W\d_][\w.]{2,}")
MOST_QUESTIONS, MOST_WORDS, FEWEST_QUESTIONS = 12_000, 300, 100
COMMON = 0.4
"""A word in more than this share of the questions says nothing about their topic."""
FLOOR, ERRORS = 0.02, 2.5
SHOWN = 5
COMPONENTS = 4


@dataclass(frozen=True)
class Words:
    """Which of the frequent words each question has: ``rows`` are the places of the questions looked at."""

    rows: Ints
    has: NDArray[np.float32]
    names: tuple[str, ...]

    @classmethod
    def of(cls, questions: Sequence[str]) -> Words | None:
        """None where fewer than 100 questions were captured."""
        asked = np.flatnonzero([bool(each) for each in questions])
        if len(asked) < FEWEST_QUESTIONS:
            return None
        rows = asked[:: -(-len(asked) // MOST_QUESTIONS)]
        said = [frozenset(WORD.findall(questions[at].lower())) for at in rows]
        counted = Counter(word for each in said for word in each)
        names = [word for word, n in counted.most_common() if 2 < n <= COMMON * len(rows)][:MOST_WORDS]
        place = {word: at for at, word in enumerate(names)}
        has = np.zeros((len(rows), len(names)), dtype=np.float32)
        for at, each in enumerate(said):
            has[at, [place[word] for word in each if word in place]] = 1.0
        return cls(rows.astype(np.int64), has, tuple(names))

    @cached_property
    def components(self) -> NDArray[np.float32]:
        """Each question on the directions in which questions differ most, one column each."""
        centred = self.has - self.has.mean(0)
        values, vectors = np.linalg.eigh(centred.T @ centred)
        best = np.argsort(-values)[:COMPONENTS]
        found: NDArray[np.float32] = centred @ vectors[:, best]
        return found


def topics(case: Case, words: Words | None) -> Verdict:
    """How far the mix of words went, against stretches of the time before among themselves."""
    if words is None or not len(words.names):
        why = "fewer than 100 questions were captured (content capture is off, or masks all)"
        return Verdict("topics", Stage.DATA, Level.UNKNOWN, why)
    slot, ones = case.slot[words.rows], np.ones(len(words.rows))
    counts = np.zeros((case.days, len(words.names)))
    np.add.at(counts, slot[slot >= 0], words.has[slot >= 0])
    asked = np.bincount(slot[slot >= 0], weights=ones[slot >= 0], minlength=case.days)
    zero = -case.first
    before, since = counts[:zero].sum(0), counts[zero:].sum(0)
    n, m = float(asked[:zero].sum()), float(asked[zero:].sum())
    if min(n, m) < FEWEST_QUESTIONS:
        return Verdict("topics", Stage.DATA, Level.UNKNOWN, f"{n:.0f} questions before and {m:.0f} since are too few")
    gap, error = _gap(before / n, since / m, n, m)
    usual = max(FLOOR, ERRORS * error)
    for a, b in case.spans:
        inside, k = counts[a + zero : b + zero].sum(0), float(asked[a + zero : b + zero].sum())
        if 0 < k < n:
            apart, chance = _gap((before - inside) / (n - k), inside / k, n - k, k)
            usual = max(usual, apart - ERRORS * chance)
    change = since / m - before / n
    order = np.argsort(change / np.sqrt(since / m + before / n + 1e-9))
    grown, shrunk = (", ".join(words.names[at] for at in each) for each in (order[::-1][:SHOWN], order[:SHOWN]))
    said = f"the mix of words moved by {gap:.2f}, usually up to {usual:.2f}; more of {grown}; less of {shrunk}"
    numbers: dict[str, float | str] = {"distance": gap, "usual": usual, "more": grown, "less": shrunk}
    return told(
        "topics", Stage.DATA, "topics moved", said, min(MOST_STRENGTH, max(0.0, gap) / usual), {"llm.topic"}, numbers
    )


def _gap(one: Floats, other: Floats, n: float, m: float) -> tuple[float, float]:
    """How far the shares of questions with each word are apart, and the standard error of that where nothing changed.

    The sum over words of ((p - q)^2 less what chance gives) / mean of p and q, over the sum of those means: 0 for the
    same mix, 2 for no word in common.
    """
    middle = np.maximum((one * n + other * m) / (n + m), 1e-9)
    chance = middle * (1 - middle) * (1 / n + 1 / m)
    mass = float(middle.sum())
    error = float(np.sqrt(2 * ((chance / middle) ** 2).sum())) / mass
    return float((((one - other) ** 2 - chance) / middle).sum()) / mass, error
