"""Have categories gone that the reference had?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import gammaln

from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled

FLOOR = 0.01
NAMED = 5


def lost_categories(
    reference_counts: Mapping[str, int], current_counts: Mapping[str, int], *, floor: float = FLOOR
) -> Outcome:
    """Share of the reference's rows in categories that no row of the current window has.

    Range: 0 to 1. Rare categories are absent from a short window without any drift: of c rows of both sides none falls
    into a window of m of N with the chance C(N - c, m) / C(N, m). p is that of the least likely loss, plus those of all
    categories that were as unlikely to be lost: a union bound that ten thousand rare names do not weaken (Tarone,
    Biometrics, 1990). ``effect`` is the share beyond the one that such chances lead one to expect, the floor 1 % of the
    rows. Source: the hypergeometric law (Fisher 1935), and Tarone's bound.

    >>> result = lost_categories({"a": 900, "b": 95, "c": 5}, {"a": 100})
    >>> result.value, round(result.effect, 3), round(result.p_value, 5), result.note
    (0.1, 0.097, 8e-05, 'lost: b (95), c (5)')
    """
    n, m = (sum(max(0, count) for count in counts.values()) for counts in (reference_counts, current_counts))
    if not n or not m:
        return Undetermined("lost_categories", f"the {'current window' if n else 'reference'} is empty", n, m)
    known = [name for name, count in reference_counts.items() if count > 0]
    rows = np.array([reference_counts[name] for name in known], dtype=np.float64)
    now = np.array([max(0, current_counts.get(name, 0)) for name in known], dtype=np.float64)
    chances, gone = _chances(rows + now, n, m), now == 0
    share = float(rows[gone].sum()) / n
    effect = max(0.0, share - float(rows @ chances) / n)
    p_value = _p_value(chances, gone)
    lost = {name: int(count) for name, count, left in zip(known, rows, gone, strict=True) if left}
    return settled(Result("lost_categories", share, p_value, effect, floor, n, m, note=_named(lost)))


def _chances(pooled: FloatArray, n: int, m: int) -> FloatArray:
    """That none of the rows of a category falls into the window; 0 where it has more of them than the reference."""
    left = np.maximum(0.0, n - pooled)
    logs = gammaln(n + m - pooled + 1) - gammaln(left + 1) - gammaln(n + m + 1) + gammaln(n + 1)
    found: FloatArray = np.where(pooled <= n, np.exp(np.minimum(0.0, logs)), 0.0)
    return found


def _p_value(chances: FloatArray, gone: np.ndarray) -> float:
    if not gone.any():
        return 1.0
    least = float(chances[gone].min())
    return min(1.0, float(chances[chances <= least * (1 + 1e-9)].sum()))


def _named(lost: Mapping[str, int]) -> str:
    ranked = sorted(lost, key=lambda name: (-lost[name], name))
    listed = ", ".join(f"{name} ({lost[name]})" for name in ranked[:NAMED])
    more = f" and {len(ranked) - NAMED} more" if len(ranked) > NAMED else ""
    return f"lost: {listed}{more}" if listed else ""
