"""Kullback-Leibler divergence."""

from __future__ import annotations

import numpy as np

from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.detectors.statistics.binned import PSI_FLOOR, Pair, divergence
from tidegauge.detectors.statistics.result import Outcome
from tidegauge.detectors.statistics.shared_cells import Cells

FLOOR = PSI_FLOOR / 2


def kl(reference: IntArray, current: IntArray, *, floor: float = FLOOR, tested: Cells | None = None) -> Outcome:
    """KL(current || reference) = sum q ln(q / p), of the smoothed shares.

    Range: 0 (equal) upwards; in nats; **not** symmetric: it is the surprise that the current window is to one who
    knows only the reference. ``effect`` is KL less its mean under no drift, (B - 1)(1/N + 1/M) / 2. The floor is the
    one of PSI, halved. Source: Kullback and Leibler, Annals of Mathematical Statistics, 1951.

    >>> import numpy as np
    >>> result = kl(np.array([500, 500]), np.array([300, 200]))
    >>> round(result.value, 4), round(result.effect, 4)
    (0.0201, 0.0186)
    """
    return divergence("kl", reference, current, floor, _measure, tested)


def _measure(pair: Pair) -> tuple[float, float]:
    p, q = pair.shares
    value = max(0.0, float(np.sum(q * np.log(q / p))))
    return value, max(0.0, value - pair.expected_psi / 2)
