"""Hours of features as blocks of streams: means of numbers, shares of frequent texts, shares of missing values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tidegauge.detectors.sequential.feature_hours import Known
from tidegauge.detectors.sequential.rollups import DETECTOR, HOUR_S, LEAST_ROWS, Hours, Measure, Stream, of_mean
from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.model import Slice, Window

MISSING_DETECTOR = f"{DETECTOR}_missing"
MOST_NAMES = 5
"""Texts of a feature whose shares are looked at."""
MISSING, SHARE = "\x1fmissing", "\x1f="
MISSING_FLOOR, SHARE_FLOOR = 0.02, 0.05
Cells = Mapping[tuple[Slice, str, str], "Cell"]
Columns = tuple[FloatArray, FloatArray, FloatArray]


@dataclass
class Cell:
    """One feature (empty: the size) of one part of the traffic, hour by hour."""

    rows: FloatArray
    means: FloatArray
    variances: FloatArray
    named: dict[str, FloatArray] = field(default_factory=dict)


def measures_of(known: Sequence[Known]) -> list[Measure]:
    """What is looked at of the features of a reference, in the order of their names."""
    return [measure for each in known for measure in _measures(each)]


def _measures(known: Known) -> Iterator[Measure]:
    name = known.feature
    if known.kind == "number":
        yield Measure(name, "its unit", of_mean, feature=name)
    for text in known.names[:MOST_NAMES] if known.kind == "text" else ():
        label = f"{name}{SHARE}{text}"
        yield Measure(label, f"share of {text!r:.60}", lambda *_: SHARE_FLOOR, feature=name)
    label, unit = f"{name}{MISSING}", "share of missing values"
    yield Measure(label, unit, lambda *_: MISSING_FLOOR, feature=name, detector=MISSING_DETECTOR)


def hours_of_features(table: pa.Table, span: Window, streams: Sequence[Stream]) -> Hours:
    """The hours of ``span`` in order, from rows of the table ``feature_hours``; NaN where a part has too few rows."""
    start, end = (int(each.timestamp()) // HOUR_S for each in (span.start, span.end))
    cells, hours = _cells(table, start, end - start), np.arange(start, end, dtype=np.int64) * HOUR_S
    columns = np.full((3, end - start, len(streams)), np.nan)
    for at, (name, part) in enumerate(streams):
        columns[:, :, at] = _column(cells, name, part, end - start)
    return Hours(hours, tuple(streams), *columns)


def _column(cells: Cells, name: str, part: Slice, count: int) -> Columns:
    """Means, their variance by chance, and the deviation of rows, of one stream."""
    feature, _, _ = name.partition("\x1f")
    size = _rows(cells, part, "", "", count)
    if name == feature:
        found = cells.get((part, feature, "number"))
        return _of_numbers(found) if found else _nothing(count)
    if name == feature + MISSING:
        there = _rows(cells, part, feature, "number", count) + _rows(cells, part, feature, "text", count)
        return _of_shares(np.maximum(0.0, size - there), size)
    found = cells.get((part, feature, "text"))
    named = found.named.get(name.removeprefix(feature + SHARE)) if found else None
    return _of_shares(np.zeros(count) if named is None else named, size)


def _of_numbers(cell: Cell) -> Columns:
    enough = cell.rows >= LEAST_ROWS
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = cell.means, cell.variances / cell.rows, np.sqrt(np.maximum(0.0, cell.variances))
    means, noise, deviations = (np.where(enough, each, np.nan) for each in columns)
    return means, noise, deviations


def _of_shares(hits: FloatArray, rows: FloatArray) -> Columns:
    """As ``rollups`` takes a rate: half a row of each kind is added for the variance, so that it is never 0."""
    enough = rows >= LEAST_ROWS
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (hits + 0.5) * (rows - hits + 0.5) / (rows + 1) ** 2
        columns = hits / rows, spread / rows, np.sqrt(spread)
    shares, noise, deviations = (np.where(enough, each, np.nan) for each in columns)
    return shares, noise, deviations


def _nothing(count: int) -> Columns:
    empty = np.full(count, np.nan)
    return empty, empty, empty


def _rows(cells: Cells, part: Slice, feature: str, kind: str, count: int) -> FloatArray:
    found = cells.get((part, feature, kind))
    return found.rows if found else np.zeros(count)


def _cells(table: pa.Table, start: int, count: int) -> Cells:
    """Scatter the rows of the table; a row of an hour outside of the span there is none."""
    keys = ("dimension", "slice", "feature", "kind")
    codes, names = zip(*(_coded(table[key]) for key in keys), strict=True)
    shape = tuple(max(1, len(each)) for each in names)
    _, first, group = np.unique(np.ravel_multi_index(codes, shape), return_index=True, return_inverse=True)
    at = table["at"].to_numpy().astype(np.int64) // HOUR_S - start
    columns = [_scattered(table[key].to_numpy(), group, at, len(first), count) for key in ("rows", "mean", "variance")]
    cells: dict[tuple[Slice, str, str], Cell] = {}
    order: list[Cell] = []
    for number, row in enumerate(first.tolist()):
        dimension, part, feature, kind = (each[code[row]] for each, code in zip(names, codes, strict=True))
        rows, means, variances = (column[number] for column in columns)
        order.append(Cell(np.nan_to_num(rows), means, variances))
        cells[Slice(dimension, part), feature, kind] = order[-1]
    _name(table, order, group, at, count)
    return cells


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    found = column.cast(pa.string()).combine_chunks().dictionary_encode()
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    return found.indices.to_numpy(), found.dictionary.to_pylist()


def _scattered(values: np.ndarray, group: np.ndarray, at: np.ndarray, groups: int, count: int) -> FloatArray:
    found = np.full((groups, count), np.nan)
    found[group, at] = values
    return found


def _name(table: pa.Table, cells: Sequence[Cell], group: np.ndarray, at: np.ndarray, count: int) -> None:
    """Put the counts of texts where they belong."""
    texts = np.flatnonzero(np.asarray(table["kind"].cast(pa.string()).to_pylist(), dtype=object) == "text")
    picked = table.take(texts)
    named = zip(picked["names"].to_pylist(), picked["counts"].to_pylist(), strict=True)
    for row, (names, counts) in zip(texts.tolist(), named, strict=True):
        for name, hits in zip(names, counts, strict=True):
            cells[group[row]].named.setdefault(name, np.zeros(count))[at[row]] = hits
