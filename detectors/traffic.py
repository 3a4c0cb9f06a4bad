"""The rows of one window or reference, as plain arrays: a column for each feature, a code for each slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.model import ALL, Slice, Window, both

Codes: TypeAlias = NDArray[np.int32]
Index: TypeAlias = NDArray[np.int64]
OUTPUTS = ("score", "prediction", "label", "error", "volume", "input", "*")
MOST_CLASSES, FEW, BLOCK = 20, 20, 131_072


@dataclass(frozen=True)
class Category:
    """Text values as codes into ``names``; -1 is missing."""

    codes: Codes
    names: tuple[str, ...]

    def counts(self, rows: Index | None = None) -> dict[str, int]:
        """Rows by value, missing ones left out.

        Few values are compared with, one after the other, as bytes: half of what it costs to add each row up.

        >>> Category(np.array([0, 1, -1, 0], dtype=np.int32), ("a", "b")).counts()
        {'a': 2, 'b': 1}
        """
        codes = self.codes if rows is None else self.codes[rows]
        found = np.zeros(len(self.names), dtype=np.int64)
        step = max(BLOCK, len(found))
        for at in range(0, len(codes), step):
            block = codes[at : at + step]
            if len(found) <= FEW:
                small = block.astype(np.int8)
                for code in range(len(found)):
                    found[code] += np.count_nonzero(small == code)
            else:
                found += np.bincount(block + 1, minlength=len(found) + 1)[1:]
        return {self.names[at]: int(found[at]) for at in np.flatnonzero(found)}

    @cached_property
    def rows_by_name(self) -> dict[str, Index]:
        """The rows of every value, the most frequent value first."""
        order = np.argsort(self.codes, kind="stable")
        ends = np.searchsorted(self.codes[order], np.arange(-1, len(self.names)), side="right")
        parts = {name: order[ends[at] : ends[at + 1]] for at, name in enumerate(self.names)}
        ranked = sorted(parts, key=lambda name: (-len(parts[name]), name))
        return {name: parts[name] for name in ranked if len(parts[name])}

    def numbers(self) -> FloatArray:
        """The values read as numbers, NaN where one is missing or is none."""
        table = np.array([*map(_number, self.names), np.nan], dtype=np.float64)
        return table[self.codes]

    @property
    def numeric(self) -> bool:
        """Whether these are measurements, not classes: numbers all, and more than 20 different ones."""
        return len(self.names) > MOST_CLASSES and self.all_numbers

    @property
    def all_numbers(self) -> bool:
        """Whether every value reads as a number."""
        return all(not np.isnan(_number(name)) for name in self.names)


@dataclass(frozen=True)
class Traffic:
    """Rows as columns. ``every`` is k where only one row in k was read; ``seconds`` since 1970 say when each was.

    ``spans`` are the stretches of time that the rows are all there is of, where there are gaps between them.
    """

    rows: int
    numeric: Mapping[str, FloatArray] = field(default_factory=dict)
    categorical: Mapping[str, Category] = field(default_factory=dict)
    dimensions: Mapping[str, Category] = field(default_factory=dict)
    every: int = 1
    seconds: Index | None = None
    spans: tuple[Window, ...] = ()

    def index(self, part: Slice) -> Index | None:
        """Where the rows of ``part`` are; None is everywhere."""
        if part == ALL:
            return None
        return self.dimensions[part.dimension].rows_by_name.get(part.value, np.empty(0, dtype=np.int64))

    def size(self, part: Slice) -> int:
        """How many rows ``part`` has."""
        found = self.index(part)
        return self.rows if found is None else len(found)

    def with_pairs(self, pairs: Sequence[tuple[str, str]]) -> Traffic:
        """The same rows with dimensions that are pairs of those that they have."""
        made = {both(*names): paired(*(self.dimensions[each] for each in names)) for names in pairs}
        return replace(self, dimensions={**self.dimensions, **made}) if made else self

    def with_columns(self, numeric: Mapping[str, FloatArray], categorical: Mapping[str, Category]) -> Traffic:
        """The same rows with other columns."""
        return replace(self, numeric=numeric, categorical=categorical)

    @property
    def note(self) -> str:
        """How the rows were sampled, if they were."""
        return f"a sample of one row in {self.every}" if self.every > 1 else ""


def from_arrow(table: pa.Table, dimensions: Sequence[str], every: int) -> Traffic:
    """Read the columns nk, nv, ck, cv (keys and values of the two feature maps), v, s, at, and d0, d1 ..."""
    rows = len(table)
    numeric: dict[str, FloatArray] = _numeric(table, rows)
    categorical: dict[str, Category] = _categorical(table, rows)
    score = table["s"].to_numpy()
    if not np.isnan(score).all():
        numeric["score"] = score
    prediction = encoded(table["v"])
    if (prediction.codes >= 0).any():
        categorical["prediction"] = prediction
    return Traffic(rows, numeric, categorical, slices_of(table, dimensions), every, seconds_of(table))


def slices_of(table: pa.Table, dimensions: Sequence[str]) -> dict[str, Category]:
    """The columns d0, d1 ... as dimensions."""
    return {name: encoded(table[f"d{at}"]) for at, name in enumerate(dimensions)}


def rows_at(traffic: Traffic, rows: Index) -> Traffic:
    """Some rows of ``traffic``."""
    return replace(
        traffic,
        rows=len(rows),
        numeric={name: values[rows] for name, values in traffic.numeric.items()},
        categorical=_taken(traffic.categorical, rows),
        dimensions=_taken(traffic.dimensions, rows),
        seconds=None if traffic.seconds is None else traffic.seconds[rows],
    )


def _taken(columns: Mapping[str, Category], rows: Index) -> dict[str, Category]:
    return {name: Category(column.codes[rows], column.names) for name, column in columns.items()}


def paired(one: Category, other: Category) -> Category:
    """Both values of a row as one; a row that lacks either lacks both.

    >>> two = Category(np.array([0, 1, -1], dtype=np.int32), ("a", "b"))
    >>> paired(two, Category(np.array([0, 0, 0], dtype=np.int32), ("x",))).counts()
    {'a & x': 1, 'b & x': 1}
    """
    width = len(other.names)
    known = (one.codes >= 0) & (other.codes >= 0)
    codes = np.where(known, one.codes.astype(np.int64) * width + other.codes, -1)
    used, inverse = np.unique(codes, return_inverse=True)
    first = int(np.count_nonzero(used == -1))
    names = (both(one.names[at // width], other.names[at % width]) for at in used[first:].tolist())
    return Category((inverse.reshape(-1) - first).astype(np.int32), tuple(names))


def seconds_of(table: pa.Table) -> Index:
    """The column ``at``, in seconds since 1970."""
    return np.asarray(table["at"].to_numpy(), dtype=np.int64)


def encoded(column: pa.ChunkedArray) -> Category:
    """A column of text as codes; empty text and null are missing."""
    dictionary = _flat(column).dictionary_encode()
    names = tuple(dictionary.dictionary.to_pylist())
    indices = dictionary.indices
    if indices.null_count:
        indices = pc.fill_null(pc.cast(indices, pa.int32()), -1)
    codes = np.asarray(indices.to_numpy(zero_copy_only=False), dtype=np.int32)
    if "" not in names:
        return Category(codes, names)
    empty = names.index("")
    moved = np.where(codes == empty, -1, codes - (codes > empty)).astype(np.int32)
    return Category(moved, names[:empty] + names[empty + 1 :])


def _numeric(table: pa.Table, rows: int) -> dict[str, FloatArray]:
    names, matrix = _scattered(table["nk"], table["nv"], rows, np.nan, np.float64, lambda flat: flat.to_numpy(False))
    return {_feature(name): matrix[at] for at, name in enumerate(names)}


def _categorical(table: pa.Table, rows: int) -> dict[str, Category]:
    values = encoded(pa.chunked_array([_flat(table["cv"]).flatten()]))
    names, matrix = _scattered(table["ck"], table["cv"], rows, -1, np.int32, lambda _: values.codes)
    return {_feature(name): _compact(matrix[at], values.names) for at, name in enumerate(names)}


def _scattered(
    keys: pa.ChunkedArray, values: pa.ChunkedArray, rows: int, missing: float, kind: Any, read: Callable[[Any], Any]
) -> tuple[list[str], NDArray[Any]]:
    """One row a key, one column a row of traffic; ``missing`` where a row does not have the key."""
    lists = _flat(keys)
    found = lists.flatten().dictionary_encode()
    at = np.repeat(np.arange(rows), np.diff(lists.offsets.to_numpy()))
    matrix = np.full((len(found.dictionary), rows), missing, dtype=kind)
    matrix[found.indices.to_numpy(zero_copy_only=False), at] = read(_flat(values).flatten())
    return found.dictionary.to_pylist(), matrix


def _compact(codes: Codes, names: tuple[str, ...]) -> Category:
    """Only the names that this feature uses; codes are shared by all features before."""
    used, inverse = np.unique(codes, return_inverse=True)
    first = int(used[0] == -1) if len(used) else 0
    return Category((inverse - first).astype(np.int32), tuple(names[at] for at in used[first:]))


def _flat(column: pa.ChunkedArray) -> Any:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) and combined.num_chunks else combined


def _feature(name: str) -> str:
    """The name of a feature in findings; those of the model's outputs are taken."""
    return f"feature:{name}" if name in OUTPUTS else name


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
