"""Frames of several libraries, and Parquet files, behind one face: a column is read when it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import polars as pl
import pyarrow as pa

from tidegauge.detectors.compare.columns import Column, NotComparable, column_of
from tidegauge.detectors.traffic import Category
from tidegauge.errors import InvalidRecord

Source: TypeAlias = pl.DataFrame | pl.LazyFrame | pd.DataFrame | pa.Table | Mapping[str, Any] | str | PathLike[str]


@dataclass(frozen=True)
class Frame:
    """Named columns of equal length."""

    names: tuple[str, ...]
    rows: int
    read: Callable[[str], Any]

    def column(self, name: str, categorical: Collection[str] = ()) -> Column:
        """Raises NotComparable where nothing can be asked about it."""
        found = column_of(self.read(name), as_text=name in categorical)
        for part in (found.numbers, found.text.codes if found.text else None):
            if part is not None and len(part) != self.rows:
                raise InvalidRecord(f"column {name!r} has {len(part):,} rows, the first one {self.rows:,}")
        return found

    def slices(self, name: str) -> Category:
        """A column whose values the rows are looked at apart by. Raises InvalidRecord where it cannot be one."""
        if name not in self.names:
            raise InvalidRecord(f"there is no column {name!r} to slice by; there are: {', '.join(self.names)}")
        try:
            found = self.column(name, (name,)).text
        except NotComparable as error:
            raise InvalidRecord(f"cannot slice by {name!r}: {error}") from error
        if found is None:
            raise InvalidRecord(f"cannot slice by {name!r}: no row has a value")
        return found


def frame_of(data: Source, side: str) -> Frame:
    """What ``compare`` was given as ``side``.

    Raises:
        InvalidRecord: it is no frame, a name stands twice, the columns differ in length, or a file cannot be read.
    """
    found = _frame(data, side)
    if twice := [name for name, times in Counter(found.names).items() if times > 1]:
        raise InvalidRecord(f"the {side} has more than one column {', '.join(map(repr, twice))}")
    return found


def _frame(data: Any, side: str) -> Frame:
    if isinstance(data, str | PathLike):
        return _parquet(Path(data), side)
    if isinstance(data, pl.DataFrame):
        return Frame(tuple(data.columns), data.height, data.get_column)
    if isinstance(data, pl.LazyFrame):
        return _lazy(data)
    if isinstance(data, pd.DataFrame):
        labels = {str(name): name for name in data.columns}
        return Frame(tuple(map(str, data.columns)), len(data), lambda name: data[labels[name]])
    if isinstance(data, Mapping):
        return _mapping(data, side)
    if hasattr(data, "__arrow_c_stream__"):
        table = data if isinstance(data, pa.Table) else pa.table(data)
        return Frame(tuple(table.column_names), table.num_rows, table.column)
    kinds = "a polars or pandas frame, an Arrow table, a dictionary of arrays, or the path of a Parquet file"
    raise InvalidRecord(f"the {side} is a {type(data).__name__}: it must be {kinds}")


def _lazy(data: pl.LazyFrame) -> Frame:
    names = tuple(data.collect_schema().names())
    rows = int(data.select(pl.len()).collect().item())
    return Frame(names, rows, lambda name: data.select(name).collect().get_column(name))


def _parquet(path: Path, side: str) -> Frame:
    try:
        return _lazy(pl.scan_parquet(path))
    except (OSError, pl.exceptions.PolarsError) as error:
        told = str(error).partition("\n")[0]
        raise InvalidRecord(f"the {side} {path} cannot be read as Parquet: {told}") from error


def _mapping(data: Mapping[str, Any], side: str) -> Frame:
    try:
        sizes = {str(name): len(values) for name, values in data.items()}
    except TypeError:
        raise InvalidRecord(f"the {side} must map names to arrays, all of one length") from None
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise InvalidRecord(f"the columns of the {side} differ in length: {told}")
    named = {str(name): values for name, values in data.items()}
    return Frame(tuple(sizes), next(iter(sizes.values()), 0), named.__getitem__)
