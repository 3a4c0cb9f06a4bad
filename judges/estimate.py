"""The mean score of *all* calls from the scores of the sampled ones, with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from scipy.stats import t as student

MIN_SCORES = 2


@dataclass(frozen=True, slots=True)
class Scored:
    """One judged call: its stratum, its inclusion probability in (0, 1], its score."""

    stratum: str
    probability: float
    score: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over the population of calls. ``covered`` is the share of it in strata that have any score at all."""

    mean: float
    low: float
    high: float
    scores: int
    population: int
    covered: float


@dataclass(frozen=True, slots=True)
class Undetermined:
    """There are too few scores to say anything."""

    reason: str
    scores: int


@dataclass(frozen=True, slots=True)
class _Stratum:
    population: int
    scores: int
    mean: float
    variance: float


def total(scored: Sequence[Scored]) -> float:
    """Horvitz-Thompson: the sum of scores over the population, ``sum(y / pi)``; unbiased when nothing is missing."""
    return math.fsum(each.score / each.probability for each in scored)


def mean_score(
    scored: Sequence[Scored], populations: Mapping[str, int], confidence: float = 0.95
) -> Estimate | Undetermined:
    """Hajek's ratio ``sum(y / pi) / sum(1 / pi)`` inside each stratum, weighed by the strata's known sizes.

    Knowing the sizes makes verdicts that are missing (invalid, undetermined, never afforded) lower the precision of
    their own stratum and nothing else, as long as they are missing regardless of quality there. A stratum without any
    score is left out and shows in ``covered``. The interval is Student's, for the population of these very calls: it
    shrinks to nothing as every call is judged. A score of 0 to 1 keeps it inside 0 to 1.

    >>> found = mean_score([Scored("a", 0.5, 1.0), Scored("a", 0.5, 0.0)], {"a": 4})
    >>> found.mean, found.population, found.covered
    (0.5, 4, 1.0)
    """
    everything = sum(populations.values())
    strata = [_summary(list(group), populations) for _, group in groupby(sorted(scored, key=_name), key=_name)]
    covered = sum(each.population for each in strata)
    if len(scored) < MIN_SCORES or covered == 0:
        return Undetermined(f"{len(scored)} scores; at least {MIN_SCORES} are needed", len(scored))
    mean = math.fsum(each.population * each.mean for each in strata) / covered
    half = _half_width(strata, scored, covered, confidence)
    low, high = max(min(0.0, mean), mean - half), min(max(1.0, mean), mean + half)
    return Estimate(mean, low, high, len(scored), everything, covered / everything)


def _summary(group: Sequence[Scored], populations: Mapping[str, int]) -> _Stratum:
    weights = [1 / each.probability for each in group]
    size = math.fsum(weights)
    mean = math.fsum(weight * each.score for weight, each in zip(weights, group, strict=True)) / size
    population = max(populations.get(group[0].stratum, 0), len(group))
    unseen = max(0.0, 1 - len(group) / population)
    errors = math.fsum((weight * (each.score - mean)) ** 2 for weight, each in zip(weights, group, strict=True))
    corrected = len(group) / (len(group) - 1) if len(group) > 1 else 1.0
    return _Stratum(population, len(group), mean, unseen * corrected * errors / size**2)


def _half_width(strata: Sequence[_Stratum], scored: Sequence[Scored], covered: int, confidence: float) -> float:
    variance = math.fsum((each.population / covered) ** 2 * _variance(each, scored) for each in strata)
    freedom = max(1, len(scored) - len(strata))
    return float(student.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)


def _variance(stratum: _Stratum, scored: Sequence[Scored]) -> float:
    """A stratum with a single score borrows the scatter of all scores: its own cannot be known."""
    if stratum.scores > 1 or stratum.population == 1:
        return stratum.variance
    middle = math.fsum(each.score for each in scored) / len(scored)
    return math.fsum((each.score - middle) ** 2 for each in scored) / (len(scored) - 1)


_name = attrgetter("stratum")
