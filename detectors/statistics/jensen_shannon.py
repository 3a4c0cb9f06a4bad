"""Jensen-Shannon distance."""

from __future__ import annotations

import math

import numpy as np

from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.detectors.statistics.binned import PSI_FLOOR, Pair, divergence
from tidegauge.detectors.statistics.result import Outcome
from tidegauge.detectors.statistics.shared_cells import Cells

FLOOR = math.sqrt(PSI_FLOOR / 8 / math.log(2))


def jensen_shannon(
    reference: IntArray, current: IntArray, *, floor: float = FLOOR, tested: Cells | None = None
) -> Outcome:
    """sqrt((KL(p || m) + KL(q || m)) / 2) with m = (p + q) / 2 and logarithms to base 2, of the smoothed shares.

    Range: 0 (equal) to 1 (nothing in common); the square is in bits; symmetric; a metric. ``effect`` is the distance
    after its mean square under no drift, (B - 1)(1/N + 1/M) / (8 ln 2), was taken off the square. The floor, 0.134,
    is the one of PSI in this unit. Source: Endres and Schindelin, IEEE Transactions on Information Theory, 2003.

    >>> import numpy as np
    >>> result = jensen_shannon(np.array([500, 500]), np.array([300, 200]))
    >>> round(result.value, 4), round(result.effect, 4)
    (0.0853, 0.082)
    """
    return divergence("jensen_shannon", reference, current, floor, _measure, tested)


def _measure(pair: Pair) -> tuple[float, float]:
    p, q = pair.shares
    middle = (p + q) / 2
    bits = float(np.sum(p * np.log2(p / middle) + q * np.log2(q / middle))) / 2
    expected = pair.expected_psi / 8 / math.log(2)
    return math.sqrt(max(0.0, bits)), math.sqrt(max(0.0, bits - expected))
