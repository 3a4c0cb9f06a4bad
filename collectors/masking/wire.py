"""The protobuf wire format of OTLP requests: where texts stand in it, read without decoding the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from tidegauge.collectors.otlp import REQUESTS
from tidegauge.protobuf import varint

MARKED = {
    "Span",
    "LogRecord",
    "Resource",
    "InstrumentationScope",
}  # a metric's points are not: that would split a series
Chunks = list[bytes | memoryview]  # a message in parts, so that only the outermost is put together


class Malformed(Exception):
    """No protobuf message, or written as no encoder writes it."""


@dataclass(slots=True)
class Node:
    """A message type: its fields by number. ``attributes`` is the number of the field that a note goes into, or 0."""

    name: str
    attributes: int = 0
    fields: dict[int, tuple[str, Node | None]] = field(default_factory=dict)


TEXT = Node("")
_KNOWN: dict[str, Node] = {}


def _node(descriptor: Any) -> Node:
    if descriptor.full_name in _KNOWN:
        return _KNOWN[descriptor.full_name]
    attributes = descriptor.fields_by_name["attributes"].number if descriptor.name in MARKED else 0
    node = _KNOWN[descriptor.full_name] = Node(descriptor.name, attributes)
    for each in descriptor.fields:
        node.fields[each.number] = (each.name, _inside(each))
    return node


def _inside(described: FieldDescriptor) -> Node | None:
    if described.type == FieldDescriptor.TYPE_MESSAGE:
        return _node(described.message_type)
    text = described.type == FieldDescriptor.TYPE_STRING or described.full_name.endswith("AnyValue.bytes_value")
    return TEXT if text else None


ROOTS = {signal: _node(message.DESCRIPTOR) for signal, message in REQUESTS.items()}


def written(tag: int, content: Chunks) -> Chunks:
    """A length-delimited field; none where it has no content."""
    return [varint(tag) + varint(sum(map(len, content))), *content] if content else []


def fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The length-delimited fields between two places: number, start and end of the content."""
    at = start
    while at < stop:
        tag, at = read_varint(data, at)
        if tag & 7 == 2:
            size, at = read_varint(data, at)
            yield tag >> 3, at, at + size
            at += size
        else:
            at = past(data, at, tag & 7)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` and the place after it."""
    number = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise Malformed


def past(data: bytes, at: int, kind: int) -> int:
    """The place after the content of a field that is not length-delimited."""
    if kind == 0:
        return read_varint(data, at)[1]
    if kind in (1, 5):
        return at + (8 if kind == 1 else 4)
    raise Malformed  # a group
