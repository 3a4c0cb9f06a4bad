"""The same window of the weeks before as one reference, with an interval of what one more week may be like."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from math import exp, sqrt

from scipy.stats import t

from tidegauge.metrics import Kind, Observation, wilson
from tidegauge.metrics.intervals import Z95

WEEK = timedelta(weeks=1)
LEAST_WEEKS = 3
"""From two weeks a spread has one degree of freedom: Student's quantile is 12.7, and no ratio of use is ever sure."""
AMOUNTS = (Kind.COUNT, Kind.SUM)
"""Kinds whose number of records is the value: to leave out small weeks would make the rest look usual."""
_WIDEST = 100.0


def usable(weeks: Sequence[Observation | None], kind: Kind, needed: int) -> list[Observation]:
    """Those of ``weeks`` that a reference is made of; none where they are too few, or of an amount too small.

    Each must rest on ``needed`` records, of an amount all on average.
    """
    seen = [each for each in weeks if each is not None and each.value is not None]
    if kind in AMOUNTS:
        return seen if sum(each.samples for each in seen) >= needed * max(1, len(seen)) else []
    return [each for each in seen if each.samples >= needed]


def usual(weeks: Sequence[Observation], kind: Kind) -> Observation:
    """The mean of ``weeks``, three or more, with the 95 % interval of the true value in one more week.

    Weeks differ by sampling error, which is known of rates and means, and by the variance between their true values:
    that is found by moments (DerSimonian and Laird, Controlled Clinical Trials 7, 1986) and 0 where they differ no
    more than chance makes them. The interval is that of a new study among them (Higgins, Thompson and Spiegelhalter,
    J. R. Stat. Soc. A 172, 2009) with a degree of freedom less than there are weeks: Wilson's of as many records as
    have that spread for rates, else on the scale of logarithms, because it is for a ratio. Of other kinds the
    interval is that of the next week's value itself; a count scatters no less than Poisson's distribution says.

    The ends are None where the mean is 0 or below and the metric no rate.

    >>> alike = [Observation({}, hits / 1000, 1000) for hits in (50, 52, 48, 50)]
    >>> found = usual(alike, Kind.RATE)
    >>> found.value, round(found.low, 4), round(found.high, 4)
    (0.05, 0.0401, 0.0622)
    """
    values, samples = [each.value or 0.0 for each in weeks], [each.samples for each in weeks]
    mean, variance = _mean(values, _errors(weeks, kind), kind)
    low, high = _ends(mean, variance, quantile(len(weeks)), kind, sum(samples))
    return Observation(weeks[0].labels, mean, sum(samples), low, high)


@lru_cache(maxsize=64)
def quantile(weeks: int) -> float:
    """Student's, for the spread of ``weeks``."""
    return float(t.ppf(0.975, weeks - 1))


def _errors(weeks: Sequence[Observation], kind: Kind) -> list[float] | None:
    """The variance of each value by sampling alone; None where it is not known."""
    if kind is Kind.RATE:
        records = sum(each.samples for each in weeks)
        rate = sum((each.value or 0.0) * each.samples for each in weeks) / records
        found = [rate * (1 - rate) / each.samples for each in weeks]
    else:
        ends = [(each.low, each.high) for each in weeks]
        found = [0.0 if low is None or high is None else ((high - low) / (2 * Z95)) ** 2 for low, high in ends]
    return found if min(found) > 0 else None


def _mean(values: Sequence[float], errors: Sequence[float] | None, kind: Kind) -> tuple[float, float]:
    """The weighted mean, and the variance of one more week around it."""
    degrees = len(values) - 1
    if errors is None:
        mean = sum(values) / len(values)
        between = sum((each - mean) * (each - mean) for each in values) / degrees
        between = max(between, mean) if kind is Kind.COUNT else between
        return mean, between * (1 + 1 / len(values))
    weights = [1 / each for each in errors]
    total = sum(weights)
    mean = sum(w * y for w, y in zip(weights, values, strict=True)) / total
    scatter = sum(w * (y - mean) * (y - mean) for w, y in zip(weights, values, strict=True))
    between = max(0.0, (scatter - degrees) / (total - sum(w * w for w in weights) / total))
    weights = [1 / (each + between) for each in errors]
    total = sum(weights)
    return sum(w * y for w, y in zip(weights, values, strict=True)) / total, between + 1 / total


def _ends(mean: float, variance: float, z: float, kind: Kind, records: int) -> tuple[float | None, float | None]:
    if kind is Kind.RATE:
        samples = mean * (1 - mean) / variance if variance else records
        return wilson(min(mean * samples, samples), samples, z)
    if mean <= 0:
        return None, None
    wide = exp(min(_WIDEST, z * sqrt(variance) / mean))
    return mean / wide, mean * wide
