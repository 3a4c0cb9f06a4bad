"""What users ask about: topics that detectors found grown or shrunk, and the words of questions, before and since."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.rows import Floats, Ints
from tidegauge.detectors.diagnose.verdict import MOST_STRENGTH, SUSPECT_FROM, Level, Stage, Verdict, level_of, told

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


@dataclass(frozen=True)
class Drifted:
    """Drift that the detectors of texts stored of one window, with the topics that changed: see docs/embeddings.md.

    Attributes:
        since: Start of the first window of the unbroken run of drift that this one belongs to.
        times: The effect over its floor, so 1 where it is just drift.
        topics: Name, change (``grew`` or ``shrank``), and share in the reference and in the window.
    """

    start: datetime
    end: datetime
    since: datetime
    times: float
    topics: tuple[tuple[str, str, float, float], ...]

    def of(self, change: datetime) -> bool:
        """Whether most of the window lies after the change, and no window that ended before it had drifted."""
        return self.end - change >= (self.end - self.start) / 2 and self.since + (self.end - self.start) > change

    def named(self, change: str) -> str:
        """The topics that changed so, with their shares."""
        found = [f"{name} ({old:.0%} to {new:.0%})" for name, how, old, new in self.topics if how == change]
        return "; ".join(found[:SHOWN])


def topics(case: Case, words: Words | None, drifted: Sequence[Drifted] = ()) -> Verdict:
    """What the detectors of texts found since, the clearest window; beside it, and where there is none, the words."""
    said = _words(case, words)
    found = max((each for each in drifted if each.of(case.since)), key=lambda each: each.times, default=None)
    return said if found is None else _with(said, found)


def _with(said: Verdict, found: Drifted) -> Verdict:
    """The words' verdict with the topics in front; what is just drift is suspect."""
    strength = max(said.strength, min(MOST_STRENGTH, SUSPECT_FROM * found.times))
    changed = [f"{change} {named}" for change in ("grew", "shrank") if (named := found.named(change))]
    window = f"{found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC"
    summary = f"topics of {window}, {found.times:.1f} times what is drift: {', '.join(changed)}; {said.summary}"
    numbers = {**said.evidence, "times the floor": found.times, "topics": ", ".join(changed)}
    columns, cause = frozenset({"llm.topic"}), "topics moved"
    level = level_of(strength)
    return replace(
        said, level=level, summary=summary, cause=cause, strength=strength, columns=columns, evidence=numbers
    )


def _words(case: Case, words: Words | None) -> Verdict:
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
