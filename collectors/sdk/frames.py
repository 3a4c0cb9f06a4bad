"""Frames of predictions and labels as OTLP requests, a chunk of rows at a time."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs

from tidegauge import __version__
from tidegauge.collectors.sdk import records, wire
from tidegauge.errors import InvalidRecord

CHUNK = 2_000
SCOPE = ScopeLogs(scope=InstrumentationScope(name="tidegauge", version=__version__))

Frame = pl.DataFrame | pd.DataFrame | Sequence[Mapping[str, Any]]
Column = list[bytes]


def frame(data: Frame) -> pl.DataFrame:
    """Any accepted frame as polars."""
    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, pd.DataFrame):
        return pl.from_pandas(data.rename(columns=str))
    return pl.DataFrame(list(data), infer_schema_length=None)


def require(data: pl.DataFrame, columns: Sequence[str]) -> None:
    """Raise InvalidRecord naming every column that ``data`` lacks."""
    missing = [name for name in columns if name not in data.columns]
    if missing:
        raise InvalidRecord(
            f"the frame has no column {', '.join(map(repr, missing))}; it has {', '.join(data.columns)}"
        )


def identifiers(data: pl.DataFrame, column: str | None) -> list[str]:
    """The prediction ids of ``column``, or new random ones."""
    if column is None:
        return [uuid.uuid4().hex for _ in range(data.height)]
    if data[column].null_count():
        raise InvalidRecord(f"column {column!r} has {data[column].null_count()} row(s) without a prediction id")
    return _text(data[column])


def times(data: pl.DataFrame, column: str | None, now_ns: int) -> list[int]:
    """Event times in nanoseconds; ``now_ns`` for every row without a column."""
    return [now_ns] * data.height if column is None else epoch_ns(data[column])


def epoch_ns(moments: pl.Series) -> list[int]:
    """A column of datetimes as nanoseconds; naive ones are refused, because a guess would shift every window."""
    if not isinstance(moments.dtype, pl.Datetime) or moments.dtype.time_zone is None:
        raise InvalidRecord(f"column {moments.name!r} must hold datetimes with a time zone, found {moments.dtype}")
    if moments.null_count():
        raise InvalidRecord(f"column {moments.name!r} has {moments.null_count()} row(s) without a time")
    return list(moments.dt.epoch("ns").to_list())


def feature_columns(data: pl.DataFrame, features: Sequence[str]) -> list[Column]:
    """Each feature as an encoded column; nulls become NaN or empty text, which are stored as missing."""
    return [_feature(data[name]) for name in features]


def score_column(values: pl.Series) -> Column:
    """The scores; a row without one has no attribute."""
    numbers = values.cast(pl.Float64).fill_null(np.nan).to_numpy()
    encoded = wire.double_column("tidegauge.prediction.score", numbers)
    return [b"" if nan else each for each, nan in zip(encoded, np.isnan(numbers), strict=True)]


def text_columns(data: pl.DataFrame, named: Mapping[str, str]) -> list[Column]:
    """``{attribute: column}`` as encoded text columns."""
    return [wire.text_column(key, _text(data[column])) for key, column in named.items()]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns of a frame of predictions mean what."""

    features: Sequence[str]
    prediction: str
    score: str | None
    prediction_id: str | None
    timestamp: str | None
    slices: Sequence[str]

    def require(self, data: pl.DataFrame) -> None:
        """Raise InvalidRecord naming every column that ``data`` lacks."""
        optional = [name for name in (self.score, self.prediction_id, self.timestamp) if name]
        require(data, [*self.features, self.prediction, *optional, *self.slices])

    def columns(self, data: pl.DataFrame, ids: Sequence[str], same: records.Attributes, now_ns: int) -> list[Column]:
        """The encoded columns of ``data``; ``same`` are the attributes that all rows share."""
        named = {"tidegauge.prediction.value": self.prediction} | {
            f"tidegauge.slice.{name}": name for name in self.slices
        }
        return [
            wire.time_column(times(data, self.timestamp, now_ns)),
            [wire.constant(same, records.PREDICTION)] * data.height,
            wire.text_column("tidegauge.prediction.id", ids),
            *text_columns(data, named),
            *feature_columns(data, self.features),
            *([score_column(data[self.score])] if self.score else []),
        ]


def label_columns(
    model: str,
    prediction_ids: Sequence[str],
    labels: Sequence[Any],
    timestamps: Sequence[datetime] | None,
    now_ns: int,
) -> list[Column]:
    """The encoded columns of labels. Raises InvalidRecord when the sequences differ in length."""
    if not len(prediction_ids) == len(labels) == len(labels if timestamps is None else timestamps):
        raise InvalidRecord("log_labels: prediction_ids, labels and timestamps must be of equal length")
    moments = [now_ns] * len(labels) if timestamps is None else epoch_ns(pl.Series("timestamps", timestamps))
    return [
        wire.time_column(moments),
        [wire.constant(records.model(model), records.LABEL)] * len(labels),
        wire.text_column("tidegauge.prediction.id", [records.text(each) for each in prediction_ids]),
        wire.text_column("tidegauge.label.value", [records.text(each) for each in labels]),
    ]


def requests(resource: bytes, columns: Sequence[Column]) -> Iterator[tuple[bytes, int]]:
    """Serialized ExportLogsServiceRequests of at most CHUNK rows, with the number of rows in each."""
    height = len(columns[0]) if columns else 0
    for start in range(0, height, CHUNK):
        rows = list(zip(*(column[start : start + CHUNK] for column in columns), strict=True))
        yield wire.logs_request(resource, wire.scope_logs(rows, SCOPE)), len(rows)


def _feature(values: pl.Series) -> Column:
    if values.dtype.is_numeric():
        return wire.double_column(records.FEATURE + values.name, values.cast(pl.Float64).fill_null(np.nan).to_numpy())
    if values.dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null):
        return wire.text_column(records.CATEGORY + values.name, _text(values))
    raise InvalidRecord(f"feature column {values.name!r} is {values.dtype}; send numbers, text or bools")


def _text(values: pl.Series) -> list[str]:
    if values.dtype.is_float():
        return [records.text(each) for each in values.to_list()]
    return list(values.cast(pl.String).fill_null("").to_list())
