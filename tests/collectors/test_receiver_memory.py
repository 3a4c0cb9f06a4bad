"""Requests made to exhaust memory, against a receiver in a process of its own: refused for good, and it stays small."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest
import zstandard
from otlp_payloads import span, traces
from receiver_process import ReceiverProcess, receiver_process

from tidegauge.protobuf import varint

LIMIT = 48 * 2**20
METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(scope="module")
def receiver() -> Iterator[ReceiverProcess]:
    with receiver_process(max_body_bytes=LIMIT) as process:
        yield process


def post(receiver: ReceiverProcess, body: bytes, encoding: str = "", kind: str = "application/x-protobuf") -> int:
    headers = {"content-type": kind} | ({"content-encoding": encoding} if encoding else {})
    answer = httpx.post(f"{receiver.http_url}/v1/traces", content=body, headers=headers, timeout=60, trust_env=False)
    assert "retry-after" not in answer.headers
    return answer.status_code


def call(receiver: ReceiverProcess, body: bytes, compression: grpc.Compression = grpc.Compression.NoCompression) -> str:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(receiver.grpc_url.removeprefix("http://"), options) as channel:
        try:
            channel.unary_unary(METHOD)(body, timeout=60, compression=compression)
        except grpc.RpcError as error:
            assert "grpc-status-details-bin" not in dict(error.trailing_metadata() or ())
            return str(error.code().name)
    return "OK"


def bomb(encoding: str) -> bytes:
    """Half a gigabyte of zeros, compressed."""
    piece = bytes(2**20)
    if encoding == "zstd":
        packed = zstandard.ZstdCompressor().compressobj()
        return b"".join(packed.compress(piece) for _ in range(512)) + packed.flush()
    stream = zlib.compressobj(9, wbits=31)
    return b"".join(stream.compress(piece) for _ in range(512)) + stream.flush()


def many_attributes() -> bytes:
    """A span of ten million attributes, within the limit."""
    return field(1, field(2, field(2, b"\x4a\x02\x0a\x00" * 10_000_000)))


def deep_request(kind: str) -> bytes:
    """A span with an attribute of 64 arrays, or lists, in each other."""
    inside = field(1, b"bottom")
    for _ in range(64):
        inside = (
            field(5, field(1, inside)) if kind == "array" else field(6, field(1, field(1, b"k") + field(2, inside)))
        )
    attribute = field(1, b"deep") + field(2, inside)
    return field(1, field(2, field(2, field(9, attribute))))


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def check(receiver: ReceiverProcess, growth: int) -> None:
    """It has not grown by more, and takes what comes next."""
    assert growth < 2 * LIMIT
    assert post(receiver, traces(span()).SerializeToString()) == 200
    assert call(receiver, traces(span(2)).SerializeToString()) == "OK"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_four_bombs_at_once(receiver: ReceiverProcess, encoding: str) -> None:
    body, before = bomb(encoding), receiver.peak_bytes(reset=True)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: post(receiver, body, encoding), range(4))) == [413] * 4
    check(receiver, receiver.peak_bytes() - before)


def test_a_bomb_over_grpc(receiver: ReceiverProcess) -> None:
    body, before = bytes(2**29), receiver.peak_bytes(reset=True)
    assert call(receiver, body, grpc.Compression.Gzip) == "RESOURCE_EXHAUSTED"
    check(receiver, receiver.peak_bytes() - before)


def test_a_span_of_a_hundred_megabytes(receiver: ReceiverProcess) -> None:
    body, before = traces(span(name="x" * 100_000_000)).SerializeToString(), receiver.peak_bytes(reset=True)
    with contextlib.suppress(httpx.TransportError):  # the connection is closed while the client still writes
        assert post(receiver, body) == 413
    assert call(receiver, body) == "RESOURCE_EXHAUSTED"
    check(receiver, receiver.peak_bytes() - before)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_ten_million_attributes(receiver: ReceiverProcess, protocol: str) -> None:
    body, before = many_attributes(), receiver.peak_bytes(reset=True)
    if protocol == "http":
        assert post(receiver, body) == 400
    else:
        assert call(receiver, body) == "INVALID_ARGUMENT"
    check(receiver, receiver.peak_bytes() - before)


@pytest.mark.parametrize("inside", [b"{},", b"[],", b"0,"])
def test_json_of_millions_of_values(receiver: ReceiverProcess, inside: bytes) -> None:
    body = b'{"resourceSpans":[' + inside * (LIMIT // 4) + b"{}]}"
    small = b'{"resourceSpans":[' + inside * 200_000 + b"{}]}"
    before = receiver.peak_bytes(reset=True)
    assert post(receiver, body, kind="application/json") == 413
    assert post(receiver, small, kind="application/json") in (200, 400)
    check(receiver, receiver.peak_bytes() - before)


@pytest.mark.parametrize("kind", ["array", "list"])
def test_nesting_of_sixty_four_and_of_fifty_thousand_levels(receiver: ReceiverProcess, kind: str) -> None:
    body = deep_request(kind)
    text = {
        "array": ('{"arrayValue":{"values":[', "]}}"),
        "list": ('{"kvlistValue":{"values":[{"key":"k","value":', "}]}}"),
    }
    before = receiver.peak_bytes(reset=True)
    assert post(receiver, body) == 400
    assert call(receiver, body) == "INVALID_ARGUMENT"
    for levels in (64, 50_000):
        inside = text[kind][0] * levels + "{}" + text[kind][1] * levels
        request = '{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":' + inside + "}]}}]}"
        assert post(receiver, request.encode(), kind="application/json") == 400
    check(receiver, receiver.peak_bytes() - before)
