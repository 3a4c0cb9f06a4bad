"""The counts of one stretch of time: made from rows, added up, and written as rows of the table ``sketches``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from tidegauge.detectors.profile import CategoryPart, Profile
from tidegauge.detectors.sketches.binning import Binning
from tidegauge.detectors.sketches.numeric import NumericSketch
from tidegauge.detectors.statistics.bins import MOST_CATEGORIES, CategoryBins
from tidegauge.detectors.statistics.risen_category import Uncounted
from tidegauge.detectors.statistics.shared_cells import Cells, shared_cells
from tidegauge.detectors.traffic import Traffic
from tidegauge.model import ALL, Slice

OTHER = "(other)"
MOST_NAMES, SURELY = 1000, 5
HIDDEN = 3 / MOST_NAMES
"""The largest share of rows that a name can have which was left out: it had less than a thousandth of those of each
stretch that left it out, as a thousand names had more; minutes, hours and days leave out one after the other."""
Key: TypeAlias = tuple[Slice, str]
EMPTY_MAX, EMPTY_MIN = -np.inf, np.inf


@dataclass(frozen=True)
class Kinds:
    """How many rows have a number, a text, and a text that reads as a number."""

    numbers: int = 0
    texts: int = 0
    readable: int = 0

    def __add__(self, other: Kinds) -> Kinds:
        return Kinds(self.numbers + other.numbers, self.texts + other.texts, self.readable + other.readable)

    @property
    def kind(self) -> str:
        """``number`` or ``text``, whichever more rows have; empty where none has either."""
        return ("number" if self.numbers >= self.texts else "text") if self.numbers + self.texts else ""


@dataclass
class Counts:
    """What was counted in one stretch of time, by part of the traffic and feature."""

    binning: Binning
    sizes: Counter[Slice] = field(default_factory=Counter)
    numeric: dict[Key, NumericSketch] = field(default_factory=dict)
    categorical: dict[Key, CategoryPart] = field(default_factory=dict)
    kinds: dict[str, Kinds] = field(default_factory=dict)

    @classmethod
    def of(cls, traffic: Traffic, binning: Binning) -> Counts:
        """Count all rows of ``traffic``."""
        profile, found = Profile(traffic), cls(binning)
        names = dict.fromkeys([*traffic.numeric, *traffic.categorical])
        found.kinds = {name: _kinds(profile, name) for name in names}
        for part in binning.parts:
            if part == ALL or traffic.size(part):
                found.sizes[part] = traffic.size(part)
                found._count(profile, part, names)
        for name, column in traffic.dimensions.items():
            named = sum(found.sizes[Slice(name, value)] for value in binning.slices.get(name, ()))
            found.sizes[Slice(name, OTHER)] = sum(map(len, column.rows_by_name.values())) - named
        return found

    def _count(self, profile: Profile, part: Slice, names: Mapping[str, None]) -> None:
        index = profile.traffic.index(part)
        for name in names:
            if name in self.binning.edges:
                values = profile.values(name)
                assert values is not None
                edges, center = self.binning.edges_of(name, part), self.binning.centers[name]
                self.numeric[part, name] = NumericSketch.of(values if index is None else values[index], edges, center)
            elif column := profile.traffic.categorical.get(name):
                self.categorical[part, name] = CategoryPart(profile.traffic.size(part), _capped(column.counts(index)))

    def __add__(self, other: Counts) -> Counts:
        """Both together; a feature that one of them lacks is missing in all of its rows."""
        if other.binning.name != self.binning.name:
            raise ValueError("the cells of the two sides were frozen on different references")
        found = Counts(self.binning, self.sizes + other.sizes)
        for key in {**self.numeric, **other.numeric}:
            found.numeric[key] = self.number(*key) + other.number(*key)
        for key in {**self.categorical, **other.categorical}:
            found.categorical[key] = _both(self.category(*key), other.category(*key))
        for name in {**self.kinds, **other.kinds}:
            found.kinds[name] = self.kinds.get(name, Kinds()) + other.kinds.get(name, Kinds())
        return found

    def number(self, part: Slice, feature: str) -> NumericSketch:
        """A numeric feature in a part of the traffic; all missing where it was never seen."""
        found = self.numeric.get((part, feature))
        if found is not None:
            return found
        rows = self.sizes[part]
        nothing = NumericSketch.of(np.empty(0), self.binning.edges_of(feature, part), self.binning.centers[feature])
        return _missing(nothing, rows)

    @property
    def uncounted(self) -> set[str]:
        """Numeric features that came after the cells were frozen."""
        told = {name for name, kinds in self.kinds.items() if kinds.numbers and name not in self.binning.edges}
        return {name for name in told if not self.category(ALL, name).counts}

    @property
    def outgrown(self) -> bool:
        """Whether new cells are due: a numeric feature has none, or much lies where it cannot be told apart."""
        everywhere = [each for (part, _), each in self.numeric.items() if part == ALL and each.finite]
        return bool(self.uncounted) or any(each.crowded for each in everywhere)

    def category(self, part: Slice, feature: str) -> CategoryPart:
        """A categorical feature in a part of the traffic."""
        found = self.categorical.get((part, feature))
        return found if found is not None else CategoryPart(self.sizes[part], {})

    def rows(self) -> pa.Table:
        """One row for each part and feature, and one without a feature for the size of each part."""
        made = [_row(part, "", rows) for part, rows in self.sizes.items() if rows]
        for (part, name), each in self.numeric.items():
            made.append(_row(part, name, each.rows) | _numbers(each) | self._kinds_of(part, name))
        for (part, name), told in self.categorical.items():
            kept = _capped(told.counts)
            names = {"names": list(kept), "counts": list(kept.values())}
            made.append(_row(part, name, told.rows) | names | self._kinds_of(part, name))
        known = {name for part, name in (*self.numeric, *self.categorical) if part == ALL}
        for name in self.kinds.keys() - known:
            made.append(_row(ALL, name, 0) | self._kinds_of(ALL, name))
        return pa.Table.from_pylist(made, SCHEMA)

    def _kinds_of(self, part: Slice, name: str) -> dict[str, int]:
        kinds = self.kinds[name] if part == ALL else Kinds()
        return {"numbers": kinds.numbers, "texts": kinds.texts, "readable": kinds.readable}

    @classmethod
    def from_rows(cls, rows: list[dict[str, Any]], binning: Binning) -> Counts:
        """The inverse of ``rows``, added up over any number of stretches."""
        found = cls(binning)
        for row in rows:
            part, name = Slice(row["dimension"], row["slice"]), row["feature"]
            if not name:
                found.sizes[part] += row["rows"]
        for row in rows:
            part, name = Slice(row["dimension"], row["slice"]), row["feature"]
            if not name:
                continue
            if part == ALL:
                found.kinds[name] = Kinds(row["numbers"], row["texts"], row["readable"])
            size = found.sizes[part]
            if name in binning.edges:
                edges, center = binning.edges_of(name, part), binning.centers[name]
                found.numeric[part, name] = _sketch(row, size, edges, center)
            else:
                named = dict(zip(row["names"], row["named"], strict=True))
                found.categorical[part, name] = CategoryPart(size, {k: int(v) for k, v in named.items()})
        return found


SCHEMA = pa.schema(
    [("dimension", pa.string()), ("slice", pa.string()), ("feature", pa.string())]
    + [(name, pa.uint64()) for name in ("rows", "missing", "non_finite", "numbers", "texts", "readable")]
    + [(name, pa.float64()) for name in ("squares", "low", "high")]
    + [("counts", pa.list_(pa.uint64())), ("sums", pa.list_(pa.float64())), ("names", pa.list_(pa.string()))]
)


def _row(part: Slice, feature: str, rows: int) -> dict[str, Any]:
    zeros = dict.fromkeys(("missing", "non_finite", "numbers", "texts", "readable"), 0)
    ends = {"squares": 0.0, "low": EMPTY_MIN, "high": EMPTY_MAX, "counts": [], "sums": [], "names": []}
    return {"dimension": part.dimension, "slice": part.value, "feature": feature, "rows": rows} | zeros | ends


def _numbers(each: NumericSketch) -> dict[str, Any]:
    counted = {"missing": each.missing, "non_finite": each.non_finite, "squares": each.squares}
    return counted | {"low": each.low, "high": each.high, "counts": each.counts, "sums": each.sums}


def _sketch(row: dict[str, Any], size: int, edges: Any, center: float) -> NumericSketch:
    """Of the rows of a part those in stretches without the feature are missing."""
    missing = row["missing"] + size - row["rows"]
    cells = len(edges) + 1
    counts = np.asarray(row["counts"], dtype=np.int64) if len(row["counts"]) else np.zeros(cells, dtype=np.int64)
    sums = np.asarray(row["sums"], dtype=np.float64) if len(row["sums"]) else np.zeros(cells)
    numbers = (size, missing, row["non_finite"], counts, sums, row["squares"], row["low"], row["high"])
    return NumericSketch(edges, center, *numbers)


def _missing(nothing: NumericSketch, rows: int) -> NumericSketch:
    absent = NumericSketch.of(np.full(1, np.nan), nothing.edges, nothing.center)
    return NumericSketch(
        nothing.edges, nothing.center, rows, rows, 0, absent.counts, absent.sums, 0.0, nothing.low, nothing.high
    )


def _kinds(profile: Profile, name: str) -> Kinds:
    numbers, texts = profile.traffic.numeric.get(name), profile.traffic.categorical.get(name)
    told = 0 if texts is None else int(np.count_nonzero(texts.codes >= 0))
    read = 0 if texts is None else int(np.count_nonzero(~np.isnan(texts.numbers())))
    return Kinds(0 if numbers is None else int(np.count_nonzero(~np.isnan(numbers))), told, read)


def _both(one: CategoryPart, other: CategoryPart) -> CategoryPart:
    return CategoryPart(one.rows + other.rows, _capped(dict(Counter(one.counts) + Counter(other.counts))))


def folded(reference: CategoryPart, current: CategoryPart) -> tuple[CategoryPart, CategoryPart]:
    """Both sides by a few frequent names, all others as one, where either side left names out.

    Which those are is not known: a name that only one side has may be no news, and one that was counted only just was
    chosen by luck. So a name stands for itself if a reference that left names out has five times the rows of it that it
    has of the least one it kept.

    >>> before = CategoryPart(1100, {"a": 600, "b": 20, OTHER: 480})
    >>> [each.counts for each in folded(before, CategoryPart(100, {"a": 55, "b": 1, "c": 44}))]
    [{'a': 600, '(other)': 500}, {'a': 55, '(other)': 45}]
    """
    if OTHER not in reference.counts and OTHER not in current.counts:
        return reference, current
    known = {name: count for name, count in reference.counts.items() if name != OTHER}
    least = min(known.values(), default=0) if OTHER in reference.counts else 0
    sure = {name: count for name, count in known.items() if count >= SURELY * least}
    own = CategoryBins.fit(sure, MOST_CATEGORIES - 1).names
    return _kept(reference, own), _kept(current, own)


def together(reference: CategoryPart, current: CategoryPart) -> Cells:
    """The cells that both sides choose together, of the names that both are sure to have counted.

    A name is, if it has five times the rows of the least ones that the two sides kept; all others are one.

    >>> before, now = CategoryPart(1100, {"a": 600, "b": 20, OTHER: 480}), CategoryPart(100, {"a": 55, "b": 1, "c": 44})
    >>> [each.tolist() for each in together(before, now)]
    [[600, 500], [55, 45]]
    """
    sides = reference.counts, current.counts
    least = sum(
        min((rows for name, rows in each.items() if name != OTHER), default=0) for each in sides if OTHER in each
    )
    both = Counter(reference.counts) + Counter(current.counts)
    own = [name for name, rows in both.items() if name != OTHER and rows >= SURELY * least]
    return shared_cells(_kept(reference, own).counts, _kept(current, own).counts)


def uncounted(reference: CategoryPart, current: CategoryPart) -> Uncounted:
    """The rows of names that were left out on both sides."""
    return Uncounted(reference.counts.get(OTHER, 0), current.counts.get(OTHER, 0), HIDDEN)


def named(part: CategoryPart) -> dict[str, int]:
    """The rows of the names that were kept."""
    return {name: rows for name, rows in part.counts.items() if name != OTHER}


def less(whole: CategoryPart, part: CategoryPart) -> CategoryPart:
    """The rows of ``whole`` that are not in ``part``, a stretch of it.

    >>> less(CategoryPart(100, {"a": 60, OTHER: 40}), CategoryPart(30, {"a": 10, "b": 15, OTHER: 5})).counts
    {'a': 50, '(other)': 20}
    """
    left = {name: rows - part.counts.get(name, 0) for name, rows in named(whole).items()}
    known = {name: rows for name, rows in left.items() if rows > 0}
    rest = sum(whole.counts.values()) - sum(part.counts.values()) - sum(known.values())
    return CategoryPart(whole.rows - part.rows, known | ({OTHER: rest} if rest > 0 else {}))


def _kept(part: CategoryPart, names: Sequence[str]) -> CategoryPart:
    found = {name: part.counts[name] for name in names if name in part.counts}
    rest = sum(part.counts.values()) - sum(found.values())
    return CategoryPart(part.rows, found | ({OTHER: rest} if rest else {}))


def _capped(counts: dict[str, int]) -> dict[str, int]:
    """The thousand most frequent names; the rest under one name."""
    if len(counts) <= MOST_NAMES:
        return counts
    ranked = sorted(counts, key=lambda name: (name == OTHER, -counts[name], name))
    kept = {name: counts[name] for name in ranked[: MOST_NAMES - 1] if name != OTHER}
    return kept | {OTHER: sum(counts.values()) - sum(kept.values())}
