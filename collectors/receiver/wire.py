"""Fields of a serialized protobuf message, without decoding what is in them."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, LENGTH_DELIMITED = 0, 2
FIXED = {1: 8, 5: 4}  # bytes, by wire type
LARGEST_NUMBER = 2**29 - 1

Field = tuple[int, memoryview, memoryview]  # its number (negative when not length-delimited), all of it, its content


class Unusual(ValueError):
    """Not what an encoder writes: cut off, with groups, or with a field number that there cannot be."""


def fields(data: memoryview) -> Iterator[Field]:
    """The fields of ``data`` in order; the content of one that is not length-delimited is empty. Raises Unusual."""
    at, end = 0, len(data)
    while at < end:
        begun = at
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number <= LARGEST_NUMBER:
            raise Unusual(f"field number {number}")
        inner = at
        if kind == LENGTH_DELIMITED:
            size, inner = _varint(data, at)
            at = inner + size
        elif kind in FIXED:
            number, at = -number, at + FIXED[kind]
            inner = at
        elif kind == VARINT:
            number, at = -number, _varint(data, at)[1]
            inner = at
        else:
            raise Unusual(f"wire type {kind}")
        if at > end:
            raise Unusual("it is cut off")
        yield number, data[begun:at], data[inner:at]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    for place in range(at, min(at + 10, len(data))):
        byte = data[place]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place + 1
        shift += 7
    raise Unusual("a number is cut off")
