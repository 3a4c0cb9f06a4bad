"""One column of any accepted kind as numbers, as text codes, or as both where it mixes them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.detectors.traffic import Category, encoded

MOST_TEXTS = 100_000


class NotComparable(Exception):
    """A column that nothing can be asked about; says why. It never leaves this package."""


class Column(NamedTuple):
    """The values that are numbers, NaN where one is not, and those that are text; None where there are none."""

    numbers: FloatArray | None
    text: Category | None = None


def column_of(values: Any, *, as_text: bool = False) -> Column:
    """A polars or pandas series, an Arrow array, a numpy array or a sequence as a column.

    Numbers keep their memory where they are float64 without nulls. Bools are text, as everywhere in Tidegauge; null,
    NaN and empty text are missing. ``as_text`` takes numbers for names.

    Raises:
        NotComparable: times, lists, bytes and the like; more than 100,000 different texts.
    """
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise NotComparable(f"an array of {values.ndim} dimensions is not compared")
    if isinstance(values, pd.Series) and isinstance(values.dtype, pd.CategoricalDtype):
        return _categorical(values)
    found = _numbers(values)
    if found is not None:
        return Column(None, _names(pa.array(found, from_pandas=True))) if as_text else Column(found)
    arrow = _arrow(values)
    return _mixed(values) if arrow is None else _of_arrow(arrow, as_text)


def _categorical(values: pd.Series) -> Column:
    """Codes as they are, where no two categories have one name."""
    names = tuple(_name(each) or "" for each in values.cat.categories)
    _refuse_many(len(names))
    codes = np.asarray(values.cat.codes, dtype=np.int32)
    if len(set(names)) == len(names) and "" not in names:
        return Column(None, Category(codes, names))
    coded = pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(names, pa.string()))
    return Column(None, _category(pa.chunked_array([coded])))


def _numbers(values: Any) -> FloatArray | None:
    """The values of a numeric column without a detour, or None."""
    if isinstance(values, pl.Series):
        return values.cast(pl.Float64).to_numpy() if values.dtype.is_numeric() else None
    if isinstance(values, pd.Series):
        if not pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
            return None
        values = values.to_numpy(dtype=np.float64, na_value=np.nan) if not _is_plain(values) else values.to_numpy()
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return np.asarray(values, dtype=np.float64)
    return None


def _is_plain(values: pd.Series) -> bool:
    return isinstance(values.dtype, np.dtype)


def _arrow(values: Any) -> pa.ChunkedArray | None:
    """As Arrow, or None where the values have no type in common."""
    if isinstance(values, pa.ChunkedArray | pa.Array):
        return pa.chunked_array(values) if isinstance(values, pa.Array) else values
    if isinstance(values, pl.Series):
        return pa.chunked_array([_polars(values)])
    if isinstance(values, np.ndarray) and values.dtype.kind == "c":
        raise NotComparable(f"values of type {values.dtype} are not compared")
    try:
        found = pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return None
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])


def _polars(values: pl.Series) -> pa.Array:
    if values.dtype in (pl.Object, pl.Struct, pl.List, pl.Array, pl.Binary):
        raise NotComparable(f"values of type {values.dtype} are not compared")
    return values.to_arrow(compat_level=pl.CompatLevel.oldest())


def _of_arrow(column: pa.ChunkedArray, as_text: bool) -> Column:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_null(kind):
        return Column(np.full(len(column), np.nan))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        plain = pc.cast(column, kind) if pa.types.is_dictionary(column.type) else column
        if as_text:
            return Column(None, _names(plain.combine_chunks()))
        values = pc.fill_null(pc.cast(plain, pa.float64(), safe=False), np.nan)
        return Column(np.asarray(values.to_numpy(), dtype=np.float64))
    if pa.types.is_boolean(kind):
        return Column(None, _names(column.combine_chunks()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return Column(None, _category(column))
    raise NotComparable(f"a column of type {kind} is not compared; make it a number or a text first")


def _names(values: pa.Array) -> Category:
    """Numbers or bools as names: written once for each different one."""
    found = values.dictionary_encode()
    _refuse_many(len(found.dictionary))
    names = [_name(each) for each in found.dictionary.to_pylist()]
    return _category(pa.chunked_array([pa.DictionaryArray.from_arrays(found.indices, pa.array(names, pa.string()))]))


def _name(value: object) -> str | None:
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _category(column: pa.ChunkedArray) -> Category:
    """Text as codes, equal names once."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    one = column if isinstance(column, pa.Array) else column.chunk(0)
    _refuse_many(len(one.dictionary))
    if len(pc.unique(one.dictionary)) < len(one.dictionary) or one.dictionary.null_count:
        one = pc.cast(one, one.type.value_type).dictionary_encode()
    return encoded(pa.chunked_array([one]))


def _refuse_many(names: int) -> None:
    if names > MOST_TEXTS:
        raise NotComparable(f"{names:,} different values are names of rows, not categories: at most {MOST_TEXTS:,}")


def _mixed(values: Iterable[Any]) -> Column:
    """Python objects of several types: numbers among text, or text among numbers."""
    numbers: list[float] = []
    texts: list[str | None] = []
    for value in values:
        number = isinstance(value, Real | Decimal) and not isinstance(value, bool | np.bool_)
        numbers.append(_float(value) if number else np.nan)
        missing = value is None or value is pd.NaT or value is pd.NA
        texts.append(None if number or missing else _name(value))
    told = any(each is not None for each in texts)
    found: NDArray[np.float64] = np.array(numbers, dtype=np.float64)
    return Column(found, _category(pa.chunked_array([pa.array(texts, pa.large_string())])) if told else None)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
