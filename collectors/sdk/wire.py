"""OTLP log records for whole columns at once.

Building one protobuf object per attribute costs about 30 microseconds a record of 20 attributes; here every column is
encoded as a whole, and a record is the concatenation of its columns' parts. Field numbers: opentelemetry-proto, common
and logs v1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ScopeLogs

from tidegauge.protobuf import varint

Scalar = str | bool | int | float


def any_value(value: Scalar) -> AnyValue:
    """The AnyValue of a scalar."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value)


def key_values(attributes: Mapping[str, Scalar]) -> list[KeyValue]:
    """A mapping as OTLP attributes."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def constant(attributes: Mapping[str, Scalar], event_name: str) -> bytes:
    """The part of a record that is the same in every row."""
    return LogRecord(attributes=key_values(attributes), event_name=event_name).SerializeToString()


def text_column(key: str, values: Sequence[str]) -> list[bytes]:
    """One attribute of text, for every row."""
    cache: dict[str, bytes] = {}
    for value in values:
        if value not in cache:
            cache[value] = LogRecord(attributes=key_values({key: value})).SerializeToString()
    return [cache[value] for value in values]


def double_column(key: str, values: npt.NDArray[np.float64]) -> list[bytes]:
    """One attribute of doubles, for every row; NaN is sent as such."""
    sample = LogRecord(attributes=key_values({key: 1.0})).SerializeToString()
    prefix = sample[:-8]  # a double is the last eight bytes, little-endian
    raw = np.ascontiguousarray(values, dtype="<f8").tobytes()
    return [prefix + raw[at : at + 8] for at in range(0, len(raw), 8)]


def time_column(nanoseconds: Iterable[int]) -> list[bytes]:
    """time_unix_nano, for every row."""
    return [b"\x09" + struct.pack("<Q", each) for each in nanoseconds]


def scope_logs(rows: Iterable[Sequence[bytes]], scope: ScopeLogs) -> bytes:
    """A serialized ScopeLogs of ``scope``'s header and one record per row of parts."""
    out = [scope.SerializeToString()]
    for parts in rows:
        record = b"".join(parts)
        out += (b"\x12", varint(len(record)), record)
    return b"".join(out)


def logs_request(resource: bytes, scope: bytes) -> bytes:
    """A serialized ExportLogsServiceRequest of one serialized Resource and one serialized ScopeLogs."""
    body = b"\x0a" + varint(len(resource)) + resource + b"\x12" + varint(len(scope)) + scope
    return b"\x0a" + varint(len(body)) + body
