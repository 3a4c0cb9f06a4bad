"""Data: two features that carry each other's values."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.cells import Cells, Moved, cut, daily, distance, moved
from tidegauge.detectors.diagnose.rows import Floats
from tidegauge.detectors.diagnose.verdict import EVERYTHING, MOST_STRENGTH, Stage, Verdict, level_of

AWAY, NEAR = 2.0, 1.3
"""Times its usual distance: from its own past at least, from the other's past at most."""
NEAR_ENOUGH, GAIN = 0.15, 3.0
"""The distance from the other's past: below 0.15, or a third of that from its own where the other moves that far."""


def swapped(case: Case) -> Verdict | None:
    """The pair whose exchange explains most, or None."""
    numeric = {name: values for name, values in case.rows.traffic.numeric.items() if name != "score"}
    cells = {name: Cells.of(values, case.before) for name, values in numeric.items()}
    found = {name: moved(case, daily(case, each)) for name, each in cells.items()}
    away = [name for name in numeric if found[name].strength[0] >= AWAY]
    best: Verdict | None = None
    for one, two in combinations(sorted(away), 2):
        own = min(found[one].strength[0], found[two].strength[0])
        crossed = [_crossed(case, numeric[a], numeric[b], cells[b]) for a, b in ((one, two), (two, one))]
        pairs = [(crossed[0], found[one], found[two]), (crossed[1], found[two], found[one])]
        if all(_near(*each) for each in pairs) and (best is None or own > best.strength / 2):
            best = _verdict(one, two, float(own), float(max(crossed)))
    return best


def _near(crossed: float, own: Moved, other: Moved) -> bool:
    """Whether values lie where the other's did, and no longer where their own did."""
    far = float(own.distance[0]) >= GAIN * crossed
    return crossed <= NEAR * float(other.usual[0]) and (crossed <= NEAR_ENOUGH or far)


def _crossed(case: Case, values: Floats, others: Floats, cells: Cells) -> float:
    """The distance of one feature's values since from the other's before."""
    since, before = cut(values[case.after], cells.edges), cut(others[case.before], cells.edges)
    counted = [np.bincount(codes[codes >= 0], minlength=cells.count).astype(np.float64) for codes in (since, before)]
    return float(distance(counted[0], counted[1]))


def _verdict(one: str, two: str, own: float, crossed: float) -> Verdict:
    said = f"{one} has the values that {two} had and the other way round (off by {crossed:.2f})"
    strength = min(MOST_STRENGTH, 2 * own)
    columns = frozenset({one, two})
    numbers = {"distance swapped back": crossed}
    name = f"{one}, {two}"
    return Verdict(
        "features", Stage.DATA, level_of(strength), said, "swapped", name, EVERYTHING, strength, columns, numbers
    )
