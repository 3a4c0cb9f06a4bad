"""Spans and log records as OTLP bytes, written directly.

A protobuf object per attribute costs 13 microseconds a record of 20 attributes, this 4 to 7. Field numbers:
opentelemetry-proto, common, resource, trace and logs v1; a test holds every branch to the protobuf classes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tidegauge import protobuf

KEYS_KEPT = 8_192  # a service that makes up attribute names must not make us grow
SHORT = 25  # characters: four bytes each at most, so that every length around them takes one byte

SMALL = [bytes([number]) for number in range(128)]
TRUE, FALSE = b"\x10\x01", b"\x10\x00"
_keys: dict[str, bytes] = {}
_double = struct.Struct("<d").pack
_fixed64 = struct.Struct("<Q").pack

SPAN_ATTRIBUTE, LOG_ATTRIBUTE = b"\x4a", b"\x32"  # Span.attributes = 9, LogRecord.attributes = 6
RECORD = b"\x12"  # ScopeSpans.spans = 2, ScopeLogs.log_records = 2, ScopeMetrics.metrics = 2


class Origin(NamedTuple):
    """Where records come from: a serialized Resource, and a serialized InstrumentationScope."""

    resource: bytes
    scope: bytes


class SpanEvent(NamedTuple):
    """Something that happened during a span."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any]


class SpanLink(NamedTuple):
    """Another span that this one is about."""

    trace_id: int
    span_id: int
    attributes: Mapping[str, Any]


def varint(number: int) -> bytes:
    """A non-negative integer as a base-128 varint."""
    return SMALL[number] if number < 128 else protobuf.varint(number)


def block(tag: bytes, body: bytes) -> bytes:
    """A length-delimited field."""
    return tag + varint(len(body)) + body


def text(tag: bytes, written: str) -> bytes:
    """A string field; what UTF-8 cannot hold becomes ``?``; nothing for the empty string."""
    return block(tag, written.encode(errors="replace")) if written else b""


def any_value(value: Any) -> bytes:
    """An AnyValue. Sequences and mappings nest; what is none of its kinds is sent as text."""
    kind = type(value)
    if kind is str:
        return block(b"\x0a", value.encode(errors="replace"))
    if kind is float:
        return b"\x21" + _double(value)
    if kind is bool:
        return TRUE if value else FALSE
    if kind is int and -(2**63) <= value < 2**63:
        return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    return _other_value(value)


def _other_value(value: Any) -> bytes:
    if isinstance(value, bytes):
        return block(b"\x3a", value)
    if isinstance(value, Mapping):
        pairs = (attribute(b"\x0a", str(key), each) for key, each in value.items())
        return block(b"\x32", b"".join(pairs))
    if isinstance(value, list | tuple):
        return block(b"\x2a", b"".join(block(b"\x0a", any_value(each)) for each in value))
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool | float):
        return any_value(bool(plain) if isinstance(plain, bool) else float(plain))
    if isinstance(plain, int) and plain.bit_length() < 64:
        return any_value(int(plain))
    return block(b"\x0a", str(plain).encode(errors="replace"))


def attribute(tag: bytes, key: str, value: Any) -> bytes:
    """One KeyValue as the field ``tag``; nothing for None."""
    named = _keys.get(key) or _key(key)
    kind = type(value)
    if kind is float:
        body = named + b"\x12\x09\x21" + _double(value)
    elif kind is str and len(value) < SHORT:
        raw = value.encode(errors="replace")
        size = len(raw)
        body = named + b"\x12" + SMALL[size + 2] + b"\x0a" + SMALL[size] + raw
    elif value is None:
        return b""
    else:
        body = named + block(b"\x12", any_value(value))
    size = len(body)
    return tag + (SMALL[size] if size < 128 else protobuf.varint(size)) + body


def attributes(tag: bytes, named: Mapping[str, Any]) -> bytes:
    """Each as a KeyValue in the repeated field ``tag``."""
    return b"".join([attribute(tag, key, value) for key, value in named.items()])


def origin(resource: Mapping[str, Any], scope: str = "tidegauge", version: str = "") -> Origin:
    """Resource attributes and the name of what records, serialized once."""
    return Origin(attributes(b"\x0a", resource), text(b"\x0a", scope) + text(b"\x12", version))


def span(
    trace_id: int,
    span_id: int,
    parent_id: int,
    name: str,
    kind: int,
    start_ns: int,
    end_ns: int,
    named: Mapping[str, Any],
    *,
    failed: bool | None = None,
    message: str = "",
    events: Iterable[SpanEvent] = (),
    links: Iterable[SpanLink] = (),
    trace_state: str = "",
    lost_attributes: int = 0,
) -> bytes:
    """One span as a field of ScopeSpans.

    Args:
        kind: As the wire has it: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
        failed: None where nothing was said.
        lost_attributes: Those that a limit of another library took.
    """
    parts = [
        b"\x0a\x10" + trace_id.to_bytes(16, "big") + b"\x12\x08" + span_id.to_bytes(8, "big"),
        text(b"\x1a", trace_state),
        b"\x22\x08" + parent_id.to_bytes(8, "big") if parent_id else b"",
        text(b"\x2a", name),
        b"\x30" + SMALL[kind] + b"\x39" + _fixed64(start_ns) + b"\x41" + _fixed64(end_ns),
    ]
    parts += [attribute(SPAN_ATTRIBUTE, key, value) for key, value in named.items()]
    if lost_attributes:
        parts.append(b"\x50" + varint(lost_attributes))
    parts += [block(b"\x5a", _event(each)) for each in events]
    parts += [block(b"\x6a", _link(each)) for each in links]
    if failed is not None:
        parts.append(block(b"\x7a", text(b"\x12", message) + (b"\x18\x02" if failed else b"\x18\x01")))
    return block(RECORD, b"".join(parts))


def log_record(time_ns: int, event_name: str, named: Mapping[str, Any], trace_id: int = 0, span_id: int = 0) -> bytes:
    """One event of severity INFO as a field of ScopeLogs."""
    parts = [b"\x09" + _fixed64(time_ns) + b"\x10\x09"]
    parts += [attribute(LOG_ATTRIBUTE, key, value) for key, value in named.items()]
    if trace_id:
        parts.append(b"\x4a\x10" + trace_id.to_bytes(16, "big"))
        parts.append(b"\x52\x08" + span_id.to_bytes(8, "big"))
    parts.append(text(b"\x62", event_name))
    return block(RECORD, b"".join(parts))


def request(records: Mapping[Origin, Sequence[bytes]]) -> bytes:
    """A serialized Export{Trace,Logs,Metrics}ServiceRequest of records by where they come from."""
    return b"".join([_from_one(each, records[each]) for each in records])


def _from_one(each: Origin, records: Sequence[bytes]) -> bytes:
    scoped = block(b"\x0a", each.scope) + b"".join(records)
    return block(b"\x0a", block(b"\x0a", each.resource) + block(b"\x12", scoped))


def _key(key: str) -> bytes:
    named = block(b"\x0a", key.encode(errors="replace"))
    if len(_keys) < KEYS_KEPT:
        _keys[key] = named
    return named


def _event(each: SpanEvent) -> bytes:
    return b"\x09" + _fixed64(each.time_ns) + text(b"\x12", each.name) + attributes(b"\x1a", each.attributes)


def _link(each: SpanLink) -> bytes:
    ids = b"\x0a\x10" + each.trace_id.to_bytes(16, "big") + b"\x12\x08" + each.span_id.to_bytes(8, "big")
    return ids + attributes(b"\x22", each.attributes)
