"""OTLP requests as bytes: checked, counted, and with nested attribute values as JSON text.

OTLP attribute values may be key-value lists and arrays of any depth; a table column cannot.
"""

from __future__ import annotations

import base64
import json
import math
import re
from functools import cache
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tidegauge.errors import InvalidPayload
from tidegauge.model import Signal

REQUESTS: dict[Signal, type[Message]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}

CONTAINERS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}

ORDINARY = 2**24  # bytes of a request times its rows
MOST_REPEATED = 2**29


def parse(signal: Signal, payload: bytes) -> Message:
    """Decode one request. Raises InvalidPayload when the bytes are not what ``signal`` says."""
    try:
        return REQUESTS[signal].FromString(payload)
    except DecodeError as error:
        raise InvalidPayload(f"not a protobuf {REQUESTS[signal].__name__}: {error}") from error


def count(signal: Signal, payload: bytes) -> int:
    """Spans, log records, metrics or rows in a serialized request. Raises InvalidPayload when it cannot be decoded."""
    if signal is Signal.FRAMES:
        from tidegauge.collectors import frames  # pyarrow is 60 MB that a receiver without frames does without

        return frames.count(payload)
    resources, scopes, records = CONTAINERS[signal]
    request: Any = parse(signal, payload)
    return sum(len(getattr(scope, records)) for each in getattr(request, resources) for scope in getattr(each, scopes))


def repeated_bytes(signal: Signal, payload: bytes, records: int) -> int:
    """Bytes that resources and scopes become when each row has its own copy of them, as in ``otel_*`` tables.

    0 where they cannot be many: that is told without decoding anything.

    Raises:
        InvalidPayload: they are more than ``MOST_REPEATED``: a request of a few megabytes could else become terabytes.
    """
    rows = len(payload) if signal is Signal.METRICS else records  # points of a metric have no count of their own
    if signal is Signal.FRAMES or len(payload) * rows < ORDINARY:
        return 0
    found = _repeated_points(payload) if signal is Signal.METRICS else _repeated(signal, payload)
    if found > MOST_REPEATED:
        raise InvalidPayload(
            f"its resource and scope attributes, repeated for each of its records, are {found:,} bytes and at most "
            f"{MOST_REPEATED:,} are taken: send fewer records in one request, or shorter resource attributes"
        )
    return found


def _repeated(signal: Signal, payload: bytes) -> int:
    try:
        request: Any = _outline().FromString(payload)
    except DecodeError as error:
        raise InvalidPayload(f"not a protobuf {REQUESTS[signal].__name__}: {error}") from error
    return sum(
        (len(resource.resource) + len(scope.scope)) * len(scope.records)
        for resource in request.resources
        for scope in resource.scopes
    )


def _repeated_points(payload: bytes) -> int:
    request: Any = parse(Signal.METRICS, payload)
    return sum(
        (_common(resource, resource.resource) + _common(scope, scope.scope) + _named(metric)) * _points(metric)
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


def _common(container: Any, of: Any) -> int:
    return len(container.schema_url) + int(of.ByteSize())


def _named(metric: Any) -> int:
    return len(metric.name) + len(metric.description) + len(metric.unit)


def _points(metric: Any) -> int:
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 0


def normalise(signal: Signal, payload: bytes, *, arrays: bool = False) -> bytes:
    """The same request with nested attribute values as JSON strings; the same object where there are none.

    Nested are key-value lists and arrays that hold a list or an array.

    Args:
        arrays: All arrays as JSON strings, and every value encoded as the protobuf library does: shortest, once, and
            without fields that the protocol does not have yet.
    """
    places = _nested(signal, payload, arrays)
    if not places and not arrays:
        return payload
    request = parse(signal, payload)
    for place in places:
        value = _at(request, place)
        value.string_value = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))
    if arrays:
        request.DiscardUnknownFields()
    return request.SerializeToString()


