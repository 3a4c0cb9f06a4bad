"""The tenant on the wire, and requests checked in pieces: both held to what the protobuf package makes of the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_payloads import REQUESTS, attributes, logs, metrics, record, span, traces

from tidegauge.collectors.otlp import CONTAINERS, count
from tidegauge.collectors.receiver import check
from tidegauge.collectors.receiver.check import count_records
from tidegauge.collectors.receiver.tenant import VERIFIED, stamp
from tidegauge.errors import InvalidPayload
from tidegauge.model import Signal
from tidegauge.protobuf import varint

OTLP = (Signal.TRACES, Signal.LOGS, Signal.METRICS)
ROUNDS = 300


def stamped_by_protobuf(signal: Signal, payload: bytes, tenant: str) -> Any:
    request: Any = REQUESTS[signal.name.lower()].FromString(payload)
    for each in getattr(request, CONTAINERS[signal][0]):
        kept = [pair for pair in each.resource.attributes if pair.key != VERIFIED]
        del each.resource.attributes[:]
        each.resource.attributes.extend([*kept, *attributes({VERIFIED: tenant})])
    return request


class Wire:
    """Random messages, written in every way that the wire format allows."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def number(self, value: int) -> bytes:
        """A varint, now and then longer than it need be."""
        plain = bytearray(varint(value))
        while self.chance(0.1) and len(plain) < 5:
            plain[-1] |= 0x80
            plain.append(0)
        return bytes(plain)

    def field(self, number: int, content: bytes) -> bytes:
        return self.number(number << 3 | 2) + self.number(len(content)) + content

    def noise(self) -> bytes:
        """A field that no version of OTLP has, of any wire type."""
        number = int(self.rng.integers(900, 1000))
        kinds = (
            self.number(number << 3) + self.number(7),
            self.number(number << 3 | 1) + bytes(8),
            self.number(number << 3 | 5) + bytes(4),
            self.field(number, VERIFIED.encode()),
            self.number(number << 3 | 3) + self.number(number << 3 | 4),
        )
        return kinds[int(self.rng.choice(5, p=[0.24, 0.24, 0.24, 0.24, 0.04]))]

    def message(self, *parts: bytes) -> bytes:
        mixed = [*parts, *(self.noise() for _ in range(int(self.rng.integers(0, 2))))]
        self.rng.shuffle(mixed)
        return b"".join(mixed)

    def attribute(self) -> bytes:
        key = self.rng.choice([VERIFIED, "service.name", "tidegauge.tenant", VERIFIED + "x"])
        keys = [self.field(1, str(key).encode())]
        if self.chance(0.1):
            keys.append(self.field(1, VERIFIED.encode()))  # the last one counts
        return self.field(1, b"".join([*keys, self.field(2, self.field(1, b"value"))]))

    def resource(self) -> bytes:
        return self.field(1, self.message(*(self.attribute() for _ in range(int(self.rng.integers(0, 4))))))

    def container(self) -> bytes:
        resources = [self.resource() for _ in range(int(self.rng.choice(3, p=[0.1, 0.8, 0.1])))]
        scope = self.field(2, self.field(2, self.field(950, b"name") if self.chance(0.5) else b""))
        return self.field(1, self.message(*resources, scope))

    def request(self) -> bytes:
        return self.message(*(self.container() for _ in range(int(self.rng.integers(0, 4)))))


def valid(wire: Wire, signal: Signal) -> Iterator[bytes]:
    for _ in range(ROUNDS):
        payload = wire.request()
        try:
            count(signal, payload)
        except InvalidPayload:  # a field that another signal has in that place
            continue
        yield payload


@pytest.mark.parametrize("signal", OTLP)
def test_a_stamped_request_is_what_protobuf_would_have_made_of_it(rng: np.random.Generator, signal: Signal) -> None:
    kind, tried = REQUESTS[signal.name.lower()], 0
    for payload in valid(Wire(rng), signal):
        tried += 1
        assert kind.FromString(stamp(signal, payload, "acme")) == stamped_by_protobuf(signal, payload, "acme")
    assert tried > ROUNDS / 2


