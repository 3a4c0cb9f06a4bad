"""Are there more unknown categories than the reference leads one to expect?"""

from __future__ import annotations

from collections.abc import Mapping

from scipy.special import betainc

from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, settled

FLOOR = 0.01
NAMED = 5


def new_categories(
    reference_counts: Mapping[str, int], current_counts: Mapping[str, int], *, floor: float = FLOOR
) -> Outcome:
    """Share of current rows whose category the reference never showed.

    Range: 0 to 1, a share of rows. A long tail brings new names all the time: the reference's own tail says how many.
    With f1 categories seen once and f2 seen twice in N rows, the unseen mass is about f1 / N (Good 1953), with
    variance (f1 + 2 f2) / N². Given the mass the new rows are binomial; a gamma law for the
    mass makes them negative binomial, and p is its upper tail. With f2 = 0 this is exactly the one-sided conditional
    binomial test of two Poisson counts. One is added to f1, so that a reference without a tail predicts almost nothing
    rather than nothing. ``effect`` is the share beyond the predicted one; the floor is 1 % of the rows.
    Sources: Good, Biometrika, 1953; Robbins 1968; Esty 1983.

    >>> result = new_categories({"a": 900, "b": 99, "c": 1}, {"a": 80, "new": 15, "newer": 5})
    >>> round(result.value, 3), round(result.effect, 3), result.note
    (0.2, 0.198, 'new: new (15), newer (5)')
    """
    n, m = (sum(max(0, count) for count in counts.values()) for counts in (reference_counts, current_counts))
    if not n or not m:
        return Undetermined("new_categories", f"the {'current window' if n else 'reference'} is empty", n, m)
    new = {name: count for name, count in current_counts.items() if count > 0 and reference_counts.get(name, 0) <= 0}
    hits = sum(new.values())
    seen = list(reference_counts.values())
    once, twice = seen.count(1), seen.count(2)
    share, expected = hits / m, min(1.0, (once + 1) / n)
    effect = max(0.0, share - expected)
    p_value = _p_value(hits, m, once, twice, n)
    return settled(Result("new_categories", share, p_value, effect, floor, n, m, note=_named(new)))


def _p_value(hits: int, m: int, once: int, twice: int, n: int) -> float:
    """P(at least ``hits`` new rows): gamma mass with mean (once + 1)/n and variance (once + 1 + 2 twice)/n²."""
    if not hits:
        return 1.0
    spread = (once + 1 + 2 * twice) / (once + 1)
    return float(betainc(hits, (once + 1) / spread, m * spread / (n + m * spread)))


def _named(new: Mapping[str, int]) -> str:
    ranked = sorted(new, key=lambda name: (-new[name], name))
    listed = ", ".join(f"{name} ({new[name]})" for name in ranked[:NAMED])
    more = f" and {len(ranked) - NAMED} more" if len(ranked) > NAMED else ""
    return f"new: {listed}{more}" if listed else ""
