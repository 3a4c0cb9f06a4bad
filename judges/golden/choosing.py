"""Which of many failures to look at: few that stand for all, shared out among reasons and tenants. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegauge.judges.golden.alike import Matrix

OWN_STRENGTH = 0.5
"""How much a candidate's own strength counts beside the failures that it stands for."""


@dataclass(frozen=True, slots=True)
class Choosable:
    """What is chosen from, one entry a candidate.

    Attributes:
        similarity: n x n, 0 to 1.
        strength: 0 to 1.
        alike: How many failures say the same as it.
        strata: For each way to share out (reason, tenant), the candidates' stratum.
    """

    similarity: Matrix
    strength: Sequence[float]
    alike: Sequence[int]
    strata: Sequence[Sequence[str]]


def kept(same: NDArray[np.bool_], order: Sequence[int]) -> dict[int, list[int]]:
    """One for each group that says the same, the first in ``order``; to those, itself included.

    Only what is like the *kept* one is left out with it: a chain of small changes is not one group.

    >>> kept(np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool), [0, 1, 2])
    {0: [0, 1], 2: [2]}
    """
    left, groups = np.ones(len(same), dtype=bool), {}
    for at in order:
        if left[at]:
            members = np.flatnonzero(same[at] & left)
            groups[at] = members.tolist()
            left[members] = False
    return groups


def quotas(supply: Mapping[str, int], places: int) -> dict[str, int]:
    """Places for each stratum, shared out evenly; what a small one cannot fill goes to the others (max-min fairness).

    >>> quotas({"noisy": 1000, "a": 1, "b": 9}, 12)
    {'a': 1, 'b': 6, 'noisy': 5}
    """
    found, left = {}, places
    ranked = sorted(supply.items(), key=lambda each: (each[1], each[0]))
    for at, (name, held) in enumerate(ranked):
        found[name] = min(held, -(-left // (len(ranked) - at)))
        left -= found[name]
    return found


def choose(given: Choosable, places: int, rng: np.random.Generator) -> list[int]:
    """The best ``places`` candidates or fewer, the most telling first.

    Greedy for sum over i of w_i max over chosen j of similarity_ij (facility location, w_i by how often a failure came)
    plus the chosen ones' own strength; both are submodular, so greedy reaches 1 - 1/e of the best without quotas and
    half of it with one (Nemhauser, Wolsey and Fisher 1978; Fisher and others 1978). Quotas grow only when nothing
    else is left. ``rng`` breaks ties.
    """
    weights = np.log1p(np.asarray(given.alike, dtype=float))
    weights /= max(weights.sum(), 1e-12)
    own = OWN_STRENGTH * np.asarray(given.strength, dtype=float) / max(places, 1)
    ties = rng.random(len(own)) * 1e-9
    shares = [_Share(names, places) for names in given.strata]
    covered = np.zeros(len(own))
    free, chosen = np.ones(len(own), dtype=bool), list[int]()
    while len(chosen) < min(places, len(own)):
        allowed = free & np.all([share.open() for share in shares], axis=0)
        if not allowed.any():
            for share in shares:
                share.widen()
            continue
        gain = weights @ np.maximum(given.similarity - covered[:, None], 0) + own + ties
        best = int(np.argmax(np.where(allowed, gain, -1.0)))
        chosen.append(best)
        free[best] = False
        covered = np.maximum(covered, given.similarity[:, best])
        for share in shares:
            share.take(best)
    return chosen


class _Share:
    """The quotas of one way to share out, and what is taken of them."""

    def __init__(self, names: Sequence[str], places: int) -> None:
        self._names = names
        self._quota = quotas(Counter(names), places)
        self._taken: Counter[str] = Counter()

    def open(self) -> NDArray[np.bool_]:
        return np.array([self._taken[name] < self._quota[name] for name in self._names], dtype=bool)

    def take(self, at: int) -> None:
        self._taken[self._names[at]] += 1

    def widen(self) -> None:
        self._quota = {name: quota + 1 for name, quota in self._quota.items()}
