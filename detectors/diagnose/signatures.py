"""What may have happened to the values of one number: each function knows one kind of fault by its marks.

They compare finite values before and since, of one part of the traffic, and return a sentence and numbers, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from tidegauge.detectors.diagnose.cells import cut, distance
from tidegauge.detectors.diagnose.rows import Floats, Ints

FEWEST = 100
RARE, FREQUENT = 0.01, 0.05
MOST_OUTLIERS, LEAST_OUTLIERS, FEWEST_OUTLIERS = 0.2, 0.0005, 3
FEWEST_DIFFERENT = 10
"""Values that a feature must have had before units or precision can be told from them."""
MANY = 0.2
NEARLY_ALL = 0.99
"""The hour in which it began is not always found to the minute."""
FAR, VERY_FAR, SAME, ABOUT = 10.0, 300.0, 1.5, 4.0
"""Outliers lie so many ranges beyond the range of before; what is left is the same within so many usual distances, more
where the value itself leaves no doubt."""
TRIMMED, MORE = (0.0005, 0.9995), 10.0
"""Quantiles of before that outliers lie far outside of, and how many times as many there must be since."""
GRIDS = (1000.0, 100.0, 10.0, 1.0, 0.1)
ON_GRID, OFF_GRID, FEWEST_COARSE = 0.99, 0.5, 30
GAP = 0.25
"""Of the range before, so far from the nearest is what nothing but a default explains."""
MOST_ALIKE = 0.5
"""The share of one value before, beyond which a quiet spell makes all values the same."""


@dataclass(frozen=True)
class Values:
    """One feature in one part: finite values before and since, cell edges, usual distance.

    Attributes:
        days: Of the values since.
        quarters: Of the day (UTC) that they are of, 0 to 3.
        narrow: Whether the part is not all traffic.
    """

    before: Floats
    since: Floats
    days: Ints
    quarters: Ints
    edges: Floats
    usual: float
    narrow: bool = False

    @property
    def enough(self) -> bool:
        """Whether there is anything to compare."""
        return min(len(self.before), len(self.since)) >= FEWEST

    @property
    def varied(self) -> bool:
        """Whether it had many values before, none of them half of all."""
        found, counts = np.unique(self.before, return_counts=True)
        return len(found) >= FEWEST_DIFFERENT and bool(counts.max() < MOST_ALIKE * len(self.before))

    @property
    def distance(self) -> float:
        """Of the distribution since from that before, 0 to 1."""
        return self.distance_if(self.since)

    def distance_if(self, since: Floats) -> float:
        """The distance that other values since would have."""
        return float(distance(_counted(since, self.edges), _counted(self.before, self.edges)))


@dataclass(frozen=True)
class Mark:
    """What was seen. ``strength`` is how many times clearer than the least that would be called it."""

    cause: str
    said: str
    strength: float
    evidence: Mapping[str, float | str] = field(default_factory=dict)


Signature: TypeAlias = Callable[[Values], Mark | None]


def stuck(values: Values) -> Mark | None:
    """One value for all, where there were several."""
    found, counts = np.unique(values.since, return_counts=True)
    now = float(found[np.argmax(counts)])
    if counts.max() < NEARLY_ALL * len(values.since) or (values.before == now).mean() > MOST_ALIKE:
        return None
    share = float((values.before == now).mean())
    others = len(values.since) - int(counts.max())
    said = f"stuck at {now:g} for all but {others:,} of {len(values.since):,} rows; {share:.0%} had that value before"
    return Mark("stuck", said, 32.0 * (1 - share), {"value": now, "share before": share})


def default_value(values: Values) -> Mark | None:
    """A value that was rare before is frequent since, on each day alike: something fills it in."""
    found, counts = np.unique(values.since, return_counts=True)
    at = int(np.argmax(counts * ~np.isin(found, _frequent(values.before))))
    value, share = float(found[at]), float(counts[at] / len(values.since))
    was = float((values.before == value).mean())
    if was >= RARE or share < FREQUENT or share > ON_GRID or not _every_day(values, value, share):
        return None
    alone = _alone(values, value)
    if (values.narrow or share < MANY) and not alone:  # a new timetable has its own frequent values
        return None
    if not alone and not _at_all_hours(values, value, share):  # a hot afternoon has one reading, and its night another
        return None
    if values.distance_if(values.since[values.since != value]) > (ABOUT if alone else SAME) * values.usual:
        return None
    said = f"{value:g} in {share:.0%} of the rows, every day; {was:.1%} before: a default is filled in"
    return Mark(
        "default value", said, min(32.0, share / max(was, RARE)), {"value": value, "share": share, "before": was}
    )


def _alone(values: Values, value: float) -> bool:
    """Whether a value lies outside of all others before, and none is beside it: a warm spell brings several.

    Or so far outside of all others, before and since, that no spell would bring it.
    """
    others = values.before[values.before != value]
    if not len(others) or others.min() <= value <= others.max():
        return False
    since = values.since[values.since != value]
    beyond = (since > others.max()) | (since < others.min())
    count = len(values.since) - len(since)
    apart = np.abs(np.concatenate([others, since]) - value).min() >= GAP * np.ptp(others)
    if apart and beyond.sum() <= count / 2:  # rows of others have many such values
        return True
    beside = since > others.max() if value > others.max() else since < others.min()
    return bool(beside.sum() <= (1 - NEARLY_ALL) * (count + beside.sum()))


def _frequent(values: Floats) -> Floats:
    found, counts = np.unique(values, return_counts=True)
    return found[counts >= RARE * len(values)]


def _every_day(values: Values, value: float, share: float) -> bool:
    days = np.unique(values.days)
    shares = [(values.since[values.days == day] == value).mean() for day in days if (values.days == day).sum() >= 20]
    fewest = 3 if values.narrow else 2  # one airport has a spell of two days sooner than all have
    return len(shares) >= fewest and min(shares) >= share / 2


def _at_all_hours(values: Values, value: float, share: float) -> bool:
    shares = [(values.since[here] == value).mean() for at in range(4) if (here := values.quarters == at).sum() >= 20]
    return min(shares, default=0.0) >= share / 4


def outliers(values: Values) -> Mark | None:
    """A few values far outside of nearly all that was seen, while the rest is as ever."""
    low, high = np.quantile(values.before, TRIMMED)  # the first hours may have been taken for hours before
    if low == high:
        low, high = values.before.min(), values.before.max()
    width = (FAR if values.varied else VERY_FAR) * max(high - low, abs(high) * 1e-9)
    far, was = ((each > high + width) | (each < low - width) for each in (values.since, values.before))
    share, number = float(far.mean()), int(far.sum())
    if not max(LEAST_OUTLIERS, MORE * was.mean()) <= share <= MOST_OUTLIERS or number < FEWEST_OUTLIERS:
        return None
    if values.distance_if(values.since[~far]) > ABOUT * values.usual:
        return None
    largest = float(values.since[np.argmax(np.abs(values.since))])
    said = f"{number:,} of {len(values.since):,} values lie far outside of {low:g} to {high:g}, up to {largest:g}"
    return Mark("outliers", said, min(32.0, 2 + share / LEAST_OUTLIERS), {"share": share, "largest": largest})


def coarser(values: Values) -> Mark | None:
    """All values lie on a grid, most did not before; a value that was more than half of all says nothing of it."""
    usual = _more_than_half(values.before)
    before, others = values.before[values.before != usual], values.since[values.since != usual]
    if len(others) < FEWEST_COARSE or len(np.unique(values.since)) < 2 or len(np.unique(before)) < FEWEST_DIFFERENT:
        return None
    for grid in GRIDS:
        now, was = min(on_grid(values.since, grid), on_grid(others, grid)), on_grid(before, grid)
        if now >= ON_GRID and was <= OFF_GRID:
            said = f"all values are multiples of {grid:g}; {was:.0%} were before: precision is lost"
            return Mark("precision lost", said, min(32.0, 2 / max(was, 1 / 16)), {"grid": grid, "on it before": was})
    return None


def _more_than_half(values: Floats) -> float:
    """The value of more than half of all, or NaN."""
    found, counts = np.unique(values, return_counts=True)
    return float(found[np.argmax(counts)]) if counts.max() > MOST_ALIKE * len(values) else float("nan")


def on_grid(values: Floats, grid: float) -> float:
    """The share of values that are multiples of ``grid``."""
    scaled = values / grid
    return float((np.abs(scaled - np.round(scaled)) < 1e-9 * np.maximum(1, np.abs(scaled))).mean())


def _counted(values: Floats, edges: Floats) -> Floats:
    codes = cut(values, edges)
    return np.bincount(codes[codes >= 0], minlength=len(edges) + 1).astype(np.float64)
