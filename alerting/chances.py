"""How often a condition on noisy values holds by chance long enough to fire: bounds, in pages a week.

A page by chance needs a value that is surely beyond the threshold (probability ``sure`` at one moment) in every round
of ``for``. Two bounds, the smaller one counts:

* windows that do not overlap are independent, so ``k`` of them within ``for`` are all beyond with ``sure ** k``, and an
  alert that lasts so long meets at least one of those that start a window apart;
* an open alert ends only when the value itself is back on the calm side (probability ``beyond`` that it is not), so the
  next page needs the whole way there and back. For a normal process whose correlation falls as that of a sliding window
  does, that takes ``sqrt(2 pi) * window * integral of exp(u**2 / 2)`` from the one quantile to the other: the mean
  passage times of an Ornstein-Uhlenbeck process (Ricciardi and Sato, J. Appl. Prob. 25, 1988), with :data:`MARGIN` on
  top because the correlation of a sliding window ends after its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from math import ceil, floor, pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfi
from scipy.stats import binom, chi2, norm, t

from tidegauge.alerting.season import LEAST_WEEKS, quantile
from tidegauge.metrics.intervals import Z95

WEEK_S = 604_800.0
MARGIN = 1.35
_PARTS = 1000
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pace:
    """How a rule looks: over sliding windows, how long the condition must last, and seconds between two rounds."""

    window_s: float
    for_s: float
    every_s: float
    rest_s: float = 0.0

    @property
    def rounds(self) -> int:
        """In how many rounds in a row the condition must hold."""
        return ceil(self.for_s / self.every_s) + 1


@dataclass(frozen=True, slots=True)
class Chance:
    """At one moment: of a value surely beyond the threshold, and of one beyond it at all; one for each case."""

    sure: Numbers
    beyond: Numbers


def pages(chance: Chance, pace: Pace) -> float:
    """At most so many pages a week by chance, in the worst of the cases of ``chance``."""
    if not chance.sure.size:
        return 0.0
    window = ceil(pace.window_s / pace.every_s)
    grid = window if pace.rounds >= window else pace.rounds
    held = np.minimum(chance.sure, 1.0) ** (pace.rounds // grid) * (WEEK_S / (grid * pace.every_s))
    worst = float(np.max(np.minimum(held, returns(chance, pace.window_s))))
    return min(worst, WEEK_S / (pace.for_s + pace.rest_s + pace.every_s))


def returns(chance: Chance, window_s: float) -> Numbers:
    """Ways to the far side and back, a week."""
    far, near = norm.isf(chance.sure), norm.isf(np.maximum(chance.beyond, chance.sure))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        way = sqrt(pi / 2) * (erfi(far / sqrt(2)) - erfi(near / sqrt(2)))
        found = MARGIN * WEEK_S / window_s / (sqrt(2 * pi) * way)
    return np.where(np.isnan(found), np.where(far > 6, 0.0, np.inf), found)


@lru_cache(maxsize=4096)
def of_rate(limit: float, level: float, needed: int, *, upward: bool = True, wilson: bool = True) -> Chance:
    """Of a share of independent records above ``limit`` (or below it) whose true value is ``level``.

    Exact, by the binomial distribution, for every number of samples from ``needed`` on that matters: of all numbers
    with the same least count of hits the largest is the worst. ``wilson=False`` is for the normal interval of a mean
    of zeros and ones.
    """
    if not upward:
        return of_rate(1 - limit, 1 - level, needed, wilson=wilson)
    if limit >= 1:
        return Chance(np.zeros(0), np.zeros(0))
    samples = _samples(limit, needed) if wilson else np.unique(np.geomspace(needed, 1e6, 4000).astype(int))
    least = _least(limit, samples, wilson=wilson)
    return Chance(binom.sf(least - 1, samples, level), binom.sf(np.floor(samples * limit), samples, level))


def of_mean(needed: int) -> Chance:
    """Of a mean on the threshold whose values are about normal: the interval takes 1.96 for Student's quantile."""
    return Chance(np.asarray([float(t.sf(Z95, max(1, needed - 1)))]), np.asarray([0.5]))


@lru_cache(maxsize=256)
def of_ratio(ratio: float, needed: int, *, upward: bool) -> Chance:
    """Of a rate that is ``ratio`` times the earlier one, when the true ratio is just that.

    The worst over levels from 0.001 on and over samples from ``needed`` on, at most ten times as many in one window as
    in the other; the sum over both binomial distributions is exact.
    """
    levels = np.geomspace(1e-3, 0.5, 12)
    found = [
        _ratio(ratio, level, now, before, upward=upward)
        for level in levels[levels * max(1.0, ratio) < 1]
        for now, before in ((needed, needed), (needed, 10 * needed), (10 * needed, needed), (10 * needed, 10 * needed))
    ]
    return Chance(np.asarray([sure for sure, _ in found]), np.asarray([beyond for _, beyond in found]))


@lru_cache(maxsize=64)
def of_season(weeks: int) -> Chance:
    """Of a value at the limit of what a season of at most ``weeks`` leads to expect, when it is one more such week.

    By the normal distribution, over 3 weeks and more, weeks that differ from not at all to a hundred times as much as
    by sampling, and as many samples now as in one of them to ten times as many; fewer are no worse than as many. The
    weeks' scatter is a chi-square, which decides how wide the interval is.
    """
    parts = (np.arange(_PARTS) + 0.5) / _PARTS
    found = [
        _one_more(weeks, chi2.ppf(parts, weeks - 1) / (weeks - 1), between, error)
        for weeks in range(LEAST_WEEKS, weeks + 1)
        for between in np.concatenate([[0.0], np.geomspace(0.1, 100, 25)])
        for error in (0.1**0.5, 1.0)
    ]
    return Chance(np.asarray([max(found)]), np.asarray([0.5]))


