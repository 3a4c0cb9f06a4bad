"""What the receiver does when there is too much: in one request, under way, or of what the store can take."""

from __future__ import annotations

import contextlib
import gzip
import socket
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
import zstandard
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from otlp_payloads import logs, predictions, record, span, traces

from tidegauge.collectors import direct as direct_module
from tidegauge.collectors.receiver import ReceiverServer
from tidegauge.collectors.receiver.body import TooLarge, decompress
from tidegauge.config import Receiver
from tidegauge.errors import InvalidPayload, StoreError, TidegaugeError

if TYPE_CHECKING:
    from conftest import HeldTransport, Pipeline

PROTOBUF, JSON = "application/x-protobuf", "application/json"
LIMIT = 4 * 2**20  # of the fixtures' receivers
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
}


def large(size: int) -> bytes:
    """A valid request of about ``size`` bytes, which compress to almost nothing."""
    return logs(
        *(record(attributes=span().attributes, severity_text="x" * 1000) for _ in range(size // 1000))
    ).SerializeToString()


def bomb(encoding: str, size: int) -> bytes:
    """A body of ``size`` zero bytes, compressed, made without ever holding them."""
    piece = bytes(2**20)
    if encoding == "zstd":
        stream: Any = zstandard.ZstdCompressor(level=3).compressobj()
    else:
        stream = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    return b"".join(stream.compress(piece) for _ in range(size // len(piece))) + bytes(stream.flush())


@pytest.mark.parametrize("encoding", ["", *COMPRESSIONS])
def test_a_request_beyond_the_limit_is_refused_for_good_before_and_after_decompression(
    pipeline: Pipeline, encoding: str
) -> None:
    before = pipeline.metric("tidegauge_rejected_records_total", reason="too large")
    body = large(LIMIT + 200_000)
    answer = pipeline.post("logs", COMPRESSIONS[encoding](body) if encoding else body, encoding=encoding)
    assert answer.status_code == 413
    assert b"send smaller batches" in answer.content
    assert "retry-after" not in answer.headers
    assert pipeline.metric("tidegauge_rejected_records_total", reason="too large") == before + 1
    assert pipeline.post("logs", logs(record()).SerializeToString()).status_code == 200


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_grpc_request_beyond_the_limit_is_refused_without_inviting_a_retry(
    pipeline: Pipeline, compression: grpc.Compression
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        pipeline.call("logs", large(LIMIT + 200_000), compression=compression)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "grpc-status-details-bin" not in dict(error.trailing_metadata())


def test_a_request_just_below_the_limit_is_taken(pipeline: Pipeline) -> None:
    body = large(LIMIT - 200_000)
    assert LIMIT - 400_000 < len(body) < LIMIT
    assert pipeline.post("logs", gzip.compress(body, 1), encoding="gzip").status_code == 200
    pipeline.flush()
    assert pipeline.count("otel_logs") == (LIMIT - 200_000) // 1000


def test_a_body_without_a_length_is_cut_off_at_the_limit(direct: Pipeline) -> None:
    def endless() -> Any:
        for _ in range(64):
            yield bytes(2**20)

    with contextlib.suppress(Exception):  # the connection may be closed while the client still writes
        assert direct.post("logs", endless()).status_code == 413
    assert direct.post("logs", logs(record()).SerializeToString()).status_code == 200


@pytest.mark.parametrize("encoding", COMPRESSIONS)
def test_a_bomb_of_half_a_gigabyte_costs_no_more_memory_than_twice_the_limit(encoding: str) -> None:
    limit, body = 32 * 2**20, bomb(encoding, 2**29)
    assert len(body) < 2 * 2**20
    before = _peak_bytes(reset=True)
    for _ in range(3):
        with pytest.raises(TooLarge, match="when decompressed"):
            decompress(body, encoding, limit)
    assert _peak_bytes() - before < 2 * limit


def test_a_bomb_sent_to_the_receiver_leaves_it_working_within_its_memory(receiving: Any, held: HeldTransport) -> None:
    limit, body = 32 * 2**20, bomb("gzip", 2**29)
    with receiving(held, max_body_bytes=limit) as pipeline:
        pipeline.post("logs", b"")
        before = _peak_bytes(reset=True)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: pipeline.post("logs", body, encoding="gzip").status_code, range(4)))
        assert answers == [413] * 4
        assert _peak_bytes() - before < 2 * limit
        assert pipeline.post("logs", b"").status_code == 200


def test_a_zstd_frame_that_asks_for_a_huge_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = stream.compress(b"a" * 1000) + stream.flush()
    with pytest.raises(InvalidPayload, match="not zstd"):
        decompress(body, "zstd", 2**20)


def _peak_bytes(reset: bool = False) -> int:
    """The most memory this process has held at a time, since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024


# Too much under way


def test_beyond_what_may_be_under_way_a_request_is_asked_to_come_again(receiving: Any, held: HeldTransport) -> None:
    bodies = [predictions([f"{part}-{number}" for number in range(100)], "m") for part in range(12)]
    with receiving(held, max_pending_bytes=len(bodies[0]) * 10) as pipeline, ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(pipeline.post, "logs", body) for body in bodies[:10]]
        _until(lambda: len(held.taken) == 10)
        assert pipeline.metric("tidegauge_pending_bytes") == sum(map(len, bodies[:10]))

        answer = pipeline.post("logs", bodies[10])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        with pytest.raises(grpc.RpcError) as caught:
            pipeline.call("logs", bodies[11])
        assert _retry_after_s(caught.value) == 1
        json = pipeline.post("logs", b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{}]}]}]}', JSON)
        assert (json.status_code, json.json()["code"]) == (503, 14)

        held.settle()
        assert [each.result().status_code for each in waiting] == [200] * 10
        assert pipeline.metric("tidegauge_pending_bytes") == 0
        again = pool.submit(pipeline.post, "logs", bodies[10])
        _until(lambda: len(held.taken) == 1)
        held.settle()
        assert again.result().status_code == 200


def test_bodies_that_are_still_coming_count_as_under_way(receiving: Any, held: HeldTransport) -> None:
    head = b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n"
    with receiving(held, max_pending_bytes=1000) as pipeline, contextlib.ExitStack() as stack:
        where = httpx.URL(pipeline.server.http_url)
        uploading = stack.enter_context(socket.create_connection((where.host, where.port or 0)))
        uploading.sendall(head + b"x" * 100)
        _until(lambda: pipeline.metric("tidegauge_pending_bytes") == 900)
        answer = pipeline.post("logs", predictions(["a"] * 3, "m"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        with pytest.raises(grpc.RpcError) as caught:
            pipeline.call("logs", predictions(["a"] * 3, "m"))
        assert _retry_after_s(caught.value) == 1
        uploading.close()
        _until(lambda: pipeline.metric("tidegauge_pending_bytes") == 0)
        assert pipeline.post("logs", b"").status_code == 200


def test_a_single_request_larger_than_what_may_be_under_way_is_still_taken(receiving: Any, held: HeldTransport) -> None:
    with receiving(held, max_pending_bytes=10) as pipeline, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pipeline.post, "logs", predictions(["a"], "m"))
        _until(lambda: len(held.taken) == 1)
        held.settle()
        assert waiting.result().status_code == 200


def test_success_is_answered_only_when_the_record_is_durable(receiving: Any, held: HeldTransport) -> None:
    with receiving(held) as pipeline, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(pipeline.post, "traces", traces(span(number)).SerializeToString()) for number in (1, 2)]
        _until(lambda: len(held.taken) == 2)
        time.sleep(0.05)
        assert not any(each.done() for each in waiting)
        held.settle()
        assert [each.result().status_code for each in waiting] == [200, 200]


def test_a_transport_that_fails_in_an_unforeseen_way_means_come_again(receiving: Any, held: HeldTransport) -> None:
    with receiving(held) as pipeline, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pipeline.post, "logs", logs(record()).SerializeToString())
        _until(lambda: len(held.taken) == 1)
        held.settle(TidegaugeError("who knows"))
        assert (waiting.result().status_code, waiting.result().headers["retry-after"]) == (503, "5")


# The store


@pytest.mark.parametrize(("code", "http", "rpc"), [(241, 503, "UNAVAILABLE"), (53, 400, "INVALID_ARGUMENT")])
def test_a_transient_error_of_the_store_invites_a_retry_and_a_final_one_does_not(
    direct: Pipeline, monkeypatch: pytest.MonkeyPatch, code: int, http: int, rpc: str
) -> None:
    def raising(*_: object) -> None:
        raise StoreError(f"Code: {code}. no", code)

    monkeypatch.setattr(direct_module, "insert_exports", raising)
    answer = direct.post("logs", predictions(["a"], "m"))
    assert answer.status_code == http
    assert ("retry-after" in answer.headers) == (http == 503)
    with pytest.raises(grpc.RpcError) as caught:
        direct.call("logs", predictions(["b"], "m"))
    assert caught.value.code().name == rpc
    assert _retry_after_s(caught.value) == (2 if http == 503 else None)


def test_what_was_counted_as_accepted_is_what_was_stored(direct: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("tidegauge_accepted_records_total", "tidegauge_stored_records_total")
    before = [direct.metric(name, signal="logs") for name in names]
    for number in range(5):
        direct.post("logs", predictions([f"{number}-{each}" for each in range(7)], "m")).raise_for_status()
    monkeypatch.setattr(direct_module, "insert_exports", _refusing)
    deferred = direct.metric("tidegauge_deferred_requests_total", signal="logs")
    direct.post("logs", predictions(["lost"], "m"))
    assert [direct.metric(name, signal="logs") for name in names] == [each + 35 for each in before]
    assert direct.metric("tidegauge_deferred_requests_total", signal="logs") == deferred + 1


def _refusing(*_: object) -> None:
    raise StoreError("Code: 252. too many parts", 252)


# The addresses


def test_a_port_that_is_taken_is_named_with_what_to_do(receiving: Any, held: HeldTransport) -> None:
    with receiving(held) as pipeline:
        http = int(pipeline.server.http_url.rpartition(":")[2])
        for settings in ({"http_port": http, "grpc_port": 0}, {"http_port": 0, "grpc_port": pipeline.server.grpc_port}):
            with pytest.raises(TidegaugeError, match="cannot listen"):
                ReceiverServer(held, Receiver(**settings))
        assert pipeline.post("logs", b"").status_code == 200


def test_health_and_metrics_are_served_beside_the_signals(direct: Pipeline) -> None:
    assert direct.client.get(f"{direct.server.http_url}/healthz").text == "ok\n"
    assert "tidegauge_accepted_records_total" in direct.client.get(f"{direct.server.http_url}/metrics").text
    assert direct.client.get(f"{direct.server.http_url}/v1/logs").status_code == 405
    assert direct.post("profiles", b"").status_code == 404


def test_the_receiver_listens_on_ipv6_as_well(receiving: Any, held: HeldTransport) -> None:
    with receiving(held, host="::1") as pipeline:
        assert pipeline.server.http_url.startswith("http://[::1]:")
        assert pipeline.post("logs", b"").status_code == 200
        pipeline.call("logs", b"")


def _retry_after_s(error: Any) -> float | None:
    raw = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    if raw is None:
        return None
    found = RetryInfo()
    assert Status.FromString(raw).details[0].Unpack(found)
    return float(found.retry_delay.ToTimedelta().total_seconds())


def _until(condition: Callable[[], bool], limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
