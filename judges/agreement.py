"""A judge against people: how far they agree, and what people's labels make of a judge's scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

MIN_PAIRS = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """Pass or fail of judge and human on the same calls.

    ``kappa`` (Cohen) and ``ac1`` (Gwet) are 1 for full agreement and 0 for what chance gives; AC1 holds where nearly
    everything passes and kappa collapses. ``bias`` is the judge's pass rate minus the human one. Alert on
    ``kappa_low``: a judge whose agreement is not known to be good is no better than one that is known to be bad.
    """

    pairs: int
    observed: float
    kappa: float
    kappa_low: float
    kappa_high: float
    ac1: float
    bias: float


@dataclass(frozen=True, slots=True)
class Corrected:
    """A judge's mean, corrected by human labels. ``power`` in 0..1 is how much weight the judge's scores got."""

    mean: float
    low: float
    high: float
    power: float


@dataclass(frozen=True, slots=True)
class Undetermined:
    """There are too few pairs, or they are all alike."""

    reason: str
    pairs: int


def agreement(judge: Sequence[bool], human: Sequence[bool], confidence: float = 0.95) -> Agreement | Undetermined:
    """Cohen's kappa ``(po - pe) / (1 - pe)`` with its normal interval, and Gwet's AC1, of paired verdicts."""
    first, second = np.asarray(judge, dtype=bool), np.asarray(human, dtype=bool)
    if len(first) != len(second):
        raise ValueError(f"verdicts must be paired: {len(first)} of the judge, {len(second)} of humans")
    if len(first) < MIN_PAIRS:
        return Undetermined(f"{len(first)} pairs; at least {MIN_PAIRS} are needed", len(first))
    a, b, observed = float(first.mean()), float(second.mean()), float((first == second).mean())
    by_chance, by_chance_ac1 = a * b + (1 - a) * (1 - b), 2 * ((a + b) / 2) * (1 - (a + b) / 2)
    if by_chance == 1:
        return Undetermined("judge and humans gave every call the same verdict: chance alone explains it", len(first))
    kappa = (observed - by_chance) / (1 - by_chance)
    error = math.sqrt(observed * (1 - observed) / (len(first) * (1 - by_chance) ** 2))
    half = float(norm.ppf((1 + confidence) / 2)) * error
    ac1 = (observed - by_chance_ac1) / (1 - by_chance_ac1)
    return Agreement(len(first), observed, kappa, max(-1, kappa - half), min(1, kappa + half), ac1, a - b)


def corrected_mean(
    human: ArrayLike, judge_labelled: ArrayLike, judge_rest: ArrayLike, confidence: float = 0.95
) -> Corrected | Undetermined:
    """Prediction-powered mean of human scores: a few labels (n), many judged calls (N) without one.

    ``power * mean(judge_rest) + mean(human - power * judge_labelled)`` with the power that gives the least variance,
    ``cov(y, f) / ((1 + n / N) var f)``, held in [0, 1] (Angelopoulos, Duchi and Zrnic, arXiv 2311.01453). A judge that
    is useless gets power 0, and a biased one only widens the interval.
    """
    y, f, rest = _floats(human), _floats(judge_labelled), _floats(judge_rest)
    if len(y) != len(f):
        raise ValueError(f"human labels and judge scores must be paired: {len(y)} and {len(f)}")
    if len(y) < MIN_PAIRS or len(rest) < MIN_PAIRS:
        return Undetermined(f"{len(y)} labelled and {len(rest)} judged calls; {MIN_PAIRS} of each are needed", len(y))
    spread = float(np.concatenate([f, rest]).var(ddof=1))
    best = float(np.cov(y, f)[0, 1]) / ((1 + len(y) / len(rest)) * spread) if spread else 0.0
    power = min(1.0, max(0.0, best))
    difference = y - power * f
    mean = float(power * rest.mean() + difference.mean())
    error = math.sqrt(power**2 * float(rest.var(ddof=1)) / len(rest) + float(difference.var(ddof=1)) / len(y))
    half = float(norm.ppf((1 + confidence) / 2)) * error
    return Corrected(mean, mean - half, mean + half, power)


def _floats(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
