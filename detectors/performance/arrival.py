"""When labels arrive, learned from the past, so that a day whose labels are half in is not taken for a bad day.

Of predictions that are old enough for all their labels, F(a | s) is the share of those labels that had come at age a,
apart for each stratum s (the label itself and the prediction, because late labels differ from fast ones: a fraud is
reported weeks after a good payment is settled). A row that is labelled at age a was one of those seen with probability
F(a | s), so its weight 1 / F makes the labelled rows stand for all that will be (Horvitz and Thompson 1952; Hajek's
ratio is what the metrics compute). What never gets a label stands for itself: nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tidegauge.detectors.statistics.arrays import FloatArray, IntArray

FEWEST = 100
"""Labelled rows that it takes to know the delays of anything."""
IN_STRATUM = 30
"""Labelled rows that it takes to know the delays of a stratum by itself; else all delays stand for its own."""
POSSIBLE = 0.2
"""Where fewer of a stratum's labels than this have come, weights would say more about chance than about the model."""
POOLED = -1


@dataclass(frozen=True)
class Arrival:
    """Sorted delays in seconds by stratum, POOLED for all; ``eventual`` is the share that ever gets a label."""

    delays: Mapping[int, FloatArray]
    eventual: float

    def share(self, age_s: FloatArray) -> float:
        """The share of all predictions of these ages whose label is expected to be there; 0 for none."""
        return self.eventual * float(np.mean(_below(self.delays[POOLED], age_s))) if len(age_s) else 0.0

    def lowest(self, age_s: FloatArray) -> float:
        """The smallest share of any stratum's labels that is expected to be there, over rows of these ages."""
        return min(float(np.mean(_below(each, age_s))) for each in self.delays.values()) if len(age_s) else 0.0

    def chances(self, age_s: FloatArray, strata: IntArray) -> FloatArray:
        """For each labelled row the chance that its label was there at its age, above 0.

        >>> slow = Arrival({POOLED: np.arange(1.0, 101.0), 1: np.arange(51.0, 101.0)}, 1.0)
        >>> slow.chances(np.array([75.0, 75.0]), np.array([0, 1])).tolist()
        [0.75, 0.5]
        """
        found = np.empty(len(age_s))
        for stratum in np.unique(strata):
            here = strata == stratum
            delays = self.delays.get(int(stratum), self.delays[POOLED])
            found[here] = np.maximum(_below(delays, age_s[here]), 1 / (len(delays) + 1))
        return found


def learn(delay_s: FloatArray, strata: IntArray, age_s: FloatArray, wait_s: float) -> Arrival | None:
    """What the past says of delays, from rows older than ``wait_s``; None where fewer than 100 of them have labels.

    ``delay_s`` is NaN without a label; ``strata`` are numbered from 0 and count only where there is one.
    """
    old = age_s >= wait_s
    came = old & (delay_s <= wait_s)
    if int(came.sum()) < FEWEST:
        return None
    known = {POOLED: np.sort(delay_s[came])}
    for stratum in np.unique(strata[came]):
        own = came & (strata == stratum)
        if int(own.sum()) >= IN_STRATUM:
            known[int(stratum)] = np.sort(delay_s[own])
    return Arrival(known, float(came.sum() / old.sum()))


def _below(delays: FloatArray, age_s: FloatArray) -> FloatArray:
    return np.asarray(np.searchsorted(delays, age_s, side="right") / len(delays), dtype=np.float64)
