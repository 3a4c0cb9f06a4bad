"""How far a share or a mean since lies from that before, in units of what the days before differ by themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.rows import Floats
from tidegauge.detectors.diagnose.verdict import MOST_STRENGTH

SURE = 4.0
"""Standard errors that a change has to exceed on small numbers, as many parts are looked at."""


@dataclass(frozen=True)
class Change:
    """Arrays of one shape, one entry for each part.

    ``usual`` is the largest distance of a stretch of days before from all of them, or the least that matters, or what
    chance gives to so few rows: whichever is most.
    """

    before: Floats
    since: Floats
    usual: Floats
    rows: Floats

    @property
    def delta(self) -> Floats:
        """Since less before; nan where one of them has no rows."""
        return self.since - self.before

    @property
    def strength(self) -> Floats:
        """|delta| over usual, 0 where there is nothing to compare, at most 32."""
        found: Floats = np.minimum(np.nan_to_num(np.abs(self.delta) / self.usual), MOST_STRENGTH)
        return found


def shift(case: Case, total: Floats, weight: Floats, floor: float, spread: float | None = None) -> Change:
    """The change of ``total / weight``, both given by day (last axis, from ``case.first`` on).

    Args:
        floor: A change below this does not matter.
        spread: Standard deviation of one row's value; None for shares, where it follows from the share.
    """
    zero = -case.first
    before, since = _mean(total[..., :zero], weight[..., :zero]), _mean(total[..., zero:], weight[..., zero:])
    rows_before, rows_since = weight[..., :zero].sum(-1), weight[..., zero:].sum(-1)
    sd = np.full_like(before, spread) if spread is not None else _share_sd(before, since)
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = SURE * sd * np.sqrt(1 / np.maximum(rows_before, 1) + 1 / np.maximum(rows_since, 1))
    usual = np.maximum.reduce([np.full_like(before, floor), chance, _placebo(case, total, weight, before)])
    return Change(before, since, usual, rows_since)


def _placebo(case: Case, total: Floats, weight: Floats, before: Floats) -> Floats:
    """The largest distance of a stretch before from the rest of the days before."""
    largest = np.zeros_like(before)
    zero = -case.first
    all_total, all_weight = total[..., :zero].sum(-1), weight[..., :zero].sum(-1)
    for start, end in case.spans:
        at = slice(start + zero, end + zero)
        part_total, part_weight = total[..., at].sum(-1), weight[..., at].sum(-1)
        inside, outside = _ratio(part_total, part_weight), _ratio(all_total - part_total, all_weight - part_weight)
        largest = np.fmax(largest, np.abs(inside - outside))
    return largest


def _mean(total: Floats, weight: Floats) -> Floats:
    return _ratio(total.sum(-1), weight.sum(-1))


def _ratio(total: Floats, weight: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(weight > 0, total / np.maximum(weight, 1e-300), np.nan)
    return found


def _share_sd(before: Floats, since: Floats) -> Floats:
    middle = np.clip((np.nan_to_num(before) + np.nan_to_num(since)) / 2, 0, 1)
    found: Floats = np.sqrt(middle * (1 - middle))
    return found
