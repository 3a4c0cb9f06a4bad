"""What an Arrow IPC stream declares of itself, read before any of its buffers is opened.

A compressed buffer says in its first eight bytes how large it becomes. pyarrow allocates that many bytes, so the sum is
taken here first, from the flatbuffer headers alone (Arrow columnar format, "Encapsulated message format"; flatbuffers
internals: a table points back to its vtable, which holds the place of each field).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from tidegauge.errors import InvalidPayload

VERSION_5 = 4  # MetadataVersion of Arrow 1.0 and later; older ones compress in another way
SCHEMA, DICTIONARY, RECORDS = 1, 2, 3
MAX_MESSAGES = 1_000
MAX_ROWS = 100_000
MAX_BYTES = 64 * 2**20  # of all buffers, decompressed


@dataclass(frozen=True, slots=True)
class Header:
    """Sums over the messages of a stream."""

    rows: int
    size: int
    dictionaries: tuple[int, ...]  # ids of the schema's dictionary-encoded fields, in order
    little_endian: bool
    schema_end: int  # where the schema message ends in the payload


def measure(payload: bytes) -> Header:
    """Read the headers of ``payload``.

    Raises:
        InvalidPayload: no Arrow IPC stream, or one that declares more than the limits.
    """
    try:
        return _measure(payload)
    except (pa.ArrowException, struct.error, OSError, ValueError) as error:
        raise InvalidPayload(f"not an Arrow IPC stream: {error}") from error


def dictionary_ids(schema: _Table) -> Iterator[int]:
    """The dictionary ids of a schema's fields, in order, nested ones included."""
    yield from _ids(schema, 1)


def schema_table(message: pa.Message) -> _Table:
    """The flatbuffer of a schema message."""
    return _root(message).table(2)


def _measure(payload: bytes) -> Header:
    rows = size = 0
    source = pa.BufferReader(pa.py_buffer(payload))
    reader = pa.ipc.MessageReader.open_stream(source)
    first = _next(reader)
    if first is None or _root(first).byte(1) != SCHEMA:
        raise InvalidPayload("not an Arrow IPC stream: it does not begin with a schema")
    schema, schema_end = schema_table(first), source.tell()
    for number, message in enumerate(iter(lambda: _next(reader), None)):
        if number >= MAX_MESSAGES:
            raise InvalidPayload(f"an Arrow IPC stream of more than {MAX_MESSAGES} messages; write larger batches")
        more_rows, more_bytes = _declared(message)
        rows, size = rows + more_rows, size + more_bytes
        _refuse_too_much(rows, size)
    return Header(rows, size, tuple(dictionary_ids(schema)), schema.short(0) == 0, schema_end)


def _next(reader: pa.MessageReader) -> pa.Message | None:
    try:
        return reader.read_next_message()
    except StopIteration:
        return None


def _refuse_too_much(rows: int, size: int) -> None:
    if rows > MAX_ROWS:
        raise InvalidPayload(f"a frame of more than {MAX_ROWS:,} rows; send several smaller ones")
    if size > MAX_BYTES:
        raise InvalidPayload(f"a frame of more than {MAX_BYTES:,} bytes, decompressed; send several smaller ones")


def _declared(message: pa.Message) -> tuple[int, int]:
    """Rows and decompressed bytes of one record batch or dictionary."""
    root = _root(message)
    kind = root.byte(1)
    if kind == RECORDS:
        batch = root.table(2)
        return batch.natural(0), _size(batch, message.body)
    if kind != DICTIONARY:
        raise InvalidPayload("an Arrow IPC stream of frames holds a schema, record batches and dictionaries only")
    dictionary = root.table(2)
    if dictionary.byte(2):
        raise InvalidPayload("an Arrow IPC stream with delta dictionaries; write whole ones")
    return 0, _size(dictionary.table(1), message.body)


def _size(batch: _Table, body: pa.Buffer | None) -> int:
    buffers = [(offset, length) for offset, length in batch.pairs(2) if length]
    if not batch.has(3) or body is None:
        return sum(length for _, length in buffers)
    view = memoryview(body)
    declared = [(length, *struct.unpack_from("<q", view, offset)) for offset, length in buffers]
    if any(size < -1 for _, size in declared):
        raise InvalidPayload("not an Arrow IPC stream: a buffer of negative size")
    return sum(length if size == -1 else size for length, size in declared)


def _root(message: pa.Message) -> _Table:
    data = memoryview(message.metadata)
    root = _Table(data, struct.unpack_from("<I", data, 0)[0])
    if root.short(0) != VERSION_5:
        raise InvalidPayload("an Arrow IPC stream older than Arrow 1.0 (metadata version 5)")
    return root


def _ids(table: _Table, slot: int) -> Iterator[int]:
    for field in table.tables(slot):
        if field.has(4):
            yield field.table(4).natural(0)
        yield from _ids(field, 5)


class _Table:
    """A flatbuffers table; a field that is absent reads as 0. pyarrow has verified the offsets."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data, self._at = data, at

    def has(self, slot: int) -> bool:
        """Whether the field is there."""
        return bool(self._place(slot))

    def byte(self, slot: int) -> int:
        """A one-byte field."""
        return self._number(slot, "<B")

    def short(self, slot: int) -> int:
        """A two-byte field."""
        return self._number(slot, "<h")

    def natural(self, slot: int) -> int:
        """An eight-byte field that cannot be negative."""
        found = self._number(slot, "<q")
        if found < 0:
            raise InvalidPayload("not an Arrow IPC stream: a negative length")
        return found

    def table(self, slot: int) -> _Table:
        """The table that the field points to."""
        place = self._place(slot)
        if not place:
            raise InvalidPayload("not an Arrow IPC stream: a header is missing")
        return _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0])

    def tables(self, slot: int) -> Iterator[_Table]:
        """The tables of a vector."""
        start, length = self._vector(slot)
        for place in range(start, start + 4 * length, 4):
            yield _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0])

    def pairs(self, slot: int) -> Iterator[tuple[int, int]]:
        """The two 8-byte numbers of each struct in a vector."""
        start, length = self._vector(slot)
        return struct.iter_unpack("<qq", self._data[start : start + 16 * length])

    def _vector(self, slot: int) -> tuple[int, int]:
        place = self._place(slot)
        if not place:
            return 0, 0
        start = place + struct.unpack_from("<I", self._data, place)[0]
        return start + 4, struct.unpack_from("<I", self._data, start)[0]

    def _number(self, slot: int, form: str) -> int:
        place = self._place(slot)
        return int(struct.unpack_from(form, self._data, place)[0]) if place else 0

    def _place(self, slot: int) -> int:
        vtable = self._at - struct.unpack_from("<i", self._data, self._at)[0]
        inside = 4 + 2 * slot < struct.unpack_from("<H", self._data, vtable)[0]
        offset = struct.unpack_from("<H", self._data, vtable + 4 + 2 * slot)[0] if inside else 0
        return self._at + offset if offset else 0
