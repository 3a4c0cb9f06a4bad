"""What the SDK does while the receiver is away, slow, full, or wrong."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from sdk_sink import Sink
from tls_certificate import CERTIFICATE, PRIVATE_KEY

import tidegauge
from tidegauge.collectors.sdk import frames, otlp, post
from tidegauge.collectors.sdk.drops import Drops
from tidegauge.collectors.sdk.post import Answer, Lane, Later, Refused, Taken
from tidegauge.collectors.sdk.retry import Backoff
from tidegauge.collectors.sdk.sender import Sender

Serve = Callable[..., Sink]
FRAME = [{"x": n, "y": 1} for n in range(10)]


@pytest.fixture
def serve() -> Iterator[Serve]:
    made: list[Sink] = []

    def make(*statuses: int, **options: Any) -> Sink:
        made.append(Sink(*statuses, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def log_everything(client: tidegauge.Client) -> int:
    """One of each kind; returns how many records that are."""
    client.log_prediction("m", {"x": 1}, prediction=1)
    client.log_predictions("m", FRAME, features=["x"], prediction="y")
    client.log_label("m", "a", 1)
    client.log_labels("m", ["a"], [1])
    client.log_outcome("click")
    with client.request(), client.llm_call("gpt"):
        pass
    return 16


# Retries


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_the_receiver_puts_off_is_sent_again_until_it_is_taken(serve: Serve, status: int) -> None:
    sink = serve(status, status)
    client = tidegauge.init("shop", sink.url)
    logged = log_everything(client)
    assert client.flush(30)
    assert (client.sent, client.dropped, client.queued) == (logged, 0, 0)
    assert (len(sink.spans()), len(sink.events())) == (2, 14)
    client.shutdown()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 500, 301])
def test_what_is_refused_for_good_is_dropped_and_counted_and_the_next_goes_on(serve: Serve, status: int) -> None:
    sink = serve(status)
    client = tidegauge.init("shop", sink.url)
    client.log_prediction("m", {}, prediction=1)
    assert client.flush(30)
    client.log_prediction("m", {}, prediction=2)
    assert client.flush(30)
    assert [each["prediction.value"] for each in sink.predictions()] == ["2"]
    assert (client.sent, client.drops) == (1, {"refused by the receiver": 1})
    client.shutdown()


def test_of_records_sent_together_only_the_one_at_fault_is_dropped(serve: Serve) -> None:
    sink = serve(refuses=lambda payload: b"rotten" in payload)
    client = tidegauge.init("shop", sink.url)
    for number in range(100):
        client.log_prediction("m", {"x": number}, prediction="rotten" if number == 37 else "fine")
    assert client.flush(30)
    assert [each["feature.x"] for each in sink.predictions()] == [n for n in range(100) if n != 37]
    assert (client.sent, client.drops) == (99, {"refused by the receiver": 1})
    assert sink.attempts < 30
    client.shutdown()


def test_a_receiver_that_refuses_everything_is_not_asked_for_ever(serve: Serve) -> None:
    sink = serve(refuses=lambda payload: True)
    client = tidegauge.init("shop", sink.url)
    for _ in range(1_000):
        client.log_prediction("m", {}, prediction=1)
    assert client.flush(30)
    assert client.drops == {"refused by the receiver": 1_000}
    assert sink.attempts < 500  # halving everything would be 1,999; each of the few requests costs at most 49
    client.shutdown()


def test_partial_success_is_counted(serve: Serve) -> None:
    answer = ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records, answer.partial_success.error_message = 2, "too old"
    sink = serve(body=answer.SerializeToString())
    client = tidegauge.init("shop", sink.url)
    for _ in range(5):
        client.log_prediction("m", {}, prediction=1)
    assert client.flush(30)
    assert (client.sent, client.drops) == (3, {"refused by the receiver": 2})
    client.shutdown()


@pytest.mark.parametrize("body", [b"", b"\xff\xff nonsense", b"x" * 200_000])
def test_an_answer_that_is_not_otlps_is_still_a_success(serve: Serve, body: bytes) -> None:
    client = tidegauge.init("shop", serve(body=body).url)
    client.log_prediction("m", {}, prediction=1)
    assert client.flush(30)
    assert (client.sent, client.dropped) == (1, 0)
    client.shutdown()


def test_waits_double_with_jitter_and_never_cut_a_stated_one_short() -> None:
    backoff = Backoff(Random(7))
    waits = [backoff.wait_s(None) for _ in range(10)]
    assert all(half <= wait <= 2 * half for wait, half in zip(waits, [0.25 * 2**n for n in range(6)], strict=False))
    assert all(15 <= wait <= 30 for wait in waits[6:])
    stated = [backoff.wait_s(10) for _ in range(100)]
    assert 10 <= min(stated) < max(stated) <= 12
    assert backoff.wait_s(1e9) <= 360
    backoff.reset()
    assert backoff.wait_s(None) <= 0.5


# gRPC


class GrpcSink(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers with each of ``errors`` first."""

    def __init__(self, *errors: tuple[grpc.StatusCode, bytes | None]) -> None:
        self.errors, self.taken, self.metadata = list(errors), list[tuple[str, bytes]](), dict[str, str]()
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((self,))
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, details: Any) -> Any:
        def take(payload: bytes, context: grpc.ServicerContext) -> bytes:
            if self.errors:
                code, wait = self.errors.pop(0)
                if wait is not None:
                    context.set_trailing_metadata((("grpc-status-details-bin", wait),))
                context.abort(code, "as told")
            self.taken.append((details.method, payload))
            self.metadata |= dict(context.invocation_metadata())
            return b""

        return grpc.unary_unary_rpc_method_handler(take)

    def close(self) -> None:
        self._server.stop(0).wait()


