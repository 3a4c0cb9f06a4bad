"""Data: what became of each feature, in all traffic or in one part of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import norm, rankdata

from tidegauge.detectors.diagnose.case import DAY_S, Case
from tidegauge.detectors.diagnose.cells import Cells, daily, moved
from tidegauge.detectors.diagnose.change import shift
from tidegauge.detectors.diagnose.conversions import units
from tidegauge.detectors.diagnose.rows import Floats, Mask
from tidegauge.detectors.diagnose.signatures import (
    MOST_ALIKE,
    Mark,
    Signature,
    Values,
    coarser,
    default_value,
    outliers,
    stuck,
)
from tidegauge.detectors.diagnose.verdict import (
    BAD_FROM,
    EVERYTHING,
    MOST_STRENGTH,
    SEARCHED,
    Level,
    Part,
    Stage,
    Verdict,
    level_of,
)
from tidegauge.detectors.traffic import Category
from tidegauge.model import Slice

SIGNATURES: tuple[Signature, ...] = (stuck, outliers, units, default_value, coarser)
MISSING_FLOOR = 0.05
FEWEST_ROWS = 100
LEAST_PART = 0.02
AS_OFTEN = 2 / 3, 3 / 2
APART, UNLIKELY = 0.1, 0.01
"""Rows are of a kind of their own where their mean rank in another number lies so far from the middle, of 0.5 at most,
which chance does once in so many times."""
MOVED_FROM = 2.5
"""A distribution that went so many times as far as stretches of the days before do. Never more than suspect: the
world moves, and nothing about a move says who is to blame."""


def features(case: Case) -> list[Verdict]:
    """What is wrong with each feature; one verdict at most a feature, the most telling."""
    found = [verdict for name in case.rows.features for verdict in [_feature(case, name)] if verdict]
    return found or [Verdict("features", Stage.DATA, Level.OK, f"{len(case.rows.features)} features are as they were")]


def _feature(case: Case, name: str) -> Verdict | None:
    return (
        schema(case, name)
        or missing(case, name)
        or (_number(case, name) if name in case.rows.traffic.numeric else None)
    )


def schema(case: Case, name: str) -> Verdict | None:
    """Whether the feature came, went, or turned from number to text or back."""
    numeric = case.rows.traffic.numeric.get(name)
    texts = case.rows.traffic.categorical.get(name)
    if numeric is None or texts is None:
        return _came_or_went(case, name)
    text, number = texts.codes >= 0, np.isfinite(numeric)
    before, since = ((_share(text, rows), _share(number, rows)) for rows in (case.before, case.after))
    grown = float(since[0] - before[0]) if before[1] >= before[0] else float(since[1] - before[1])
    if grown < MISSING_FLOOR:
        return None
    kinds = ("number", "text") if before[1] >= before[0] else ("text", "number")
    example = texts.names[int(texts.codes[case.after & text][0])] if (case.after & text).any() else ""
    said = (
        f"was a {kinds[0]}, is {kinds[1]} in {max(since):.0%} of the rows{f', such as {example!r}' if example else ''}"
    )
    return _bad(name, "type changed", said, MOST_STRENGTH, EVERYTHING, {"share": grown, "example": example})


def _came_or_went(case: Case, name: str) -> Verdict | None:
    there = present(case, name)
    before, since = _share(there, case.before), _share(there, case.after)
    if before == 0 and since > 0:
        said = f"a new feature: in {since:.0%} of the rows, in none before"
        return Verdict(
            "features", Stage.DATA, Level.SUSPECT, said, "new feature", name, strength=1.5, columns=frozenset({name})
        )
    return None


def _share(of: Mask, rows: Mask) -> float:
    """Of these rows; 0 where there are none."""
    return float(of[rows].mean()) if rows.any() else 0.0


def present(case: Case, name: str) -> Mask:
    """Rows with a value of the feature, of whichever kind."""
    numeric, texts = case.rows.traffic.numeric.get(name), case.rows.traffic.categorical.get(name)
    found = np.zeros(case.rows.count, dtype=np.bool_)
    if numeric is not None:
        found |= np.isfinite(numeric)
    if texts is not None:
        found |= texts.codes >= 0
    return found


def missing(case: Case, name: str) -> Verdict | None:
    """More rows without a value."""
    absent = ~present(case, name)
    ones = np.ones(case.rows.count)
    whole = shift(case, case.sums(absent), case.sums(ones), MISSING_FLOOR)
    part, found = EVERYTHING, whole
    at = 0
    for dimension, column in case.dimensions.items():
        each = shift(case, case.sums_by(column, absent), case.sums_by(column, ones), MISSING_FLOOR)
        bad = np.flatnonzero((each.strength >= SEARCHED * BAD_FROM) & (each.delta > 0) & (each.rows >= FEWEST_ROWS))
        others = (each.rows >= FEWEST_ROWS).sum() - len(bad)
        if len(bad) == 1 and others:
            part, found, at = (Slice(dimension, column.names[bad[0]]),), each, int(bad[0])
            break
    strength, delta = (float(np.atleast_1d(x)[at]) for x in (found.strength, found.delta))
    strength /= SEARCHED if part else 1.0
    if strength < BAD_FROM or delta < 0:
        return None
    before, since = (float(np.atleast_1d(x)[at]) for x in (found.before, found.since))
    said = f"missing in {since:.0%} of the rows, {before:.0%} before"
    return _bad(name, "missing", said, strength, part, {"share before": before, "since": since})


def _number(case: Case, name: str) -> Verdict | None:
    cells = Cells.of(case.rows.traffic.numeric[name], case.before)
    whole = moved(case, daily(case, cells))
    seen = _marked(case, name, cells, EVERYTHING, float(whole.usual[0]))
    parts = list(_parts(case, name, cells))
    narrow = _narrowest(parts)
    if narrow is not None and not _elsewhere(case, name, cells, narrow, float(whole.usual[0])):
        part, mark = narrow
        return _bad(name, mark.cause, mark.said, mark.strength, part, dict(mark.evidence))
    if seen is None and narrow is not None:  # too little in each part but that one, yet not only there
        seen = narrow[1]
    if seen is not None:
        return _bad(name, seen.cause, seen.said, seen.strength, EVERYTHING, dict(seen.evidence))
    return _moved(name, float(whole.distance[0]), float(whole.usual[0]))


def _parts(case: Case, name: str, cells: Cells) -> Iterator[tuple[Slice, Mark | None]]:
    """Each part that is large enough, and what was seen in it."""
    for dimension, column in case.dimensions.items():
        if dimension == "version":
            continue
        found = moved(case, daily(case, cells, column))
        for at in np.flatnonzero(found.rows >= max(FEWEST_ROWS, LEAST_PART * found.rows.sum())):
            part = Slice(dimension, column.names[at])
            yield part, _marked(case, name, cells, (part,), float(found.usual[at]))


def _narrowest(parts: list[tuple[Slice, Mark | None]]) -> tuple[Part, Mark] | None:
    """The one value of a dimension in which something was seen, all others being sound; the clearest of several."""
    found: list[tuple[Part, Mark]] = []
    for dimension in dict.fromkeys(part.dimension for part, _ in parts):
        inside = [(part, mark) for part, mark in parts if part.dimension == dimension]
        seen = [(part, mark) for part, mark in inside if mark is not None]
        if len(seen) == 1 and len(inside) > 1:
            found.append(((seen[0][0],), seen[0][1]))
    return max(found, key=lambda each: each[1].strength, default=None)


def _elsewhere(case: Case, name: str, cells: Cells, seen: tuple[Part, Mark], usual: float) -> bool:
    """Whether what was seen in a part is seen in the rest as well, taken together."""
    part, mark = seen
    other = _marked(case.without(part), name, cells, EVERYTHING, usual)
    return other is not None and other.cause == mark.cause


def _marked(case: Case, name: str, cells: Cells, part: Part, usual: float) -> Mark | None:
    values = case.rows.traffic.numeric[name]
    here = case.rows.rows_in(part) & np.isfinite(values) if part else np.isfinite(values)
    old, new = here & case.before, here & case.after
    quarters = (case.rows.seconds[new] % DAY_S // (DAY_S // 4)).astype(np.int64)
    both = Values(values[old], values[new], case.day[new], quarters, cells.edges, usual, bool(part))
    if not both.enough:
        return None
    checks = SIGNATURES if _as_often(case, old, new, part) else (stuck, default_value)
    mark = next((mark for mark in (check(both) for check in checks) if mark), None)
    if part and mark is not None and mark.cause == "default value" and _belongs(case, name, mark, (old, new)):
        return None
    return mark


def _belongs(case: Case, name: str, mark: Mark, sides: tuple[Mask, Mask]) -> bool:
    """Whether another number sets the rows that have the value apart: it is theirs, as all new aircraft have one age.

    What fills a value in knows nothing of the row, though it may do so at some hours alone: the clock and the weather,
    one reading for all rows of an hour, say nothing. Nor does a value of the other that is new to several rows: one
    broken source may fill in several features.
    """
    numbers = case.rows.traffic.numeric
    having = numbers[name] == mark.evidence["value"]
    own = [numbers[other] for other in case.rows.features if other in numbers.keys() - case.hourly.keys() - {name}]
    return any(_apart(values, having, sides, UNLIKELY / len(own)) for values in own)


def _apart(values: Floats, having: Mask, sides: tuple[Mask, Mask], p_value: float) -> bool:
    """Ranks of rows that have it among all, before and since each by itself (van Elteren 1960)."""
    old, new = sides
    several, counts = np.unique(values[new & having], return_counts=True)
    filled_in = several[(counts > 1) & ~np.isin(several, values[old])]
    off, variance, count = 0.0, 0.0, 0
    for side in sides:
        seen = side & np.isfinite(values) & ~np.isin(values, filled_in)
        mine = having[seen]
        if 0 < mine.sum() < len(mine):
            ranks = rankdata(values[seen]) / len(mine) - (len(mine) + 1) / (2 * len(mine))
            off, count = off + float(ranks[mine].sum()), count + int(mine.sum())
            variance += float(mine.sum() * (~mine).sum() / (len(mine) - 1) * ranks.var())
    return variance > 0 and abs(off) >= APART * count and float(2 * norm.sf(abs(off) / variance**0.5)) <= p_value


def _as_often(case: Case, old: Mask, new: Mask, part: Part) -> bool:
    """Whether about as many rows have a value as before: else other rows are compared, not other values."""
    inside = case.rows.rows_in(part)
    before, since = old.sum() / max(1, (inside & case.before).sum()), new.sum() / max(1, (inside & case.after).sum())
    return bool(AS_OFTEN[0] < since / max(before, 1e-9) < AS_OFTEN[1])


def _moved(name: str, distance: float, usual: float) -> Verdict | None:
    if distance < MOVED_FROM * usual:
        return None
    said = f"its distribution moved by {distance:.2f}; stretches of the days before differ by up to {usual:.2f}"
    return Verdict(
        "features",
        Stage.DATA,
        Level.SUSPECT,
        said,
        "moved",
        name,
        strength=min(distance / usual, BAD_FROM - 0.01),
        columns=frozenset({name}),
        evidence={"distance": distance, "usual": usual},
    )


def _bad(name: str, cause: str, said: str, strength: float, part: Part, evidence: dict[str, float | str]) -> Verdict:
    level = level_of(strength)
    return Verdict("features", Stage.DATA, level, said, cause, name, part, strength, frozenset({name}), evidence)


def categories(case: Case) -> list[Verdict]:
    """What became of each feature of text, and of the dimensions that are none."""
    texts = {
        n: c
        for n, c in case.rows.traffic.categorical.items()
        if n != "prediction" and n not in case.rows.traffic.numeric
    }
    found = [v for name, column in texts.items() for v in [_category(case, name, column)] if v]
    return found or [
        Verdict("categories", Stage.DATA, Level.OK, f"{len(texts)} categorical features show no new values")
    ]


NEW_FLOOR = 0.005


def _category(case: Case, name: str, column: Category) -> Verdict | None:
    counts = case.sums_by(column, np.ones(case.rows.count))
    zero = -case.first
    before, since = counts[:, :zero].sum(1), counts[:, zero:].sum(1)
    if before.sum() < FEWEST_ROWS or since.sum() < FEWEST_ROWS:
        return None
    if (since > 0).sum() == 1 and (before > 0).sum() > 1 and before.max() < 0.9 * before.sum():
        value = column.names[int(np.argmax(since))]
        said = f"stuck at {value!r} for all rows; {before[np.argmax(since)] / before.sum():.0%} had it before"
        return _bad(name, "stuck", said, MOST_STRENGTH, EVERYTHING, {"value": value})
    if narrow := _stuck_part(case, name, column):
        return narrow
    new = np.where(before == 0, since, 0)
    share = float(new.sum() / since.sum())
    if share < NEW_FLOOR:
        return None
    return _renamed(case, name, column, counts, int(np.argmax(new)), share)


def _stuck_part(case: Case, name: str, column: Category) -> Verdict | None:
    """One value for all rows of one part, which had several before, where no other part of its dimension is so."""
    for dimension, parts in case.dimensions.items():
        if dimension in (name, "version"):
            continue
        inside = [(Slice(dimension, each), parts.codes == at) for at, each in enumerate(parts.names)]
        seen = [(part, value) for part, here in inside if (value := _only_value(case, column, here))]
        if len(seen) == 1:
            part, (stuck_at, share) = seen[0]
            said = f"stuck at {stuck_at!r} for all rows; {share:.0%} had it before"
            return _bad(name, "stuck", said, MOST_STRENGTH, (part,), {"value": stuck_at})
    return None


def _only_value(case: Case, column: Category, here: Mask) -> tuple[str, float] | None:
    """The one value since, and the share that had it before, where that was not nearly all."""
    known = here & (column.codes >= 0)
    before, since = (
        np.bincount(column.codes[known & side], minlength=len(column.names)) for side in (case.before, case.after)
    )
    if min(before.sum(), since.sum()) < FEWEST_ROWS or (since > 0).sum() != 1:
        return None
    at = int(np.argmax(since))
    share = float(before[at] / before.sum())
    return (column.names[at], share) if share < MOST_ALIKE else None


def _renamed(case: Case, name: str, column: Category, counts: Floats, new: int, share: float) -> Verdict:
    """New values; where one came as another of like volume went, it was renamed."""
    zero = -case.first
    rate_before, rate_since = counts[:, :zero].mean(1), counts[:, zero:].mean(1)
    gone = np.flatnonzero((rate_since == 0) & (rate_before > 0))
    same = [at for at in gone if 0.6 < rate_since[new] / rate_before[at] < 1.6]
    value = column.names[new]
    strength = min(MOST_STRENGTH, share / NEW_FLOOR * 2)
    if same:
        old = column.names[min(same, key=lambda at: abs(np.log(rate_since[new] / rate_before[at])))]
        said = f"{value!r} is new with {share:.1%} of the rows, as {old!r} went with as many: it was renamed"
        evidence: dict[str, float | str] = {"share": share, "new": value, "gone": old}
        return _bad(name, "new category", said, max(strength, 4.0), _new_part(case, name, value), evidence)
    said = f"{value!r} is new; values not seen before are {share:.1%} of the rows"
    return _bad(
        name,
        "new category",
        said,
        min(strength, 1.9) if share < 0.02 else strength,
        EVERYTHING,
        {"share": share, "new": value},
    )


def _new_part(case: Case, name: str, value: str) -> Part:
    """The part of that name where the feature is a dimension too."""
    column = case.dimensions.get(name)
    return (Slice(name, value),) if column is not None and value in column.names else EVERYTHING


__all__ = ["categories", "features", "missing", "present", "schema"]
