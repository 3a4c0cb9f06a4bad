"""Frames of predictions and labels as requests: Arrow where there are many rows, else OTLP beside single records."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa

from tidegauge.collectors.frames import Frame, Kind, Layout, Roles, check, encode, parts
from tidegauge.collectors.frames.rows import identifiers
from tidegauge.collectors.sdk import records
from tidegauge.collectors.sdk.frames_otlp import otlp_requests
from tidegauge.collectors.sdk.post import Lane
from tidegauge.errors import InvalidPayload, InvalidRecord

COLUMNAR_ROWS = 100  # below it a frame shares a request with others, and costs no more as OTLP

Source: TypeAlias = pl.DataFrame | pd.DataFrame | pa.Table | npt.NDArray[Any] | Sequence[Mapping[str, Any]]
Column: TypeAlias = Sequence[Any] | npt.NDArray[Any] | pl.Series | pd.Series


def table(data: Source, columns: Sequence[str] | None = None) -> pa.Table:
    """Any accepted frame as Arrow; ``columns`` name those of a two-dimensional numpy array."""
    if isinstance(data, np.ndarray):
        return _matrix(data, columns)
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pd.DataFrame):
        return pa.Table.from_pandas(data.rename(columns=str), preserve_index=False)
    whole = data if isinstance(data, pl.DataFrame) else pl.DataFrame(list(data), infer_schema_length=None)
    return whole.to_arrow(compat_level=pl.CompatLevel.oldest())


def predictions(data: pa.Table, model: str, roles: Roles, shared: records.Attributes, now_ns: int) -> Frame:
    """A frame of predictions as it will be stored; ``shared`` are the attributes of all rows.

    Raises:
        InvalidRecord: names the column that is missing or of the wrong kind.
    """
    layout = Layout(Kind.PREDICTIONS, _named(model), roles, shared, now_ns, secrets.token_hex(8))
    return _checked(data, layout)


def labels(
    model: str,
    prediction_ids: Column,
    values: Column,
    timestamps: Column | None,
    shared: records.Attributes,
    now_ns: int,
) -> Frame:
    """A frame of labels. Raises InvalidRecord when the sequences differ in length."""
    if not len(prediction_ids) == len(values) == len(values if timestamps is None else timestamps):
        raise InvalidRecord("log_labels: prediction_ids, labels and timestamps must be of equal length")
    named = {"prediction_ids": _column(prediction_ids), "labels": _column(values)}
    if timestamps is not None and len(values):
        named["timestamps"] = _moments(timestamps)
    roles = Roles(id="prediction_ids", label="labels", timestamp="timestamps" if "timestamps" in named else "")
    return _checked(pa.table(named), Layout(Kind.LABELS, _named(model), roles, shared, now_ns))


def ids(frame: Frame) -> list[str]:
    """The prediction ids of a frame's rows."""
    found: list[str] = identifiers(frame).to_pylist()
    return found


def requests(frame: Frame) -> Iterator[tuple[Lane, bytes, int]]:
    """What to send, and the number of rows in each; a large frame in parts whose ids go on."""
    if frame.table.num_rows < COLUMNAR_ROWS:
        yield from ((Lane.LOGS, payload, count) for payload, count in otlp_requests(frame))
        return
    for part in parts(frame):
        yield Lane.FRAMES, encode(part), part.table.num_rows


def _checked(data: pa.Table, layout: Layout) -> Frame:
    try:
        return check(data, layout)
    except InvalidPayload as error:
        raise InvalidRecord(str(error)) from error


def _named(model: str) -> str:
    return str(records.model(model)["tidegauge.model.name"])


def _matrix(data: npt.NDArray[Any], columns: Sequence[str] | None) -> pa.Table:
    if data.ndim != 2 or columns is None or len(columns) != data.shape[1]:
        raise InvalidRecord(
            f"a numpy array must have two dimensions and a name for each column, found shape {data.shape} and "
            f"{'no' if columns is None else len(columns)} names; give columns=[...]"
        )
    return pa.Table.from_arrays([pa.array(each) for each in np.ascontiguousarray(data.T)], names=list(columns))


def _column(values: Column) -> pa.Array | pa.ChunkedArray:
    """A whole column as it is; a sequence of anything as text."""
    if isinstance(values, pl.Series):
        return values.to_arrow(compat_level=pl.CompatLevel.oldest())
    if isinstance(values, np.ndarray | pd.Series):
        return pa.array(values, from_pandas=True)
    return pa.array([records.text(each) for each in values], pa.string())


def _moments(values: Column) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pl.Series | np.ndarray | pd.Series):
        return _column(values)
    return pa.array(list(values))