def retry_info(seconds: int) -> bytes:
    status = Status(code=8)
    status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=seconds)))
    written: bytes = status.SerializeToString()
    return written


def test_over_grpc_what_is_put_off_is_sent_again_and_the_rest_is_final() -> None:
    soon = retry_info(0)
    sink = GrpcSink(
        (grpc.StatusCode.UNAVAILABLE, soon),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, soon),
        (grpc.StatusCode.DEADLINE_EXCEEDED, b"\xff broken"),
    )
    client = tidegauge.init("shop", sink.url, protocol="grpc", api_key="tg_k")
    logged = log_everything(client)
    assert client.flush(30)
    assert (client.sent, client.dropped) == (logged, 0)
    assert {method.rpartition("/")[0] for method, _ in sink.taken} == {
        "/opentelemetry.proto.collector.trace.v1.TraceService",
        "/opentelemetry.proto.collector.logs.v1.LogsService",
    }
    assert sink.metadata["authorization"] == "Bearer tg_k"
    sink.errors = [(grpc.StatusCode.UNAUTHENTICATED, None)]
    client.log_prediction("m", {}, prediction=1)
    assert client.flush(30)
    sink.errors = [(grpc.StatusCode.RESOURCE_EXHAUSTED, None)]
    client.log_prediction("m", {}, prediction=1)
    assert client.flush(30)
    assert client.drops == {"refused by the receiver": 2}
    client.shutdown()
    sink.close()


# Away, slow, unknown, untrusted


def test_a_receiver_that_comes_back_gets_everything(unused_port: int) -> None:
    away = tidegauge.init("shop", f"http://127.0.0.1:{unused_port}")
    for number in range(50):
        away.log_prediction("m", {"n": number}, prediction=1)
    assert not away.flush(0.3)
    assert (away.queued, away.dropped) == (50, 0)
    sink = Sink()
    stop = _relay(unused_port, int(sink.url.rpartition(":")[2]))
    assert away.flush(30)
    assert sorted(each["feature.n"] for each in sink.predictions()) == list(range(50))
    away.shutdown()
    stop()
    sink.close()


