"""Do more rows than before repeat another one?"""

from __future__ import annotations

from scipy.special import betainc

from tidegauge.detectors.statistics.missing import FLOOR, reason_against
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled


def duplicates(
    reference_repeats: int, n_reference: int, current_repeats: int, n_current: int, *, floor: float = FLOOR
) -> Outcome:
    """Share of rows whose features are all equal to those of another row, the first of them left out.

    Range: 0 to 1. n rows of a law with few values repeat each other the more, the more rows there are, and nearly as
    the square of n while repeats are few. So the share in a window that is not longer than the reference is at most
    that of the reference, and of a longer one at most that times m / n: of the repeats of both sides the window's
    number is at most binomial with that share of rows, and p is its upper tail, on the safe side. ``effect`` is the
    share beyond the one so bounded, the floor 1 % of the rows. Sources: Przyborowski and Wilenski, Biometrika, 1940
    (two counts); Hurlbert, Ecology, 1971 (how repeats grow with the number of rows).

    >>> result = duplicates(100, 10_000, 60, 1000)
    >>> result.value, round(result.effect, 3), result.p_value < 1e-9
    (0.06, 0.05, True)
    """
    return _repeats("duplicates", (reference_repeats, n_reference), (current_repeats, n_current), floor)


def repeated_ids(
    reference_repeats: int, n_reference: int, current_repeats: int, n_current: int, *, floor: float = FLOOR
) -> Outcome:
    """Share of rows whose id an earlier row has, of the rows with an id; calibrated as ``duplicates`` are.

    Range: 0 to 1. ``effect`` and p: those of ``duplicates``. Sources: its.

    >>> repeated_ids(0, 10_000, 0, 500).p_value
    1.0
    """
    return _repeats("repeated_ids", (reference_repeats, n_reference), (current_repeats, n_current), floor)


def _repeats(method: str, reference: tuple[int, int], current: tuple[int, int], floor: float) -> Outcome:
    (before, n), (now, m) = reference, current
    reason = reason_against(before, n, now, m)
    if not reason and (before == n or now == m):
        reason = "as many repeats are counted as there are rows: one of them must be the first"
    if reason:
        return Undetermined(method, reason, n, m)
    longer = max(1.0, m / n)
    share = m * longer / (n + m * longer)
    p_value = float(betainc(float(now), before + 1.0, share)) if now else 1.0
    expected = min(1.0, before / n * longer)
    return settled(Result(method, now / m, p_value, max(0.0, now / m - expected), floor, n, m))
