"""What training's copies of the same predictions tell of values that are served otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.conversions import undoing
from tidegauge.detectors.diagnose.rows import Floats, Ints, Mask, Rows
from tidegauge.detectors.diagnose.signatures import GRIDS, on_grid
from tidegauge.detectors.diagnose.timing import DAY_H, hours_of, readings, steady, turn_of

FEWEST_PAIRS, FEWEST_IN_PART = 50, 8
"""Pairs since: in all, and in a part where the rest is as ever (few say it where they differ and no others do)."""
ALIKE = 0.95
"""The share of pairs that must say the same."""
MANY_DIFFERENT = 5
"""Of fewer values a conversion must give all of training's."""
LOOSE, SPREAD_ALIKE = 0.5, 0.25
"""Correlation with training's values, and distance of distributions, below which values are those of other rows."""
FEWEST_LATE, MOSTLY_LATE = 20, 0.85
"""Hours of parts since of which training's reading of the day before is known, and the share of them that have it."""
NO_CLOCK, FEWER_OTHERS = 0.95, 3
"""The share of hours that repeat the day before anyway, above which it is a clock that does; so many times as many must
do otherwise on the days before as since."""


@dataclass(frozen=True)
class Copied:
    """Values of one number that differ from training's since, and what training has for the same predictions."""

    served: Floats
    training: Floats


@dataclass(frozen=True)
class Closer:
    """What happened to them, and the words that say so."""

    cause: str
    said: str
    evidence: Mapping[str, float | str]


def closely(case: Case, copies: Rows, name: str, served: Ints, copied: Ints, differs: Mask) -> Closer | None:
    """What happened to a feature, where it is one and the same thing for all values that differ; None for texts.

    Args:
        served: Places of predictions that have a copy; ``copied`` those of the copies.
        differs: Which of these to look at.
    """
    own, others = case.rows.traffic.numeric.get(name), copies.traffic.numeric.get(name)
    if own is None or others is None:
        return None
    both = np.isfinite(own[served]) & np.isfinite(others[copied]) & differs
    values = Copied(own[served[both]], others[copied[both]])
    if unit := _conversion(values):
        return Closer("units", f": undoing {unit} gives training's", {"conversion": unit})
    if grid := _rounded(values):
        return Closer("precision lost", f": it is training's as a multiple of {grid:g}", {"grid": grid})
    if hours := _shifted(values, turn_of(own)):
        return Closer("clock shifted", f", and is training's {hours:+g} h", {"hours": hours})
    if _late(case, own, others[copied], served):
        return Closer("stale", ", and has training's of a day earlier: it is read a day late", {})
    if _of_others(values):
        return Closer("joined wrongly", ", and has the values of other predictions: rows were joined wrongly", {})
    return None


def _conversion(values: Copied) -> str:
    """The conversion of units by which they are apart; empty where there is none."""
    different = len(np.unique(values.training))
    if len(values.served) < FEWEST_IN_PART or different < 2:
        return ""
    apart = {
        unit: float(np.isclose(undo(values.served), values.training, rtol=1e-3, atol=1e-6).mean())
        for unit, undo in undoing().items()
    }
    best = max(apart, key=lambda unit: apart[unit])
    return best if apart[best] >= (ALIKE if different >= MANY_DIFFERENT else 1.0) else ""


def _rounded(values: Copied) -> float:
    """The coarsest grid on which they lie, each less than one step from training's; 0 where there is none."""
    if len(values.served) < FEWEST_IN_PART or len(np.unique(values.served)) < MANY_DIFFERENT:
        return 0.0
    near = np.abs(values.served - values.training)
    fits = (grid for grid in GRIDS if on_grid(values.served, grid) >= ALIKE and (near < grid).mean() >= ALIKE)
    return next(fits, 0.0)


def _shifted(values: Copied, turn: int) -> float:
    """By how many hours a clock is off training's, the same for all; 0 where it is no clock or they differ."""
    whole = bool((values.training % 1 == 0).all())
    if not turn or not whole or len(values.served) < FEWEST_IN_PART:
        return 0.0
    found, counts = np.unique(np.mod(values.served - values.training, turn), return_counts=True)
    if counts.max() < ALIKE * counts.sum():
        return 0.0
    off = float(found[np.argmax(counts)])
    return (off - turn if off > turn / 2 else off) * DAY_H / turn


def _late(case: Case, own: Floats, training: Floats, served: Ints) -> bool:
    """Whether readings since, one an hour and part, are training's of the day before, and not as on any day.

    Readings since are of all rows, for few have a copy.

    Args:
        training: Of the copies, in the order of the rows ``served``.
    """
    hour, of_copies = hours_of(case), np.full(case.rows.count, np.nan)
    of_copies[served] = training
    before, since = (np.where(side, own, np.nan) for side in (case.before, case.after))
    part = steady(case, before, hour)
    if part is None:
        return False
    was, now, copied = (readings(each, hour, part) for each in (before, since, of_copies))
    usual, known = _alike(was[DAY_H:], was[:-DAY_H])
    late, compared = _alike(now[DAY_H:], copied[:-DAY_H])
    telling = known and usual <= NO_CLOCK and FEWER_OTHERS * (1 - late) <= 1 - usual
    return bool(telling and compared >= FEWEST_LATE and late >= MOSTLY_LATE)


def _alike(one: Floats, other: Floats) -> tuple[float, int]:
    """The share of those known on both sides that are the same, and how many these are."""
    known = np.isfinite(one) & np.isfinite(other)
    return (float(np.isclose(one[known], other[known]).mean()) if known.any() else 0.0), int(known.sum())


def _of_others(values: Copied) -> bool:
    """Whether they are spread as training's are, yet do not follow them."""
    a, b = np.sort(values.served), np.sort(values.training)
    if len(a) < FEWEST_PAIRS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return False
    follows = float(np.corrcoef(values.served, values.training)[0, 1])
    gap = np.abs((np.searchsorted(a, a, "right") - np.searchsorted(b, a, "right")) / len(a)).max()
    return abs(follows) < LOOSE and float(gap) <= SPREAD_ALIKE
