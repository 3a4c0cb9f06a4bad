"""Which part of the traffic explains a change: a search over all dimensions and their pairs, corrected for the search.

For every candidate the mean since is compared with the mean before, relative to the rest of the traffic. How large such
a difference gets when nothing happened is learned by shuffling whole days, all candidates at once: the p-value is the
share of shufflings in which *any* candidate does as well (the maximum statistic of Westfall and Young 1993). Days are
shuffled rather than rows because the rows of a day share their weather.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tidegauge.detectors.diagnose.rows import Floats, Ints, Mask
from tidegauge.detectors.diagnose.verdict import Part
from tidegauge.detectors.traffic import Category
from tidegauge.model import Slice

MOST_VALUES = 20
SHUFFLES = 400
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Explained:
    """One part of the traffic, and how much of the change lies in it.

    Attributes:
        before, since: Means of the value in the part.
        beyond: The part's change less that of the rest.
        low, high: Ends of an interval for ``beyond`` that holds for all candidates at once at 95 %.
        share: Of the whole change, what the part accounts for; above 1 where the rest went the other way.
        p_value: Adjusted for all candidates.
    """

    part: Part
    before: float
    since: float
    beyond: float
    low: float
    high: float
    share: float
    rows: int
    p_value: float


@dataclass(frozen=True)
class _Table:
    """Sums and counts by candidate (first axis) and day."""

    parts: Sequence[Part]
    total: Floats
    count: Floats
    all_total: Floats
    all_count: Floats


def search(
    values: Floats,
    slots: Ints,
    since: int,
    dimensions: Mapping[str, Category],
    rng: np.random.Generator,
    *,
    fewest: int = 100,
    shuffles: int = SHUFFLES,
) -> list[Explained]:
    """Candidates with the largest change beyond that of the rest, most significant first, at most ten.

    Args:
        values: A number per row, such as loss or error; nan where it is not known.
        slots: The day of each row, counted from 0; rows below 0 are left out.
        since: The first day after the change.
        dimensions: What to divide by; values beyond the 20 most frequent of a dimension are no candidates.
        fewest: Known values on each side below which a part is no candidate.
    """
    kept = np.isfinite(values) & (slots >= 0)
    if not kept.any():
        return []
    table = _tabulate(values, slots, kept, dimensions)
    days = table.all_count.shape[0]
    after = np.arange(days) >= since
    usable = (table.count[:, after].sum(1) >= fewest) & (table.count[:, ~after].sum(1) >= fewest)
    usable &= _divides(table)
    if not usable.any() or not after.any() or after.all():
        return []
    table = _Table(
        [p for p, keep in zip(table.parts, usable, strict=True) if keep],
        table.total[usable],
        table.count[usable],
        table.all_total,
        table.all_count,
    )
    lines = np.stack([after, *(rng.permutation(after) for _ in range(shuffles))])
    difference, errors = _differences(table, lines)
    beyond, error = difference[:, 0], errors[:, 0]
    null = difference[:, 1:] / errors[:, 1:]
    largest = np.sort(np.abs(null).max(axis=0))
    statistic = np.abs(beyond) / error
    reach = float(np.quantile(largest, CONFIDENCE))
    found = [
        _explained(table, at, after, beyond[at], reach * error[at], statistic[at], largest)
        for at in np.argsort(-statistic)
    ]
    return found[:10]


def _tabulate(values: Floats, slots: Ints, kept: Mask, dimensions: Mapping[str, Category]) -> _Table:
    days = int(slots[kept].max()) + 1
    coded = {name: _frequent(column, kept) for name, column in dimensions.items()}
    groups: list[tuple[list[Part], Ints]] = []
    for name, (codes, names) in coded.items():
        groups.append(([(Slice(name, each),) for each in names], codes))
    for (one, (a, names_a)), (two, (b, names_b)) in combinations(coded.items(), 2):
        both = np.where((a >= 0) & (b >= 0), a * len(names_b) + b, -1)
        groups.append(([(Slice(one, x), Slice(two, y)) for x in names_a for y in names_b], both))
    parts = [part for found, _ in groups for part in found]
    sums = [_by_day(values, slots, kept, codes, len(found), days) for found, codes in groups]
    total, count = (np.concatenate([each[side] for each in sums]) if sums else np.empty((0, days)) for side in (0, 1))
    every = np.zeros(len(values), dtype=np.int64)
    all_total, all_count = (each[0] for each in _by_day(values, slots, kept, every, 1, days))
    return _Table(parts, total, count, all_total, all_count)


def _frequent(column: Category, kept: Mask) -> tuple[Ints, list[str]]:
    """Codes into the most frequent values, -1 for the others."""
    codes = column.codes.astype(np.int64)
    counts = np.bincount(codes[kept & (codes >= 0)], minlength=len(column.names))
    order = [int(at) for at in np.argsort(-counts, kind="stable")[:MOST_VALUES] if counts[at]]
    places = np.full(len(column.names) + 1, -1, dtype=np.int64)
    places[order] = np.arange(len(order))
    return places[codes], [column.names[at] for at in order]


def _by_day(values: Floats, slots: Ints, kept: Mask, codes: Ints, parts: int, days: int) -> tuple[Floats, Floats]:
    rows = kept & (codes >= 0)
    at = codes[rows] * days + slots[rows]
    total = np.bincount(at, weights=values[rows], minlength=parts * days)
    count = np.bincount(at, minlength=parts * days)
    return total.reshape(parts, days).astype(np.float64), count.reshape(parts, days).astype(np.float64)


def _divides(table: _Table) -> Mask:
    """Parts that are not nearly all of the traffic; of two with the same rows, the first: the plainer one."""
    own = table.count.sum(1)
    found: Mask = own <= 0.98 * table.all_count.sum()
    seen: set[bytes] = set()
    for at in np.flatnonzero(found):
        key = table.count[at].tobytes()
        found[at] = key not in seen
        seen.add(key)
    return found


def _gaps(table: _Table) -> Floats:
    """A part's mean on each day, less that of the rest on that day and less its own usual distance from the rest."""
    others = (table.all_total - table.total) / np.maximum(table.all_count - table.count, 1)
    gap = table.total / np.maximum(table.count, 1) - others
    centre = (gap * table.count).sum(1) / np.maximum(table.count.sum(1), 1)
    found: Floats = np.where(table.count > 0, gap - centre[:, None], 0.0)
    return found


