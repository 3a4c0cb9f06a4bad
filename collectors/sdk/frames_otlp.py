"""Frames as OTLP log requests: small ones, and all of them where the receiver knows no frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tidegauge import __version__
from tidegauge.collectors.frames import Frame, Kind, columns, rows
from tidegauge.collectors.frames.layout import MODEL, SLICE
from tidegauge.collectors.sdk import records, wire

CHUNK = 2_000  # rows of a request, which an official Collector takes over gRPC up to 4 MiB
SCOPE = ScopeLogs(scope=InstrumentationScope(name="tidegauge", version=__version__))
OF_RECORDS = {"tidegauge.role", *rows.SHARED.values()}

Parts = list[bytes]


def otlp_requests(frame: Frame) -> Iterator[tuple[bytes, int]]:
    """Serialized ExportLogsServiceRequests, with the number of rows in each."""
    attributes = dict(frame.layout.attributes)
    own = {key: attributes.pop(key) for key in sorted(OF_RECORDS & attributes.keys())} | {MODEL: frame.layout.model}
    own = {key: value for key, value in own.items() if not _by_row(frame).get(key)}
    attributes = {key: value for key, value in attributes.items() if key not in _sliced(frame)}
    resource = Resource(attributes=wire.key_values(attributes)).SerializeToString()
    encoded = [_constant(frame, own), *_columns(frame)]
    for start in range(0, frame.table.num_rows, CHUNK):
        part = list(zip(*(column[start : start + CHUNK] for column in encoded), strict=True))
        yield wire.logs_request(resource, wire.scope_logs(part, SCOPE)), len(part)


def _by_row(frame: Frame) -> dict[str, str]:
    """Attributes that a column may give each row a value of its own for, and that column."""
    return {attribute: getattr(frame.roles, role) for role, attribute in rows.SHARED.items()}


def _sliced(frame: Frame) -> dict[str, str]:
    return {f"{SLICE}{name}": name for name in frame.roles.slices}


def _constant(frame: Frame, own: records.Attributes) -> Parts:
    return [wire.constant(own, rows.EVENTS[frame.layout.kind])] * frame.table.num_rows


def _columns(frame: Frame) -> Iterator[Parts]:
    roles = frame.roles
    yield wire.time_column(rows.times(frame).tolist())
    yield wire.text_column("tidegauge.prediction.id", rows.identifiers(frame).to_pylist())
    value = roles.label if frame.layout.kind is Kind.LABELS else roles.prediction
    attribute = "tidegauge.label.value" if frame.layout.kind is Kind.LABELS else "tidegauge.prediction.value"
    for key, name in ({attribute: value} | _sliced(frame) | _by_row(frame)).items():
        if name:
            yield wire.text_column(key, rows.text(frame, name, key).to_pylist())
    for name in roles.features or ():
        yield _feature(frame, name)
    if roles.score:
        yield _scores(frame)
    yield from _traced(frame)


def _feature(frame: Frame, name: str) -> Parts:
    column = frame.table.column(name)
    if columns.is_number(column.type):
        return wire.double_column(records.FEATURE + name, columns.numbers(column))
    return wire.text_column(records.CATEGORY + name, columns.text(column).to_pylist())


def _scores(frame: Frame) -> Parts:
    """A row without a score has no attribute."""
    numbers = rows.scores(frame).fill_null(np.nan).to_numpy(zero_copy_only=False)
    encoded = wire.double_column("tidegauge.prediction.score", numbers)
    return [b"" if nan else each for each, nan in zip(encoded, np.isnan(numbers), strict=True)]


def _traced(frame: Frame) -> Iterator[Parts]:
    """Trace and span ids, hexadecimal in the frame, are bytes in a record; what is no such id is left out."""
    for name, size, tag in ((frame.roles.trace_id, 16, b"\x4a\x10"), (frame.roles.span_id, 8, b"\x52\x08")):
        if name:
            found = (_identifier(each, size) for each in columns.text(frame.table.column(name)).to_pylist())
            yield [tag + each if each else b"" for each in found]


def _identifier(text: str, size: int) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return b""
    return found if len(found) == size else b""
