"""What the arguments and results of a model's function look like, told without importing numpy, pandas or polars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from tidegauge.errors import InvalidRecord

PLAIN = (str, int, float, bool, type(None))


def scalar(value: Any) -> bool:
    """Whether it can be one feature or one prediction: a number, text, a bool, None, or numpy's of these."""
    return (
        type(value) in PLAIN
        or isinstance(value, PLAIN)
        or (getattr(value, "shape", None) == () and hasattr(value, "item"))
    )


def number(value: Any) -> bool:
    """Whether it is a number, and no bool."""
    plain = value.item() if scalar(value) and hasattr(value, "item") else value
    return isinstance(plain, int | float) and not isinstance(plain, bool)


def record(value: Any) -> Mapping[str, Any] | None:
    """A mapping, dataclass, named tuple or pydantic model as a mapping; None where it is none of them."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    for method in ("model_dump", "_asdict"):
        if callable(made := getattr(value, method, None)):
            found = made()
            return found if isinstance(found, Mapping) else None
    return None


def is_frame(value: Any) -> bool:
    """Whether it is a DataFrame of pandas or polars."""
    return hasattr(value, "columns") and (hasattr(value, "to_dicts") or hasattr(value, "iloc"))


def dimensions(value: Any) -> int:
    """Of an array, a Series or a list; 0 for anything else."""
    if isinstance(value, list):
        return 1
    if is_frame(value) or not hasattr(value, "__len__"):
        return 0
    if hasattr(value, "ndim"):
        return int(value.ndim)
    return 1 if hasattr(value, "to_list") else 0


def listed(value: Any) -> list[Any]:
    """A list, Series or array as a list."""
    if isinstance(value, list | tuple):
        return list(value)
    found: list[Any] = value.tolist() if hasattr(value, "tolist") else value.to_list()
    return found


@dataclass(frozen=True, slots=True)
class Batch:
    """Several records: a DataFrame, a matrix whose columns ``names`` name, or a list of mappings."""

    data: Any
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.data)

    def rows(self) -> list[Mapping[str, Any]]:
        """The records, one by one."""
        if is_frame(self.data):
            found = self.data.to_dicts() if hasattr(self.data, "to_dicts") else self.data.to_dict("records")
            return [{str(key): value for key, value in row.items()} for row in found]
        if isinstance(self.data, list):
            return [record(each) or {} for each in self.data]
        return [dict(zip(self._names(), row, strict=True)) for row in self.data.tolist()]

    def first(self) -> Mapping[str, Any]:
        """The first record; empty where there is none."""
        rows = Batch(self.data[:1], self.names).rows()
        return rows[0] if rows else {}

    def beside(self, columns: Mapping[str, Sequence[Any]]) -> Any:
        """A frame of the records with further columns."""
        import polars as pl

        if hasattr(self.data, "iloc"):
            return self.data.rename(columns=str).assign(**{key: list(values) for key, values in columns.items()})
        if is_frame(self.data):
            whole = self.data
        elif isinstance(self.data, list):
            whole = pl.DataFrame(self.rows(), infer_schema_length=None)
        else:
            whole = pl.DataFrame({name: self.data[:, at] for at, name in enumerate(self._names())})
        return whole.with_columns([pl.Series(key, values, strict=False) for key, values in columns.items()])

    def _names(self) -> list[str]:
        width = self.data.shape[1]
        if self.names and len(self.names) != width:
            raise InvalidRecord(f"features= names {len(self.names)} columns, and the array has {width}")
        return list(self.names) or [f"x{at}" for at in range(width)]


def batch(value: Any, names: Sequence[str] = ()) -> Batch | None:
    """Several records; None where it is nothing like that."""
    if is_frame(value):
        return Batch(value)
    if dimensions(value) == 2 and hasattr(value, "tolist"):
        return Batch(value, names)
    if isinstance(value, list) and value and all(record(each) is not None for each in value):
        return Batch(value)
    return None
