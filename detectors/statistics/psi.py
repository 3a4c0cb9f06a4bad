"""Population stability index."""

from __future__ import annotations

from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.detectors.statistics.binned import PSI_FLOOR, Pair, divergence, psi_of
from tidegauge.detectors.statistics.result import Outcome
from tidegauge.detectors.statistics.shared_cells import Cells


def psi(reference: IntArray, current: IntArray, *, floor: float = PSI_FLOOR, tested: Cells | None = None) -> Outcome:
    """PSI = sum (q - p) ln(q / p), over cells frozen on the reference.

    Range: 0 (equal) upwards; in nats; symmetric. ``effect`` is PSI less its mean under no drift,
    (B - 1)(1/N + 1/M); the p-value is that of ``binned``. Source: Yurdakul and Naranjo, Journal of Risk Model
    Validation, 2020.

    >>> import numpy as np
    >>> result = psi(np.array([500, 500]), np.array([300, 200]))
    >>> round(result.value, 4), round(result.effect, 4)
    (0.0404, 0.0374)
    """
    return divergence("psi", reference, current, floor, _measure, tested)


def _measure(pair: Pair) -> tuple[float, float]:
    value = psi_of(pair.reference, pair.current)
    return value, max(0.0, value - pair.expected_psi)