def _relay(listen: int, to: int) -> Callable[[], None]:
    """A port that leads to another one; returns what closes it."""
    server = socket.create_server(("127.0.0.1", listen))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with source, target:
            while piece := _received(source):
                target.sendall(piece)

    def accept() -> None:
        while True:
            try:
                taken, _ = server.accept()
            except OSError:
                return
            onwards = socket.create_connection(("127.0.0.1", to))
            for pair in ((taken, onwards), (onwards, taken)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()

    def close() -> None:
        server.shutdown(socket.SHUT_RDWR)
        server.close()

    return close


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(65_536)
    except OSError:
        return b""


@pytest.mark.parametrize("trouble", ["nobody listens", "no such name", "the name service hangs", "never answers"])
def test_no_trouble_of_the_network_costs_the_service_time_or_exceptions(
    serve: Serve, unused_port: int, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    hang, sink = threading.Event(), serve()
    url = f"http://127.0.0.1:{unused_port}"
    if trouble == "no such name":
        url = "http://no-such-name.invalid:4318"
    if trouble == "the name service hangs":
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: hang.wait(30) and [])
    if trouble == "never answers":
        url = sink.url
        sink.released.clear()
    client = tidegauge.init("shop", url)
    assert frames  # imported, so that only the network is measured
    begun = time.monotonic()
    logged = log_everything(client)
    assert time.monotonic() - begun < 1.5
    assert not client.flush(0.2)
    client.shutdown(0.3)
    assert time.monotonic() - begun < 6
    assert client.dropped == logged
    hang.set()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "both.pem"
    path.write_text(CERTIFICATE + PRIVATE_KEY)
    return path


def test_a_private_authority_is_trusted_where_it_is_named(serve: Serve, certificate: Path) -> None:
    sink = serve(certificate=certificate)
    client = tidegauge.init("shop", sink.url, certificate=certificate, api_key="tg_k")
    client.log_prediction("m", {}, prediction=1)
    assert client.flush(30)
    assert sink.headers[0]["authorization"] == "Bearer tg_k"
    client.shutdown()


def test_a_receiver_that_cannot_be_trusted_gets_nothing(serve: Serve, certificate: Path) -> None:
    sink = serve(certificate=certificate)
    client = tidegauge.init("shop", sink.url)
    client.log_prediction("m", {}, prediction=1)
    assert not client.flush(0.5)
    client.shutdown(0.1)
    assert (sink.attempts, client.dropped) == (0, 1)


def test_compressed_requests_arrive(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    sink = serve()
    client = tidegauge.init("shop", sink.url)
    client.log_prediction("m", {"x": 1}, prediction=1)
    assert client.flush(30)
    assert (sink.headers[0]["content-encoding"], len(sink.predictions())) == ("gzip", 1)
    client.shutdown()


# The queue


class StuckPost:
    """Delivery that waits until it is released, and then answers as it is told."""

    def __init__(self, *answers: Answer) -> None:
        self.released, self.sent, self.answers = threading.Event(), list[bytes](), list(answers)

    def __call__(self, lane: Lane, payload: bytes) -> Answer:
        self.released.wait(30)
        if self.answers:
            return self.answers.pop(0)
        self.sent.append(payload)
        return Taken()

    def close(self) -> None:
        self.released.set()


def free(*answers: Answer) -> StuckPost:
    made = StuckPost(*answers)
    made.released.set()
    return made


def test_beyond_its_memory_the_queue_drops_and_counts() -> None:
    stuck = StuckPost()
    sender = Sender(lambda: stuck, max_bytes=10 * 110)
    for _ in range(15):
        sender.offer(Lane.LOGS, bytes(10), 3)
    assert (sender.drops, sender.queued) == ({"queue full": 15}, 30)
    stuck.released.set()
    assert sender.flush(10)
    assert (sum(map(len, stuck.sent)), sender.sent, sender.queued) == (100, 30, 0)
    sender.close(1)
    sender.offer(Lane.LOGS, b"late", 2)
    assert sender.drops == {"queue full": 15, "client shut down": 2}


def test_small_records_are_bounded_in_number_too() -> None:
    stuck = StuckPost()
    sender = Sender(lambda: stuck, max_bytes=10_000)
    for _ in range(1_000):
        sender.offer(Lane.LOGS, b"")
    assert sender.queued == 100
    sender.close(0)


def test_a_record_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    ready = free()
    sender = Sender(lambda: ready, max_bytes=100)
    sender.offer(Lane.FRAMES, bytes(5_000), 7)
    assert sender.flush(10)
    assert (sender.sent, sender.drops) == (7, {})
    sender.close(1)


def test_a_batch_job_waits_for_room_instead_of_dropping() -> None:
    stuck = StuckPost()
    sender = Sender(lambda: stuck, max_bytes=10 * 110, on_full="wait")
    offered: list[int] = []

    def offer() -> None:
        for number in range(15):
            sender.offer(Lane.LOGS, bytes(10))
            offered.append(number)

    job = threading.Thread(target=offer)
    job.start()
    job.join(0.2)
    assert (job.is_alive(), len(offered)) == (True, 10)
    stuck.released.set()
    job.join(10)
    assert sender.flush(10)
    assert (sum(map(len, stuck.sent)), sender.drops) == (150, {})
    sender.close(1)


def test_a_batch_job_that_waits_is_let_go_when_the_client_is_shut_down() -> None:
    sender = Sender(StuckPost, max_bytes=100, on_full="wait")
    sender.offer(Lane.LOGS, bytes(10))
    job = threading.Thread(target=sender.offer, args=(Lane.LOGS, bytes(10)))
    job.start()
    sender.close(0.1)
    job.join(10)
    assert not job.is_alive()
    assert sender.drops == {"not delivered before the end": 1, "client shut down": 1}


def test_frames_go_alone_and_requests_of_a_lane_together() -> None:
    stuck = StuckPost()
    sender = Sender(lambda: stuck)
    origin = otlp.origin({"service.name": "s"})
    sender.offer(Lane.FRAMES, b"frame one", 5)
    sender.offer(Lane.FRAMES, b"frame two", 5)
    sender.offer(Lane.LOGS, otlp.request({origin: [otlp.log_record(1, "ready", {})]}), 1)
    sender.offer(Lane.LOGS, otlp.log_record(2, "single", {}), 1, origin)
    stuck.released.set()
    assert sender.flush(10)
    assert [each for each in stuck.sent if each.startswith(b"frame")] == [b"frame one", b"frame two"]
    [logs] = [each for each in stuck.sent if b"frame" not in each]
    assert b"ready" in logs
    assert b"single" in logs
    sender.close(1)


def test_a_delivery_that_fails_in_an_unforeseen_way_is_dropped_and_the_next_goes_on() -> None:
    class Failing(StuckPost):
        def __call__(self, lane: Lane, payload: bytes) -> Answer:
            if payload == b"bad":
                raise RuntimeError("unforeseen")
            return super().__call__(lane, payload)

    failing = Failing()
    failing.released.set()
    sender = Sender(lambda: failing)
    sender.offer(Lane.FRAMES, b"bad", 4)
    assert sender.flush(10)
    sender.offer(Lane.FRAMES, b"good", 1)
    assert sender.flush(10)
    assert (failing.sent, sender.drops) == ([b"good"], {"refused by the receiver": 4})
    sender.close(1)


def test_what_is_put_off_for_too_long_is_counted_and_holds_up_the_rest_no_more() -> None:
    late = free(*[Later("busy", 0.01)] * 5_000)
    sender = Sender(lambda: late, give_up_after_s=0.1)
    sender.offer(Lane.LOGS, b"x", 4)
    assert sender.flush(10)
    assert sender.drops == {"put off for too long": 4}
    late.answers.clear()
    sender.offer(Lane.LOGS, b"y", 1)
    assert sender.flush(10)
    assert sender.sent == 1
    sender.close(1)


def test_at_the_end_what_is_put_off_is_tried_once_more_and_then_counted() -> None:
    late = free(Later("busy", 60))
    sender = Sender(lambda: late)
    sender.offer(Lane.LOGS, b"x", 4)
    while late.answers:
        time.sleep(0.01)
    begun = time.monotonic()
    sender.close(5)
    assert time.monotonic() - begun < 4
    assert (late.sent, sender.sent) == ([b"x"], 4)


def test_a_steady_stream_does_not_keep_a_flush_waiting() -> None:
    sender, stop = Sender(free), threading.Event()

    def stream() -> None:
        while not stop.is_set():
            sender.offer(Lane.LOGS, b"x")

    job = threading.Thread(target=stream)
    job.start()
    assert sender.flush(10)
    stop.set()
    job.join()
    sender.close(5)
    assert sender.drops == {}


def test_drops_are_logged_at_once_and_then_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    drops = Drops("record(s) lost", lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            drops.add(2, "queue full")
        now[0] = 61
        drops.add(1, "refused", "HTTP 400")
        drops.add(5, "refused")
        drops.say()
        drops.say()
    assert drops.by_reason == {"queue full": 20, "refused": 6}
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "2 record(s) lost: queue full",
        "19 record(s) lost: refused: HTTP 400",
        "5 record(s) lost",
    ]


def test_traces_answered_in_part_are_read_as_traces() -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 3
    assert post.partial(Lane.TRACES, answer.SerializeToString()) == Taken(3)
    assert Refused("x") == Refused("x", divisible=False)


class Hostile:
    """A value that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def abuse(client: Any) -> list[Callable[[], object]]:
    """Calls with arguments of the wrong kind, as a service makes them at night."""

    def steps() -> None:
        with client.request(7, tenant=5, slices={"n": 1, "h": Hostile()}) as request:
            request.set("hostile", Hostile())
            with client.retrieval("x") as search:
                search.documents(None)
                search.documents([1, 2])
            with client.llm_call(None) as call:
                call.cost("free")
                call.usage("many", None)
                call.input(Hostile())
                call.response(model=3)

    return [
        steps,
        lambda: client.log_prediction("m", None, prediction=1),
        lambda: client.log_prediction("m", {"x": Hostile()}, prediction=1),
        lambda: client.log_prediction("m", {"x": 1}, prediction=Hostile()),
        lambda: client.log_prediction("m", {1: 10**400}, prediction=1),
        lambda: client.log_prediction(None, {}, prediction=1),
        lambda: client.log_prediction("m", {}, prediction=1, timestamp="yesterday"),
        lambda: client.log_prediction("m", {}, prediction=1, slices=["a"], versions=5),
        lambda: client.log_predictions("m", None, features=None, prediction=None),
        lambda: client.log_label("m", None, Hostile()),
        lambda: client.log_labels("m", None, None),
        lambda: client.log_feedback("thumbs", "up"),
        lambda: client.log_outcome(None, None),
    ]


@pytest.mark.parametrize("capture", [False, True])
def test_nothing_that_a_service_passes_raises_in_it(serve: Serve, capture: bool) -> None:
    client = tidegauge.init("shop", serve().url, capture_content=capture)
    for call in abuse(client):
        call()
    rejected = client.rejected
    client.log_prediction("m", {"x": 1}, prediction="fine")
    assert client.flush(20)
    assert rejected >= 12
    assert client.rejected == rejected
    client.shutdown()


def test_a_queue_of_very_many_is_read_a_request_at_a_time() -> None:
    stuck = StuckPost()
    sender, origin = Sender(lambda: stuck), otlp.origin({})
    for number in range(20_000):
        sender.offer(Lane.LOGS, otlp.log_record(number, "e", {}), 1, origin)
    stuck.released.set()
    assert sender.flush(20)
    assert sender.sent == 20_000
    assert 4 <= len(stuck.sent) <= 6
    sender.close(1)


def test_what_the_service_passed_is_not_quoted_into_its_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    client = tidegauge.init("shop", serve().url)
    client.log_prediction("m", {}, prediction=1, score="secret 4711")  # type: ignore[arg-type]
    assert client.rejects == {"tidegauge.prediction": 1}
    assert "TypeError in records.py, line" in caplog.text
    assert "4711" not in caplog.text
    client.shutdown()