def test_the_spans_are_not_touched_and_the_request_may_be_stamped_twice() -> None:
    payload = traces(span(1, attributes=attributes({"deep": {"a": [1, {"b": b"\xff"}]}})), span(2)).SerializeToString()
    once = stamp(Signal.TRACES, payload, "acme")
    spans = [
        each.SerializeToString()
        for each in (span(1, attributes=attributes({"deep": {"a": [1, {"b": b"\xff"}]}})), span(2))
    ]
    assert all(each in once for each in spans)
    assert stamp(Signal.TRACES, stamp(Signal.TRACES, payload, "umbrella"), "acme") == once


def test_a_request_of_very_many_resources_is_refused() -> None:
    with pytest.raises(InvalidPayload, match="resources"):
        stamp(Signal.TRACES, b"\x0a\x00" * 60_000, "acme")


# Requests checked in pieces


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "PIECE", 64)


@pytest.mark.parametrize("signal", OTLP)
@pytest.mark.usefixtures("small_pieces")
def test_in_pieces_a_request_has_as_many_records_as_in_one(rng: np.random.Generator, signal: Signal) -> None:
    sizes = rng.integers(1, 200, 20)
    many = {
        Signal.TRACES: traces(*(span(int(n), attributes=attributes({"k": "x" * int(n)})) for n in sizes)),
        Signal.LOGS: logs(*(record(int(n), severity_text="y" * int(n)) for n in sizes)),
        Signal.METRICS: metrics(*(Metric(name="z" * int(n)) for n in sizes)),
    }[signal].SerializeToString()
    assert count_records(signal, many) == count(signal, many) == 20
    assert count_records(signal, many * 3) == 60


@pytest.mark.usefixtures("small_pieces")
def test_in_pieces_the_same_bytes_are_refused(rng: np.random.Generator) -> None:
    payload = traces(*(span(n, attributes=attributes({"key": "value" * 30})) for n in range(9))).SerializeToString()
    refused = 0
    for _ in range(ROUNDS):
        broken = bytearray(payload)
        broken[int(rng.integers(0, len(broken)))] = int(rng.integers(0, 256))
        outcomes = [_outcome(each, bytes(broken)) for each in (count, count_records)]
        assert outcomes[0] == outcomes[1]
        refused += outcomes[0] is None
    assert refused > ROUNDS / 20


@pytest.mark.usefixtures("small_pieces")
def test_in_pieces_a_field_of_the_number_zero_is_refused_as_in_one() -> None:
    payload = traces(span(attributes=attributes({"key": "value" * 30}))).SerializeToString()
    broken = b"\x02" + payload[1:]
    assert (_outcome(count, broken), _outcome(count_records, broken)) == (None, None)


@pytest.mark.usefixtures("small_pieces")
def test_a_large_text_that_is_no_utf8_is_refused() -> None:
    payload = traces(span(attributes=attributes({"k": "x" * 500}))).SerializeToString()
    assert count_records(Signal.TRACES, payload) == 1
    with pytest.raises(InvalidPayload):
        count_records(Signal.TRACES, payload.replace(b"x" * 9, b"\xff" * 9, 1))


def test_ten_million_attributes_are_refused_before_they_are_decoded() -> None:
    inside = b"\x4a\x02\x0a\x00" * 10_000_000  # of a span: attributes with an empty key
    for tag in (b"\x12", b"\x12", b"\x0a"):
        inside = tag + varint(len(inside)) + inside
    with pytest.raises(InvalidPayload, match="fields"):
        count_records(Signal.TRACES, inside)


def test_a_span_of_a_few_thousand_attributes_is_taken() -> None:
    wide = Span(attributes=attributes({f"key.{n}": "x" * 500 for n in range(5000)}))
    payload = traces(wide).SerializeToString()
    assert len(payload) > check.PIECE
    assert count_records(Signal.TRACES, payload) == 1


def _outcome(counting: Any, payload: bytes) -> int | None:
    try:
        found: int = counting(Signal.TRACES, payload)
    except InvalidPayload:
        return None
    return found
