"""The SDK's own encoding against the protobuf classes."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import numpy as np
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from sdk_sink import attributes, key_value, value

from tidegauge.collectors.sdk import otlp


class Colour(StrEnum):
    RED = "red"


VALUES: list[tuple[Any, Any]] = [
    ("", ""),
    ("x", "x"),
    ("é" * 24, "é" * 24),
    ("\U0001f600" * 24, "\U0001f600" * 24),
    ("y" * 24, "y" * 24),
    ("y" * 25, "y" * 25),
    ("y" * 126, "y" * 126),
    ("y" * 127, "y" * 127),
    ("z" * 20_000, "z" * 20_000),
    ("a\ud800b", "a?b"),
    (0, 0),
    (-1, -1),
    (2**63 - 1, 2**63 - 1),
    (-(2**63), -(2**63)),
    (2**63, str(2**63)),
    (True, True),
    (False, False),
    (0.0, 0.0),
    (-0.0, -0.0),
    (1e308, 1e308),
    (math.inf, math.inf),
    ([1, "a", None, [2.5]], [1, "a", "None", [2.5]]),
    ((), []),
    ({"a": 1, "b": {"c": [True]}}, {"a": 1, "b": {"c": [True]}}),
    (b"\x00\xff", b"\x00\xff"),
    (Colour.RED, "red"),
    (np.float32(0.5), 0.5),
    (np.int64(7), 7),
    (np.bool_(True), True),
    (np.str_("t"), "t"),
    (2 + 1j, "(2+1j)"),
]


@pytest.mark.parametrize(("sent", "found"), VALUES, ids=lambda each: repr(each)[:20])
def test_every_kind_of_value_is_what_protobuf_reads(sent: Any, found: Any) -> None:
    read = value(AnyValue.FromString(otlp.any_value(sent)))
    assert (read, type(read)) == (found, type(found))
    span = Span.FromString(otlp.attribute(otlp.SPAN_ATTRIBUTE, "k" * 120, sent))
    assert attributes(span.attributes) == {"k" * 120: found}


def test_not_a_number_keeps_its_place_and_none_has_none() -> None:
    span = Span.FromString(otlp.attributes(otlp.SPAN_ATTRIBUTE, {"a": math.nan, "b": None, "\ud800": 1}))
    assert math.isnan(attributes(span.attributes)["a"])
    assert [each.key for each in span.attributes] == ["a", "?"]


@pytest.mark.parametrize("count", [0, 1, 20, 200])
def test_a_span_is_byte_for_byte_what_protobuf_writes(count: int) -> None:
    named: dict[str, Any] = {f"attribute.{n}": [n, n / 2, "t" * n][n % 3] for n in range(count)}
    expected = Span(
        trace_id=bytes(range(16)), span_id=bytes(range(8)), parent_span_id=bytes(7) + b"\x05", name="né",
        kind=Span.SPAN_KIND_CLIENT,
        trace_state="a=1", start_time_unix_nano=5, end_time_unix_nano=2**63, dropped_attributes_count=300,
        events=[Span.Event(time_unix_nano=7, name="e", attributes=[key_value("k", int_value=1)])],
        links=[Span.Link(trace_id=bytes(15) + b"\x01", span_id=bytes(7) + b"\x02")],
        status=Status(code=Status.STATUS_CODE_ERROR, message="bad"),
    )  # fmt: skip
    for key, each in named.items():
        arm = {int: "int_value", float: "double_value", str: "string_value"}[type(each)]
        expected.attributes.append(key_value(key, **{arm: each}))
    ids = int.from_bytes(bytes(range(16)), "big"), int.from_bytes(bytes(range(8)), "big")
    events, links = [otlp.SpanEvent("e", 7, {"k": 1})], [otlp.SpanLink(1, 2, {})]
    written = otlp.span(
        *ids, 5, "né", 3, 5, 2**63, named, failed=True, message="bad", events=events, links=links, trace_state="a=1",
        lost_attributes=300,
    )  # fmt: skip
    request = ExportTraceServiceRequest.FromString(
        otlp.request({otlp.origin({"service.name": "s"}, "scope", "1"): [written] * 2})
    )
    [resource] = request.resource_spans
    [scope] = resource.scope_spans
    assert attributes(resource.resource.attributes) == {"service.name": "s"}
    assert (scope.scope.name, scope.scope.version) == ("scope", "1")
    assert [each.SerializeToString(deterministic=True) for each in scope.spans] == [expected.SerializeToString()] * 2


def test_records_of_several_origins_stay_with_theirs() -> None:
    one, two = otlp.origin({"service.name": "one"}), otlp.origin({"service.name": "two"})
    sent = {one: [otlp.log_record(1, "e", {"a": 1}, 3, 4)], two: [otlp.log_record(2, "f", {})] * 3}
    request = ExportLogsServiceRequest.FromString(otlp.request(sent))
    found = {
        attributes(each.resource.attributes)["service.name"]: each.scope_logs[0].log_records
        for each in request.resource_logs
    }
    assert [len(found["one"]), len(found["two"])] == [1, 3]
    event = found["one"][0]
    assert (event.trace_id, event.span_id, event.event_name) == (bytes(15) + b"\x03", bytes(7) + b"\x04", "e")
    assert (event.time_unix_nano, event.severity_number, attributes(event.attributes)) == (1, 9, {"a": 1})


def test_made_up_attribute_names_cost_no_memory_for_ever() -> None:
    before = len(otlp._keys)
    for number in range(otlp.KEYS_KEPT + 100):
        otlp.attribute(otlp.SPAN_ATTRIBUTE, f"made.up.{number}", 1)
    assert before <= len(otlp._keys) == otlp.KEYS_KEPT