def _differences(table: _Table, after: Mask) -> tuple[Floats, Floats]:
    """Mean gap since less that before, by part and by line of ``after``, and its error by what days differ by.

    One line is one way to place the days; each has an error of its own, or else the true line, whose difference was
    taken out of its error, would look larger than the shuffled ones where nothing happened.
    """
    gaps, weight = _gaps(table), table.count
    found, total = np.zeros((len(weight), len(after))), np.zeros((len(weight), len(after)))
    for when, sign in ((after, 1.0), (~after, -1.0)):
        days = when.T.astype(np.float64)
        rows = np.maximum(weight @ days, 1)
        mean = (gaps * weight) @ days / rows
        squares = ((weight * gaps) ** 2) @ days - 2 * mean * ((weight**2 * gaps) @ days) + mean**2 * (weight**2 @ days)
        found += sign * mean
        total += np.maximum(squares, 0) / rows**2
    return found, np.sqrt(np.maximum(total, 1e-12))


def _explained(
    table: _Table, at: int, after: Mask, beyond: float, reach: float, statistic: float, largest: Floats
) -> Explained:
    hits = len(largest) - int(np.searchsorted(largest, statistic, side="left"))
    total, count = table.total[at], table.count[at]
    before, since = (float(total[when].sum() / max(1.0, count[when].sum())) for when in (~after, after))
    whole = [float(table.all_total[when].sum() / max(1.0, table.all_count[when].sum())) for when in (~after, after)]
    weight = float(count[after].sum() / max(1.0, table.all_count[after].sum()))
    change = whole[1] - whole[0]
    share = (since - before) * weight / change if change else 0.0
    p_value = (1 + hits) / (1 + len(largest))
    return Explained(
        table.parts[at], before, since, beyond, beyond - reach, beyond + reach, share, int(count[after].sum()), p_value
    )
