"""What training's copies of the same predictions tell of values that are served otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.conversions import undoing
from tidegauge.detectors.diagnose.rows import Floats, Ints, Mask, Rows
from tidegauge.detectors.diagnose.signatures import GRIDS, on_grid
from tidegauge.detectors.diagnose.timing import DAY_H, hours_of, steady

FEWEST_PAIRS, FEWEST_IN_PART = 50, 8
"""Pairs since: in all, and in a part where the rest is as ever (few say it where they differ and no others do)."""
ALIKE = 0.95
"""The share of pairs that must say the same."""
MANY_DIFFERENT = 5
"""Of fewer values a conversion must give all of training's."""
LOOSE, SPREAD_ALIKE = 0.5, 0.25
"""Correlation with training's values, and distance of distributions, below which values are those of other rows."""
FEWEST_LATE, MOSTLY_LATE = 20, 0.85
"""Values of which training's of the day before is known, and the share of them that are it."""


@dataclass(frozen=True)
class Copied:
    """Values of one number that differ from training's since, and what training has for the same predictions.

    Attributes:
        before: Training's of the hour, and of the hour before that, a day earlier in the same part; NaN where it is not
            known, or the feature is not one reading for all of an hour and part.
    """

    served: Floats
    training: Floats
    before: tuple[Floats, Floats]


@dataclass(frozen=True)
class Closer:
    """What happened to them, and the words that say so."""

    cause: str
    said: str
    evidence: Mapping[str, float | str]


def values_of(case: Case, copies: Rows, name: str, served: Ints, copied: Ints, differs: Mask) -> Copied | None:
    """Those that are known on both sides; None for texts.

    Args:
        served: Places of predictions that have a copy; ``copied`` those of the copies.
        differs: Which of these to look at.
    """
    one, two = case.rows.traffic.numeric.get(name), copies.traffic.numeric.get(name)
    if one is None or two is None:
        return None
    both = np.isfinite(one[served]) & np.isfinite(two[copied]) & differs
    before = _day_before(case, one, two[copied], served, both)
    return Copied(one[served[both]], two[copied[both]], before)


def closely(values: Copied) -> Closer | None:
    """What happened to the values, where they are one and the same thing apart from training's."""
    if unit := _conversion(values):
        return Closer("units", f": undoing {unit} gives training's", {"conversion": unit})
    if grid := _rounded(values):
        return Closer("precision lost", f": it is training's as a multiple of {grid:g}", {"grid": grid})
    if _late(values):
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


def _late(values: Copied) -> bool:
    """Whether they are what training had a day earlier: of the same hour, or of the last one that was served then."""
    known = np.isfinite(values.before[0])
    if known.sum() < FEWEST_LATE:
        return False
    same = [np.isclose(values.served, each, rtol=1e-6, atol=1e-6) for each in values.before]
    return float((same[0] | same[1])[known].mean()) >= MOSTLY_LATE


def _day_before(case: Case, own: Floats, training: Floats, served: Ints, asked: Mask) -> tuple[Floats, Floats]:
    """Training's readings a day before each row asked for, and an hour before that."""
    nothing = np.full(int(asked.sum()), np.nan)
    hour = hours_of(case)
    part = steady(case, np.where(case.before, own, np.nan), hour)
    if part is None:
        return nothing, nothing
    codes = part.codes[served].astype(np.int64)
    first, width = int(hour.min()) - DAY_H - 1, len(part.names)
    table = np.full((int(hour.max()) - first + 1) * width, np.nan)
    cell = (hour[served] - first) * width + codes
    known = np.isfinite(training) & (codes >= 0)
    table[cell[known]] = training[known]
    at = np.where(codes >= 0, cell, -1)[asked]
    found = [np.where(at >= 0, table[at - back * width], np.nan) for back in (DAY_H, DAY_H + 1)]
    return found[0], found[1]


def _of_others(values: Copied) -> bool:
    """Whether they are spread as training's are, yet do not follow them."""
    a, b = np.sort(values.served), np.sort(values.training)
    if len(a) < FEWEST_PAIRS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return False
    follows = float(np.corrcoef(values.served, values.training)[0, 1])
    gap = np.abs((np.searchsorted(a, a, "right") - np.searchsorted(b, a, "right")) / len(a)).max()
    return abs(follows) < LOOSE and float(gap) <= SPREAD_ALIKE
