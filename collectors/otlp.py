"""OTLP requests as bytes: checked, counted, and with nested attribute values as JSON text.

OTLP attribute values may be key-value lists and arrays of any depth; a table column cannot. Hardly any request has one,
so a search over the raw bytes decides whether a request has to be opened at all.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

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

# A wire-format length is any number of bytes with the high bit set and one without. An attribute's value is field 2, a
# log's body and an array field 5; inside, field 6 is a key-value list and field 5 an array. A match may be text that
# happens to look so, which costs time and changes nothing.
_LENGTH = rb"[\x80-\xff]{0,4}[\x00-\x7f]"
_LIST = re.compile(rb"[\x12\x2a]" + _LENGTH + rb"\x32", re.DOTALL)
_ARRAY = re.compile(rb"(?=[\x12\x2a]" + _LENGTH + rb"\x2a(" + _LENGTH + rb"))", re.DOTALL)


def parse(signal: Signal, payload: bytes) -> Message:
    """Decode one request. Raises InvalidPayload when the bytes are not what ``signal`` says."""
    try:
        return REQUESTS[signal].FromString(payload)
    except DecodeError as error:
        raise InvalidPayload(f"not a protobuf {REQUESTS[signal].__name__}: {error}") from error


def count(signal: Signal, payload: bytes) -> int:
    """Spans, log records or metrics in a serialized request. Raises InvalidPayload when it cannot be decoded."""
    resources, scopes, records = CONTAINERS[signal]
    request: Any = parse(signal, payload)
    return sum(len(getattr(scope, records)) for each in getattr(request, resources) for scope in getattr(each, scopes))


def normalise(signal: Signal, payload: bytes) -> bytes:
    """The same request with nested attribute values as JSON strings; the same bytes where there are none."""
    if not _may_be_nested(payload):
        return payload
    request = parse(signal, payload)
    nested = [value for value in _values(signal, request) if _nested(value)]
    for value in nested:
        value.string_value = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))
    return request.SerializeToString() if nested else payload


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


def _may_be_nested(payload: bytes) -> bool:
    return bool(_LIST.search(payload)) or any(
        _array_is_nested(payload, found.start(1)) for found in _ARRAY.finditer(payload)
    )


def _array_is_nested(payload: bytes, at: int) -> bool:
    """Whether the ArrayValue whose length stands at ``at`` is empty or holds a list or an array."""
    length, at = _read_varint(payload, at)
    end = at + length
    while at < end <= len(payload) and payload[at] == 0x0A:
        size, at = _read_varint(payload, at + 1)
        if size and payload[at : at + 1] in (b"\x2a", b"\x32"):
            return True
        at += size
    return not length


def _read_varint(payload: bytes, at: int) -> tuple[int, int]:
    """The varint at ``at`` and the place after it; a length that the payload ends in reads as it is so far."""
    number = 0
    for place, byte in enumerate(payload[at : at + 5]):
        number |= (byte & 0x7F) << (7 * place)
        at += 1
        if byte < 0x80:
            break
    return number, at


def _nested(value: AnyValue) -> bool:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        items = value.array_value.values
        return not items or any(item.WhichOneof("value") in ("array_value", "kvlist_value") for item in items)
    return kind == "kvlist_value"


def _values(signal: Signal, request: Any) -> Iterable[AnyValue]:
    for attributes in _attribute_lists(signal, request):
        for pair in attributes:
            yield pair.value
    if signal is Signal.LOGS:
        for record in _records(request.resource_logs, "scope_logs", "log_records"):
            yield record.body


def _attribute_lists(signal: Signal, request: Any) -> Iterable[Iterable[KeyValue]]:
    if signal is Signal.TRACES:
        yield from _scoped(request.resource_spans, "scope_spans")
        for span in _records(request.resource_spans, "scope_spans", "spans"):
            yield span.attributes
            yield from (event.attributes for event in span.events)
            yield from (link.attributes for link in span.links)
    elif signal is Signal.LOGS:
        yield from _scoped(request.resource_logs, "scope_logs")
        yield from (record.attributes for record in _records(request.resource_logs, "scope_logs", "log_records"))
    else:
        yield from _scoped(request.resource_metrics, "scope_metrics")
        for metric in _records(request.resource_metrics, "scope_metrics", "metrics"):
            data = getattr(metric, metric.WhichOneof("data") or "gauge")
            for point in data.data_points:
                yield point.attributes
                yield from (each.filtered_attributes for each in getattr(point, "exemplars", ()))


def _scoped(resources: Iterable[Any], scopes: str) -> Iterable[Iterable[KeyValue]]:
    for resource in resources:
        yield resource.resource.attributes
        yield from (each.scope.attributes for each in getattr(resource, scopes))


def _records(resources: Iterable[Any], scopes: str, records: str) -> Iterable[Any]:
    return (record for resource in resources for each in getattr(resource, scopes) for record in getattr(each, records))
