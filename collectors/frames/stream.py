"""Arrow IPC streams of frames: written by the SDK, checked by the receiver, read by whatever inserts them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import xxhash

from tidegauge.collectors.frames import columns
from tidegauge.collectors.frames.header import measure
from tidegauge.collectors.frames.layout import Layout, Roles, describe, parse
from tidegauge.errors import InvalidPayload

CONTENT_TYPE = "application/vnd.apache.arrow.stream"
PART_ROWS, PART_BYTES = 20_000, 8 * 2**20
MAX_COLUMNS = 2_000
MAX_CELLS = 8_000_000  # rows times features
ROLES = {
    "timestamp": (columns.is_moment, "datetimes with a time zone"),
    "score": (columns.is_score, "numbers"),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A checked frame: every column that ``roles`` names is there once and of a type that its role takes."""

    table: pa.Table
    layout: Layout
    roles: Roles
    digest: str  # names the payload

    @property
    def name(self) -> str:
        """Begins the ids of rows that no column names."""
        return self.layout.frame or self.digest


def write(table: pa.Table, layout: Layout) -> bytes:
    """``table`` as one stream. Raises InvalidPayload for what no receiver takes."""
    return encode(check(table, layout))


def encode(frame: Frame) -> bytes:
    """A checked frame as one stream, without the columns that have no role."""
    used = frame.table.select(list(frame.roles.used))
    return serialize(describe(used, replace(frame.layout, roles=frame.roles)).combine_chunks())


def parts(frame: Frame) -> Iterator[Frame]:
    """A frame in frames that are small enough for a request each, their ids going on from one to the next."""
    rows = frame.table.num_rows
    size = max(1, frame.table.select(list(frame.roles.used)).nbytes)
    step = max(1, min(PART_ROWS, PART_BYTES * rows // size))
    for start in range(0, rows, step):
        layout = replace(frame.layout, first_row=frame.layout.first_row + start)
        yield replace(frame, table=frame.table.slice(start, step), layout=layout)


def serialize(table: pa.Table, compression: str | None = "lz4") -> bytes:
    """A table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as out:
        out.write_table(table)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def read(payload: bytes) -> Frame:
    """The frame in ``payload``, its size checked before anything is allocated and its buffers before they are used.

    Raises:
        InvalidPayload: no stream, too large, or a column that its role cannot be; says which.
    """
    measure(payload)
    try:
        table = pa.ipc.open_stream(pa.py_buffer(payload)).read_all()
        layout = parse(table.schema.metadata)
        roles = _roles(table, layout)
        _refuse_strangers(table.column_names, roles)
        for name in roles.used:
            columns.refuse_long_views(name, table.column(name))
        table.validate(full=True)
        _check_values(table, roles)
    except (pa.ArrowException, OSError) as error:
        raise InvalidPayload(f"not an Arrow IPC stream: {str(error)[:300]}") from error
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"a frame with a name that is not UTF-8: {error}") from error
    return Frame(table, layout, roles, xxhash.xxh3_128_hexdigest(payload))


def count(payload: bytes) -> int:
    """The rows of a stream that can be stored as it is. Raises InvalidPayload like ``read``."""
    return int(read(payload).table.num_rows)


def check(table: pa.Table, layout: Layout) -> Frame:
    """``table`` as ``layout`` describes it. Raises InvalidPayload naming the column that is at fault."""
    roles = _roles(table, layout)
    _check_values(table, roles)
    return Frame(table, layout, roles, "")


def _roles(table: pa.Table, layout: Layout) -> Roles:
    """The roles, each of a column that is there once and of a type that it takes; looks at no value."""
    if len(table.column_names) > MAX_COLUMNS:
        raise InvalidPayload(f"a frame of {len(table.column_names):,} columns; at most {MAX_COLUMNS:,}")
    roles = layout.resolved(table.column_names)
    features = roles.features or ()
    if table.num_rows * len(features) > MAX_CELLS:
        raise InvalidPayload(
            f"a frame of {table.num_rows:,} rows and {len(features):,} features; rows times features is at most "
            f"{MAX_CELLS:,}: send several smaller ones"
        )
    for name in features:
        _check_feature(name, table.schema.field(name).type)
    for role, name in [*roles.single.items(), *(("slice", each) for each in roles.slices)]:
        fits, wanted = ROLES.get(role, (columns.is_writable, "a number, text, bool or date"))
        kind = table.schema.field(name).type
        if not fits(kind):
            raise InvalidPayload(f"column {name!r} must hold {wanted} to be the {role}, found {kind}")
    return roles


def _refuse_strangers(names: list[str], roles: Roles) -> None:
    """What has no role would travel, wait in Kafka and be masked for nothing."""
    if strangers := sorted(set(names) - set(roles.used)):
        raise InvalidPayload(f"column {', '.join(map(repr, strangers[:10]))} has no role; leave it out of the frame")


def _check_feature(name: str, kind: pa.DataType) -> None:
    if columns.is_number(kind) or columns.is_text(kind):
        return
    dated = pa.types.is_temporal(kind)
    advice = "; a date drifts by itself: send a number made of it, such as the weekday" if dated else ""
    raise InvalidPayload(f"feature column {name!r} is {kind}; send numbers, text or bools{advice}")


def _check_values(table: pa.Table, roles: Roles) -> None:
    for name in roles.used:
        columns.refuse_long(name, table.column(name))
    for name, needed in ((roles.id, "prediction id"), (roles.timestamp, "time")):
        if name and (empty := columns.missing(table.column(name)).sum()):
            raise InvalidPayload(f"column {name!r} has {empty} row(s) without a {needed}")
