"""What kind of question a model answers, told from its predictions and labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tidegauge.detectors.labels import canonical
from tidegauge.detectors.performance import ranking
from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.detectors.traffic import Category, Codes

Kind = Literal["binary", "multiclass", "regression", "ranking"]
POSITIVE = ("1.0", "true", "yes", "positive", "y", "t")
MOST = 0.9
CERTAIN = 0.99
SEEN = 0.02


@dataclass(frozen=True, slots=True)
class Task:
    """A kind and what goes with it.

    Args:
        classes: Canonical names, sorted; of a binary model the negative one first. Empty for regression and ranking.
        probabilities: The score is a probability, 0 to 1, not only an order.
        confidence: The score is that of the predicted class, not that of the positive one.
    """

    kind: Kind
    classes: tuple[str, ...] = ()
    probabilities: bool = False
    confidence: bool = False

    @property
    def text(self) -> str:
        """As JSON, to write down beside what was computed with it."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def infer(said: Category, label: Category, score: FloatArray, kind: str = "auto", positive: str = "") -> Task:
    """The task of labelled rows.

    Lists are rankings. Numbers, more than 20 different ones, are measurements, and few are where predictions lie
    between them (ratings of 1 to 5, foretold as 3.7). Anything else is a class: two of them make a binary model, whose
    positive class is ``positive``, else one that is called so (1, true, yes, positive), else the one that is predicted
    where scores are high.
    """
    chosen = kind if kind != "auto" else _kind(said, label)
    if chosen in ("regression", "ranking"):
        return Task("regression" if chosen == "regression" else "ranking")
    known = score[np.isfinite(score)]
    probable = bool(len(known)) and known.min() >= 0 and known.max() <= 1
    names = sorted({canonical(each) for each in (*said.counts(), *label.counts())})
    if chosen == "multiclass" or (chosen == "auto" and len(names) > 2) or len(names) > 2:
        return Task("multiclass", tuple(names), probable, True)
    first = _positive(names, said, score, positive)
    other = next((each for each in names if each != first), "")
    return Task("binary", (other, first), probable, probable and _is_confidence(said, score))


def codes(column: Category, classes: Sequence[str]) -> Codes:
    """The place of each row's class in ``classes``; -1 where it is missing or is none of them."""
    places = {name: at for at, name in enumerate(classes)}
    found = (places.get(canonical(name), -1) for name in column.names)
    return np.array([*found, -1], dtype=np.int32)[column.codes]


def _kind(said: Category, label: Category) -> str:
    counts = said.counts()
    if _share(counts, lambda name: name.startswith("[") and ranking.parsed(name) is not None) >= MOST:
        return "ranking"
    measured = label.numeric or (said.numeric and label.all_numbers)
    return "regression" if measured else "auto"


def _share(counts: Mapping[str, int], holds: Callable[[str], bool]) -> float:
    total = sum(counts.values())
    return sum(count for name, count in counts.items() if holds(name)) / total if total else 0.0


def _positive(names: Sequence[str], said: Category, score: FloatArray, wanted: str) -> str:
    if wanted:
        return canonical(wanted)
    called = [each for each in names if each in POSITIVE]
    if called or len(names) < 2:
        return called[0] if called else "1.0"
    place = codes(said, names)
    means = {name: np.nanmean(score[place == at]) for at, name in enumerate(names) if _any(score[place == at])}
    return max(means, key=lambda name: float(means[name])) if means else names[-1]


def _is_confidence(said: Category, score: FloatArray) -> bool:
    """Whether scores are high whichever class is predicted: no probability of one class is."""
    known = np.isfinite(score)
    shares = [count / max(1, len(score)) for count in said.counts().values()]
    return len(shares) == 2 and min(shares) > SEEN and float(np.mean(score[known] >= 0.5)) >= CERTAIN


def _any(values: FloatArray) -> bool:
    return bool(np.isfinite(values).any())
