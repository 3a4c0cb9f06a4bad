"""Has a share of rows that should be none risen?"""

from __future__ import annotations

from scipy.special import ndtr
from scipy.stats import hypergeom

from tidegauge.detectors.statistics.missing import FLOOR, pooled, reason_against
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, beyond_noise, settled


def share_rise(
    method: str,
    reference_hits: int,
    n_reference: int,
    current_hits: int,
    n_current: int,
    floor: float = FLOOR,
    note: str = "",
    dropped: tuple[int, int] = (0, 0),
) -> Outcome:
    """Share of faulty rows of the window; one-sided, since fewer faults are none.

    Range: 0 to 1. p is the upper tail of the pooled z test, or of the hypergeometric law where fewer than 5 rows are
    expected. ``effect`` is the difference to the reference's share, if it is positive, after its mean square under no
    drift was taken off its square. Sources: Pearson 1900; Fisher 1922.

    >>> result = share_rise("demo", 10, 1000, 60, 1000)
    >>> result.value, round(result.effect, 3), result.p_value < 1e-9
    (0.06, 0.049, True)
    """
    n, m = n_reference, n_current
    reason = reason_against(reference_hits, n, current_hits, m)
    if reason:
        return Undetermined(method, reason, n, m)
    gap, noise, many = pooled(reference_hits, n, current_hits, m)
    if many:
        p_value = float(ndtr(-gap / noise))
    else:
        p_value = float(hypergeom.sf(current_hits - 1, n + m, reference_hits + current_hits, m))
    effect = beyond_noise(gap, noise) if gap > 0 else 0.0
    return settled(Result(method, current_hits / m, min(1.0, p_value), effect, floor, n, m, *dropped, note))
