"""Clients that are slow, many, or send what nobody asked for: cut off in time, without harm to the others."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import pytest
from otlp_payloads import logs, record

from tidegauge.collectors.receiver import http as http_module
from tidegauge.collectors.receiver.json import to_protobuf

if TYPE_CHECKING:
    from conftest import HeldTransport, Pipeline

HEAD = b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
QUICK = {"header_timeout_s": 0.3, "body_timeout_s": 0.4, "idle_timeout_s": 0.5}
BODY = logs(record()).SerializeToString()
LIMIT_S = 10.0


@contextlib.contextmanager
def connected(pipeline: Pipeline) -> Iterator[socket.socket]:
    where = urlsplit(pipeline.server.http_url)
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=LIMIT_S) as client:
        yield client


def end_of(client: socket.socket, drip: bytes = b"") -> tuple[bytes, float]:
    """What the server still says until it closes, and the seconds that takes; ``drip`` is sent every 50 ms."""
    begun, said = time.monotonic(), b""
    client.settimeout(0.05)
    while time.monotonic() < begun + LIMIT_S:
        try:
            chunk = client.recv(4096)
        except TimeoutError:
            with contextlib.suppress(OSError):
                client.sendall(drip)
            continue
        except OSError:
            break
        if not chunk:
            break
        said += chunk
    return said, time.monotonic() - begun


@pytest.mark.parametrize(
    ("sent", "drip", "part", "status"),
    [
        (b"", b"", "head", b"408"),
        (b"POST /v1/logs HT", b"", "head", b"408"),
        (HEAD, b"x-a: b\r\n", "head", b"408"),
        (HEAD + b"content-length: 1000\r\n\r\n", b"", "body", b""),
        (HEAD + b"content-length: 1000\r\n\r\n", b"x", "body", b""),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n", "body", b""),
    ],
)
def test_a_slow_client_is_cut_off_however_it_drips(
    receiving: Any, held: HeldTransport, sent: bytes, drip: bytes, part: str, status: bytes
) -> None:
    with receiving(held, **QUICK) as pipeline:
        before = pipeline.metric("tidegauge_client_timeouts_total", part=part)
        with connected(pipeline) as client:
            client.sendall(sent)
            said, seconds = end_of(client, drip)
        assert seconds < 3
        assert said[9:12] == status
        assert pipeline.metric("tidegauge_client_timeouts_total", part=part) == before + 1
        assert pipeline.metric("tidegauge_pending_bytes") == 0
        assert pipeline.post("logs", b"").status_code == 200


def test_an_idle_connection_is_closed_and_a_used_one_kept(receiving: Any, held: HeldTransport) -> None:
    with receiving(held, **QUICK) as pipeline, connected(pipeline) as client:
        for _ in range(3):
            client.sendall(HEAD + b"content-length: 0\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
            time.sleep(0.25)
        said, seconds = end_of(client)
        assert (said, seconds < 3) == (b"", True)


def test_a_connection_answered_before_its_body_had_come_is_kept_as_long_as_any_other(
    receiving: Any, held: HeldTransport
) -> None:
    times = {"header_timeout_s": 0.3, "body_timeout_s": 5, "idle_timeout_s": 1.5}
    with receiving(held, max_body_bytes=1000, **times) as pipeline, connected(pipeline) as client:
        client.sendall(HEAD + b"content-length: 1200\r\n\r\n")
        answer = b""
        while not answer.endswith(b"smaller batches"):
            answer += client.recv(4096)
        client.sendall(bytes(1200))
        time.sleep(0.7)
        client.sendall(HEAD + b"content-length: 0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        said, seconds = end_of(client)
    assert answer.startswith(b"HTTP/1.1 413")
    assert (said, 1 < seconds < 5) == (b"", True)


def test_empty_lines_between_requests_keep_no_connection_open(receiving: Any, held: HeldTransport) -> None:
    with receiving(held, **QUICK) as pipeline, connected(pipeline) as client:
        client.sendall(HEAD + b"content-length: 0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        _, seconds = end_of(client, b"\r\n")
        assert seconds < 3


@pytest.mark.parametrize(
    "head", [b"POST /" + b"x" * 400_000, HEAD + b"x-long: " + b"y" * 400_000, HEAD + b"x-a: b\r\n" * 50_000]
)
def test_an_endless_head_is_refused(receiving: Any, held: HeldTransport, head: bytes) -> None:
    with receiving(held) as pipeline:
        with connected(pipeline) as client:
            with contextlib.suppress(OSError):
                client.sendall(head)
            said, seconds = end_of(client)
        assert seconds < 3
        assert said[9:12] in (b"431", b"")  # a reset may overtake the answer
        assert pipeline.post("logs", b"").status_code == 200


def test_connections_beyond_the_bound_are_asked_to_come_again(receiving: Any, held: HeldTransport) -> None:
    with receiving(held, max_connections=3) as pipeline, contextlib.ExitStack() as stack:
        pipeline.client.close()
        for _ in range(3):
            client = stack.enter_context(connected(pipeline))
            client.sendall(HEAD + b"content-length: 0\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        with connected(pipeline) as refused:
            said, _ = end_of(refused)
            assert said.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in said
        client.sendall(HEAD + b"content-length: 0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_many_requests_sent_at_once_on_one_connection_do_not_pile_up(receiving: Any, held: HeldTransport) -> None:
    with receiving(held) as pipeline:
        with connected(pipeline) as client:
            request = HEAD + f"content-length: {len(BODY)}\r\n\r\n".encode() + BODY
            with contextlib.suppress(OSError):
                client.sendall(request * 1000)
            said, seconds = end_of(client)
        assert (said, seconds < 3) == (b"", True)
        while not held.taken:
            time.sleep(0.01)
        held.settle()


def test_the_body_of_a_refused_request_is_read_no_further_than_its_limit(receiving: Any, held: HeldTransport) -> None:
    with receiving(held, max_body_bytes=2**20) as pipeline, connected(pipeline) as client:
        client.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        taken = 0
        with contextlib.suppress(OSError):
            for _ in range(64):
                client.sendall(b"100000\r\n" + bytes(2**20) + b"\r\n")
                taken += 1
        assert taken < 32


def test_a_grpc_client_that_opens_a_call_and_sends_nothing_is_let_go(receiving: Any, held: HeldTransport) -> None:
    with receiving(held, **QUICK) as pipeline:
        target = pipeline.server.grpc_url.removeprefix("http://")
        with grpc.insecure_channel(target) as channel:
            export = channel.stream_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
            begun = time.monotonic()

            def never() -> Iterator[bytes]:
                time.sleep(3)
                yield b""

            with pytest.raises(grpc.RpcError) as caught:
                export(never(), timeout=LIMIT_S)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert time.monotonic() - begun < 3
        pipeline.call("logs", b"")


def test_slow_work_on_one_request_holds_up_no_other(
    receiving: Any, held: HeldTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def slow(*given: Any) -> bytes:
        release.wait(LIMIT_S)
        return to_protobuf(*given)

    monkeypatch.setattr(http_module, "to_protobuf", slow)
    with receiving(held) as pipeline, contextlib.ExitStack() as stack:
        client = stack.enter_context(connected(pipeline))
        client.sendall(HEAD.replace(b"x-protobuf", b"json") + b"content-length: 2\r\n\r\n{}")
        assert pipeline.post("logs", b"").status_code == 200
        pipeline.call("logs", b"")
        release.set()
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_an_unforeseen_failure_is_logged_and_asks_to_come_again(
    receiving: Any, held: HeldTransport, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("nobody thought of this")

    with receiving(held) as pipeline:
        monkeypatch.setattr(pipeline.server._intake, "accept", broken)
        answer = pipeline.post("logs", BODY)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        with pytest.raises(grpc.RpcError) as caught:
            pipeline.call("logs", BODY)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert caplog.text.count("nobody thought of this") >= 2
