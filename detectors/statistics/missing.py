"""Has the share of missing, or of non-finite, values changed?"""

from __future__ import annotations

import math

from scipy.special import ndtr
from scipy.stats import fisher_exact

from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, beyond_noise, settled

FLOOR = 0.01
EXPECTED = 5.0


def missing_share(
    reference_missing: int, n_reference: int, current_missing: int, n_current: int, *, floor: float = FLOOR
) -> Outcome:
    """Share of missing rows (NaN, None, absent), current less reference; see ``share_shift``.

    >>> result = missing_share(10, 1000, 60, 1000)
    >>> round(result.value, 3), round(result.effect, 3)
    (0.05, 0.049)
    """
    return share_shift("missing_share", reference_missing, n_reference, current_missing, n_current, floor)


def non_finite_share(
    reference_hits: int, n_reference: int, current_hits: int, n_current: int, *, floor: float = FLOOR
) -> Outcome:
    """Share of rows that are plus or minus infinity, current less reference; see ``share_shift``.

    >>> non_finite_share(0, 1000, 0, 500).value
    0.0
    """
    return share_shift("non_finite_share", reference_hits, n_reference, current_hits, n_current, floor)


def share_shift(
    method: str,
    reference_hits: int,
    n_reference: int,
    current_hits: int,
    n_current: int,
    floor: float = FLOOR,
    note: str = "",
    dropped: tuple[int, int] = (0, 0),
) -> Outcome:
    """Difference of two shares, with the pooled z test, or Fisher's exact test where fewer than 5 rows are expected.

    Range: -1 to 1, in shares of rows; both directions count. ``effect`` is the size of the difference after its mean
    square under no drift was taken off its square. The floor is 1 % of the rows. Sources: Pearson 1900; Fisher 1922.

    >>> share_shift("demo", 0, 0, 1, 9).reason
    'the reference is empty'
    """
    n, m = n_reference, n_current
    reason = reason_against(reference_hits, n, current_hits, m)
    if reason:
        return Undetermined(method, reason, n, m)
    value, noise, many = pooled(reference_hits, n, current_hits, m)
    if many:
        p_value = 2 * float(ndtr(-abs(value) / noise))
    else:
        table = [[reference_hits, n - reference_hits], [current_hits, m - current_hits]]
        p_value = min(1.0, float(fisher_exact(table).pvalue))
    return settled(Result(method, value, p_value, beyond_noise(value, noise), floor, n, m, *dropped, note))


def pooled(reference_hits: int, n: int, current_hits: int, m: int) -> tuple[float, float, bool]:
    """Difference of two shares, its deviation if both are one share, and whether the normal law may be used for it.

    >>> gap, noise, many = pooled(25, 100, 50, 100)
    >>> gap, round(noise, 4), many
    (0.25, 0.0685, True)
    """
    share = (reference_hits + current_hits) / (n + m)
    noise = math.sqrt(share * (1 - share) * (1 / n + 1 / m))
    return current_hits / m - reference_hits / n, noise, min(share, 1 - share) * min(n, m) >= EXPECTED


def reason_against(reference_hits: int, n: int, current_hits: int, m: int) -> str:
    """Why two shares cannot be compared, or nothing.

    >>> reason_against(1, 9, 0, 0)
    'the current window is empty'
    """
    if n <= 0:
        return "the reference is empty"
    if m <= 0:
        return "the current window is empty"
    wrong = not (0 <= reference_hits <= n and 0 <= current_hits <= m)
    return "more rows are counted than there are" if wrong else ""
