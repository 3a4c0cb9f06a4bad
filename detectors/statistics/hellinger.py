"""Hellinger distance."""

from __future__ import annotations

import math

import numpy as np

from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.detectors.statistics.binned import PSI_FLOOR, Pair, divergence
from tidegauge.detectors.statistics.result import Outcome
from tidegauge.detectors.statistics.shared_cells import Cells

FLOOR = math.sqrt(PSI_FLOOR / 8)


def hellinger(reference: IntArray, current: IntArray, *, floor: float = FLOOR, tested: Cells | None = None) -> Outcome:
    """sqrt(sum (sqrt(p) - sqrt(q))² / 2), of the smoothed shares.

    Range: 0 (equal) to 1 (nothing in common); no unit; symmetric; a metric. ``effect`` is the distance after its mean
    square under no drift, (B - 1)(1/N + 1/M) / 8, was taken off the square. The floor, 0.112, is the one of PSI in
    this unit. Source: Le Cam and Yang, Asymptotics in Statistics, 2000.

    >>> import numpy as np
    >>> result = hellinger(np.array([500, 500]), np.array([300, 200]))
    >>> round(result.value, 4), round(result.effect, 4)
    (0.071, 0.0683)
    """
    return divergence("hellinger", reference, current, floor, _measure, tested)


def _measure(pair: Pair) -> tuple[float, float]:
    p, q = pair.shares
    square = float(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2)) / 2
    return math.sqrt(square), math.sqrt(max(0.0, square - pair.expected_psi / 8))
