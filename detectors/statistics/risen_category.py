"""Has one of the categories that have no cell of their own become frequent?"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from itertools import chain
from typing import NamedTuple

from scipy.special import betainc

from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined, beyond_noise, settled

FLOOR = 0.01


class Uncounted(NamedTuple):
    """Rows of categories whose names were not kept, and the largest share of rows that one such category can have."""

    reference: int = 0
    current: int = 0
    most: float = 0.0


class Rise(NamedTuple):
    """One category, its share of the reference's rows (at most) and of the window's, and the chance of such a rise."""

    name: str
    before: float
    now: float
    chance: float

    @property
    def gap(self) -> float:
        """By how much the share rose."""
        return self.now - self.before


def risen_category(
    reference_counts: Mapping[str, int],
    current_counts: Mapping[str, int],
    *,
    apart: Collection[str] = (),
    uncounted: Uncounted | None = None,
    floor: float = FLOOR,
) -> Outcome:
    """The rise in share of the category that rose most surely, of those that are not in ``apart``.

    Range: 0 to 1, in shares of rows with a value. Of c rows of one category in both samples those in the window are,
    without drift, binomial with M / (N + M); the law given the row totals, hypergeometric, has lighter tails. Of the
    categories that rose by ``floor`` or more the least likely one counts; its chance is multiplied by the number of
    *all* categories, those in ``apart`` too, that have enough rows to be as unlikely. So p holds however the reference
    chose those apart, and ten thousand rare names hardly weaken it. Where none rose by ``floor``, p is 1. ``effect`` is
    the rise after its mean square under no drift was taken off its square; the floor is 1 % of the rows. Sources:
    Przyborowski and Wilenski, Biometrika, 1940; Tarone, Biometrics, 1990.

    ``uncounted`` are rows whose names were not kept: in a reference that has some, any category may have had as many
    more rows as one such category can have, and they may be of as many categories as could be that frequent.

    >>> before = {"a": 900, "b": 98, "c": 2}
    >>> result = risen_category(before, {"a": 80, "b": 10, "c": 6, "new": 4}, apart=["a", "b"])
    >>> round(result.value, 3), result.p_value < 1e-4, result.note
    (0.058, True, 'risen: c (0.2 % to 6 %)')
    """
    sides = _Sides.of(reference_counts, current_counts, apart, uncounted)
    n, m = sides.rows
    if not n or not m:
        return Undetermined("risen_category", f"the {'current window' if n else 'reference'} is empty", n, m)
    rise = sides.surest(floor)
    if rise is None:
        furthest = sides.furthest()
        return Result("risen_category", furthest.gap, 1.0, _effect(furthest, n, m), floor, n, m)
    p_value = min(1.0, rise.chance * sides.as_unlikely(rise.chance))
    most = "at most " if sides.uncounted.reference else ""
    note = f"risen: {rise.name} ({most}{100 * rise.before:.3g} % to {100 * rise.now:.3g} %)"
    return settled(Result("risen_category", rise.gap, p_value, _effect(rise, n, m), floor, n, m, note=note))


def most_risen(
    reference_counts: Mapping[str, int],
    current_counts: Mapping[str, int],
    *,
    apart: Collection[str] = (),
    uncounted: Uncounted | None = None,
    floor: float = FLOOR,
) -> Rise | None:
    """The category that ``risen_category`` is about; None where none rose by ``floor``.

    >>> most_risen({"a": 98, "b": 2}, {"a": 90, "b": 10}, apart=["a"]).name
    'b'
    """
    return _Sides.of(reference_counts, current_counts, apart, uncounted).surest(floor)


def _effect(rise: Rise, n: int, m: int) -> float:
    share = (rise.before * n + rise.now * m) / (n + m)
    return beyond_noise(rise.gap, math.sqrt(share * (1 - share) * (1 / n + 1 / m))) if rise.gap > 0 else 0.0


class _Sides(NamedTuple):
    """Both samples, how many rows they have, and how many a category may have had unseen in the reference."""

    reference: Mapping[str, int]
    current: Mapping[str, int]
    apart: Collection[str]
    uncounted: Uncounted
    rows: tuple[int, int]
    hidden: int

    @classmethod
    def of(
        cls,
        reference: Mapping[str, int],
        current: Mapping[str, int],
        apart: Collection[str],
        uncounted: Uncounted | None,
    ) -> _Sides:
        left = uncounted or Uncounted()
        before, now = (sum(rows for rows in counts.values() if rows > 0) for counts in (reference, current))
        sizes = before + left.reference, now + left.current
        hidden = min(left.reference, math.ceil(left.most * sizes[0]))
        return cls(reference, current, apart, left, sizes, hidden)

    def before(self, name: str) -> int:
        return max(0, self.reference.get(name, 0)) + self.hidden

    def surest(self, floor: float) -> Rise | None:
        """Of the categories that rose by ``floor``, the one of which it is least likely."""
        n, m = self.rows
        least, found = max(1.0, floor * m), []
        for name, now in self.current.items():
            if now >= least and name not in self.apart:
                before = self.before(name)
                if now / m - before / n >= floor:
                    found.append(Rise(name, before / n, now / m, float(betainc(now, before + 1, m / (n + m)))))
        return min(found, key=lambda each: (each.chance, -each.gap, each.name), default=None)

    def furthest(self) -> Rise:
        """The category whose share rose most, however little; one of no rows where none rose."""
        n, m = self.rows
        furthest, least = Rise("", 0.0, 0.0, 1.0), 0.0
        for name, now in self.current.items():
            if now > least and name not in self.apart:
                gap = now / m - self.before(name) / n
                if gap > furthest.gap:
                    furthest, least = Rise(name, now / m - gap, now / m, 1.0), gap * m
        return furthest

    def as_unlikely(self, chance: float) -> float:
        """How many categories have so many rows that all of them falling into the window is at most as likely."""
        n, m = self.rows
        rows = max(1.0, math.log(max(chance, 1e-300)) / math.log(m / (n + m)))
        known = (max(0, count) + max(0, self.current.get(name, 0)) for name, count in self.reference.items())
        new = (count for name, count in self.current.items() if name not in self.reference)
        return sum(1 for each in chain(known, new) if each >= rows) + sum(self.uncounted[:2]) / rows
