"""Cells chosen by two samples together: what the p-value of many categories is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.detectors.statistics.bins import MOST_CATEGORIES

BANDS = 4


class Cells(NamedTuple):
    """Rows of both samples in the same cells."""

    reference: IntArray
    current: IntArray


def shared_cells(reference: Mapping[str, int], current: Mapping[str, int], most: int = MOST_CATEGORIES) -> Cells:
    """The categories most frequent in both samples together, at most ``most``, and four bands of the others.

    Cells that the reference alone chooses hold what was frequent in it by luck: of thousands of categories that are
    alike the chosen ones look as if they shrank. A choice that depends on the sums of both counts alone takes no side:
    without drift the rows are dealt to the samples at random, whatever the sums are, so the law of a statistic given
    the sums, and with it the p-value, is the one without a choice (Fisher 1935; Pitman 1937). No row is held back for
    choosing, as in splitting the reference (Cox 1975). The bands hold about equally many rows each, by how frequent a
    category is; equally frequent ones are never parted, so that no name decides.

    >>> [each.tolist() for each in shared_cells({"a": 90, "b": 17, "c": 2}, {"a": 80, "c": 9, "new": 1}, most=1)]
    [[90, 0, 17, 0, 2], [80, 0, 0, 0, 10]]
    """
    new = [rows for name, rows in current.items() if name not in reference]
    before, now = np.zeros((2, len(reference) + len(new)), dtype=np.int64)
    before[: len(reference)] = np.fromiter(reference.values(), dtype=np.int64, count=len(reference))
    now[: len(reference)] = np.fromiter((current.get(name, 0) for name in reference), np.int64, len(reference))
    now[len(reference) :] = new
    before, now = before[before + now > 0], now[before + now > 0]
    total = before + now
    if len(total) <= most:
        return Cells(before, now)
    own = total > np.partition(total, -most - 1)[-most - 1]
    rows, level = np.unique(total[~own], return_inverse=True)
    mass = rows * np.bincount(level)
    band = ((np.cumsum(mass) - mass / 2) * BANDS / mass.sum()).astype(np.int64)[level]
    left = (np.bincount(band, weights=each[~own], minlength=BANDS).astype(np.int64)[::-1] for each in (before, now))
    return Cells(*(np.append(each[own], rest) for each, rest in zip((before, now), left, strict=True)))