def _one_more(weeks: int, scatter: Numbers, between: float, error: float) -> float:
    """Chance that one more week lies surely beyond; lengths in units of a week's sampling error."""
    spread = (1 + between**2) * scatter
    known = np.maximum(0.0, spread - 1)
    ends = Z95 * error + quantile(weeks) * np.sqrt(known + (1 + known) / weeks)
    away = sqrt(error**2 + between**2 + (1 + between**2) / weeks)
    return float(np.mean(norm.sf(ends / away)))


def burns(long: Chance, short: Chance, long_pace: Pace, short_pace: Pace) -> float:
    """At most so many pages a week of a condition on a long window and on a short one at its end.

    Either the long window comes to be beyond while the short one is, or the short one does while the long one is; the
    two share the records of the short one.
    """
    if not long.sure.size or not short.sure.size:
        return 0.0
    shared = sqrt(short_pace.window_s / long_pace.window_s)
    far_long, far_short = float(norm.isf(np.max(long.sure))), norm.isf(short.sure)
    then = norm.sf((far_long - shared * far_short) / sqrt(1 - shared * shared))
    again = float(np.max(returns(short, short_pace.window_s) * then))
    both = pages(long, long_pace) + again
    return min(both, pages(short, short_pace))


def at_most(fired: int, weeks: float, confidence: float = 0.95) -> float:
    """Upper confidence bound of pages a week after ``fired`` in ``weeks`` (Poisson; Garwood 1936).

    >>> round(at_most(0, 4), 2)
    0.75
    """
    return float(chi2.ppf(confidence, 2 * (fired + 1))) / 2 / weeks


def trend_window(steps: int, step: timedelta, limit: float) -> float:
    """Seconds: the window whose sliding mean loses memory as fast as the ends of a line through ``steps`` windows do.

    Weights are those of the end of the line less ``limit`` times its beginning; moving on by a part of a step shares
    each window's records with its neighbour.
    """
    x = np.arange(steps, dtype=float)
    design = np.column_stack([np.ones_like(x), x])
    hat = np.linalg.solve(design.T @ design, design.T)
    weights = hat[0] * (1 - limit) + hat[1] * (steps - 1)
    alike = float(weights[:-1] @ weights[1:]) / float(weights @ weights)
    return step.total_seconds() / (1 - alike)


def _samples(limit: float, needed: int) -> NDArray[np.int64]:
    """For each least count of hits the largest number of samples with which so many are enough."""
    first = floor(needed * limit) + 1
    hits = np.unique(np.concatenate([np.arange(first, first + 250), np.geomspace(first, first + 1e5, 100)]).astype(int))
    spread = Z95 * sqrt(limit * (1 - limit))
    root = (-spread + np.sqrt(spread * spread + 4 * limit * hits)) / (2 * limit)
    samples: NDArray[np.int64] = np.ceil(root * root).astype(np.int64) - 1
    return samples[(samples >= needed) & (samples >= hits)]


def _least(limit: float, samples: NDArray[np.int64], *, wilson: bool) -> NDArray[np.int64]:
    """The least count of hits whose interval lies above ``limit``."""
    if wilson:
        share = limit + Z95 * np.sqrt(limit * (1 - limit) / samples)
    else:
        loose = Z95**2 / (samples - 1)
        middle = 2 * limit + loose
        share = (middle + np.sqrt(middle**2 - 4 * limit**2 * (1 + loose))) / (2 * (1 + loose))
    found: NDArray[np.int64] = np.floor(samples * share).astype(np.int64) + 1
    return found


def _ratio(ratio: float, level: float, now: int, before: int, *, upward: bool) -> tuple[float, float]:
    """Chances of one case: that the cautious ends are ``ratio`` apart, and that the values are."""
    hits = np.arange(before + 1)
    weights = binom.pmf(hits, before, level)
    end = _ends(hits, before)[1 if upward else 0] * ratio
    ours = np.arange(now + 1)
    own = _ends(ours, now)[0 if upward else 1]
    true = level * ratio
    if upward:  # our ends rise with our hits
        sure = binom.sf(np.searchsorted(own, end, side="right") - 1, now, true)
        beyond = binom.sf(np.floor(hits / before * ratio * now), now, true)
    else:
        sure = binom.cdf(np.searchsorted(own, end, side="left") - 1, now, true)
        beyond = binom.cdf(np.ceil(hits / before * ratio * now) - 1, now, true)
    return float(weights @ np.where(hits > 0, sure, 0.0)), float(weights @ np.where(hits > 0, beyond, 0.0))


def _ends(hits: NDArray[np.int64], samples: int) -> tuple[Numbers, Numbers]:
    """Wilson's ends for each count of hits."""
    rate, shrink = hits / samples, 1 + Z95 * Z95 / samples
    centre = rate + Z95 * Z95 / (2 * samples)
    spread = Z95 * np.sqrt(rate * (1 - rate) / samples + Z95 * Z95 / (4 * samples * samples))
    return (centre - spread) / shrink, (centre + spread) / shrink