def plain(value: AnyValue) -> Any:
    """The value of an AnyValue as JSON can hold it: bytes become base64 text, nan and infinities their names."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: plain(item.value) for item in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    if kind == "double_value" and not math.isfinite(value.double_value):
        return str(value.double_value)
    return getattr(value, kind) if kind else None


def _nested(signal: Signal, payload: bytes, arrays: bool = False) -> list[str]:
    """Where nested values are, as paths from the request: ``resource_logs[0].scope_logs[0].log_records[2].body``."""
    try:
        request: Any = _strict(signal, arrays).FromString(payload)
    except DecodeError as error:
        raise InvalidPayload(f"not a protobuf {REQUESTS[signal].__name__}: {error}") from error
    if request.IsInitialized():
        return []
    missing = request.FindInitializationErrors()
    return list(dict.fromkeys(re.split(r"\.(?:kvlist|array)_value\b", path, maxsplit=1)[0] for path in missing))


def _at(request: Any, place: str) -> AnyValue:
    for name, number in re.findall(r"(\w+)(?:\[(\d+)\])?", place):
        request = getattr(request, name)[int(number)] if number else getattr(request, name)
    found: AnyValue = request
    return found


@cache
def _outline() -> type[Message]:
    """A request's containers alone: resources, scopes and records are bytes. Traces and logs have the same numbers."""
    file = FileDescriptorProto(name="outline.proto", package="tidegauge.outline", syntax="proto3")
    scope, resource, request = (file.message_type.add(name=name) for name in ("Scope", "Resource", "Request"))
    text, many, message = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.LABEL_REPEATED, ".tidegauge.outline."
    scope.field.add(name="scope", number=1, type=text)
    scope.field.add(name="records", number=2, type=text, label=many)
    resource.field.add(name="resource", number=1, type=text)
    resource.field.add(name="scopes", number=2, label=many, type_name=f"{message}Scope")
    request.field.add(name="resources", number=1, label=many, type_name=f"{message}Resource")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("tidegauge.outline.Request"))


@cache
def _strict(signal: Signal, arrays: bool = False) -> type[Message]:
    """The request's type, but with a required field that nothing has in all that is nested, or in all arrays too.

    So that the search for nested values is one call into the protobuf library, rather than a walk in Python over every
    attribute: ``IsInitialized`` is false where there is one, and ``FindInitializationErrors`` names them all.
    """
    pool = DescriptorPool()
    _add(pool, REQUESTS[signal].DESCRIPTOR.file, arrays)
    return GetMessageClass(pool.FindMessageTypeByName(REQUESTS[signal].DESCRIPTOR.full_name))


def _add(pool: DescriptorPool, file: Any, arrays: bool, added: set[str] | None = None) -> None:
    added = set() if added is None else added
    for each in file.dependencies:
        _add(pool, each, arrays, added)
    if file.name not in added:
        added.add(file.name)
        proto = FileDescriptorProto()
        file.CopyToProto(proto)
        if f"{proto.package}.AnyValue" == AnyValue.DESCRIPTOR.full_name:
            _forbid_nesting(proto, arrays)
        pool.Add(proto)


def _forbid_nesting(common: FileDescriptorProto, arrays: bool) -> None:
    common.syntax = "proto2"  # of the two, only this one has required fields
    field, kind = FieldDescriptorProto, f".{common.package}."
    never, item = common.message_type.add(name="Never"), common.message_type.add(name="Item")
    never.field.add(name="nested", number=536_870_911, label=field.LABEL_REQUIRED, type=field.TYPE_BOOL)
    for name, number in (("array_value", 5), ("kvlist_value", 6)):
        item.field.add(
            name=name, number=number, label=field.LABEL_OPTIONAL, type=field.TYPE_MESSAGE, type_name=kind + "Never"
        )
    messages = {each.name: each for each in common.message_type}
    for each in messages["AnyValue"].field:
        if each.name == "kvlist_value" or (arrays and each.name == "array_value"):
            each.type_name = kind + "Never"
    messages["ArrayValue"].field[0].type_name = kind + "Item"
