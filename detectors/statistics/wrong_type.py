"""Does a feature come as text where it is a number, or as a number where it is text?"""

from __future__ import annotations

from tidegauge.detectors.statistics.missing import FLOOR
from tidegauge.detectors.statistics.result import Outcome
from tidegauge.detectors.statistics.share_rise import share_rise


def wrong_type(
    reference_hits: int, n_reference: int, current_hits: int, n_current: int, *, floor: float = FLOOR
) -> Outcome:
    """Share of rows whose value is text where a number is due, or a number where text is; see ``share_rise``.

    Range: 0 to 1. ``effect`` and p: those of ``share_rise``. Sources: its.

    >>> wrong_type(0, 1000, 30, 500).value
    0.06
    """
    return share_rise("wrong_type", reference_hits, n_reference, current_hits, n_current, floor)
