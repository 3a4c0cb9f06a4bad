"""Receivers as processes: Kafka away, answers lost, bombs, oversized attributes, strangers and slow clients."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import pytest
import zstandard
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from oracle import Request
from processes import COMMAND, Tidegauge
from results import FULL, publish
from system import PROTOBUF, Load, System, post

from tidegauge.protobuf import varint

if TYPE_CHECKING:
    import httpx
    from broker import KafkaBroker
    from processes import ClickHouse

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

MIB = 2**20
BODY_LIMIT = 16 * MIB
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


def export(url: str, body: bytes, metadata: tuple[tuple[str, str], ...] = ()) -> None:
    """One OTLP/gRPC request of logs; raises grpc.RpcError."""
    with grpc.insecure_channel(urlsplit(url).netloc) as channel:
        channel.unary_unary(LOGS)(body, timeout=60, metadata=metadata)


def refusal(url: str, body: bytes) -> tuple[str, bool]:
    """The status of a gRPC request that fails, and whether it says when to come again."""
    with pytest.raises(grpc.RpcError) as raised:
        export(url, body)
    error: Any = raised.value
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return error.code().name, any(each.Is(RetryInfo.DESCRIPTOR) for each in Status.FromString(details).details)


def test_kafka_away_is_answered_with_come_again_and_nothing_acknowledged_is_lost(
    own_kafka_broker: KafkaBroker, clickhouse: ClickHouse, tmp_path: Path, name: str
) -> None:
    """Row 9. What was refused is sent again, as a client's queue does; what Kafka had after all is stored once."""
    from topics import Topics

    with Topics(own_kafka_broker, 2) as topics, System(topics, clickhouse, tmp_path, name) as system:
        receiver, sink = system.receiver(max_pending_bytes=8 * MIB), system.sink()
        system.send(receiver, *(system.oracle.logs(5) for _ in range(20)))
        own_kafka_broker.kill9()
        refused, hints = refused_while_away(system, receiver)
        grpc_answer = refusal(receiver.url("OTLP/gRPC"), system.oracle.logs(1).body)
        rss, alive = receiver.rss_bytes, receiver.alive
        began = time.monotonic()
        own_kafka_broker.start()
        send_again(system, receiver, refused)
        recovered_s = time.monotonic() - began
        system.drained(120)
        assert (receiver.terminate(), sink.terminate()) == (0, 0)
        verdict = system.verify(unsure=True)
        note = f"{len(refused)} requests answered 503 with Retry-After and sent again; receiver {rss / MIB:.0f} MiB"
        publish("9", "Kafka down", verdict, recovered_s=recovered_s, note=note)
    assert alive
    assert refused
    assert all(hints)
    assert grpc_answer == ("UNAVAILABLE", True)
    assert verdict.right, verdict
    assert rss < 350 * MIB


def refused_while_away(system: System, receiver: Tidegauge) -> tuple[list[Request], list[str]]:
    """Requests that were not acknowledged, and what each was told of when to come again."""
    from concurrent.futures import ThreadPoolExecutor

    requests = [system.oracle.logs(5) for _ in range(16 if FULL else 8)]
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(lambda each: post(system.client, receiver.url(), each), requests))
    assert {each.status_code for each in answers} == {503}
    return requests, [each.headers.get("retry-after", "") for each in answers]


def send_again(system: System, receiver: Tidegauge, requests: list[Request]) -> None:
    deadline = time.monotonic() + 120
    for each in requests:
        while post(system.client, receiver.url(), each).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        system.oracle.acknowledge(each)


def cut_off(url: str, request: Request) -> None:
    """Send a request and hang up before its answer can come."""
    place = urlsplit(url)
    head = f"POST /v1/{request.signal} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
    with socket.create_connection((place.hostname, place.port or 0)) as raw:
        raw.sendall(f"{head}content-length: {len(request.body)}\r\n\r\n".encode() + request.body)
        time.sleep(0.3)  # until it is in Kafka: the answer then comes to nobody
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.sample
def test_a_request_whose_answer_was_lost_is_stored_once_and_counted(system: System) -> None:
    """Row 10: sent again to the same receiver, to another, and to the first after a restart."""
    receiver, other, sink = system.receiver(), system.receiver(), system.sink()
    requests = [system.oracle.logs(5), system.oracle.traces(5), system.oracle.logs(3)]
    for each in requests:
        cut_off(receiver.url(), each)
        system.send(receiver, each)
        system.send(other, each)
    before = duplicates(receiver)
    assert receiver.terminate() == 0
    system.send(system.receiver(), *requests)
    system.drained()

    verdict, dropped = system.verify(), sink.metric("tidegauge_duplicate_requests_total")
    note = f"{before:g} repeats dropped by the receiver that had them, {dropped:g} by the sink"
    publish("10", "answer lost, request sent again", verdict, note=note)
    assert verdict.right, verdict
    assert before == len(requests)
    assert dropped == 2 * len(requests)
    store = system.clickhouse.store(system.name)
    counts = [store.value(f"SELECT count() FROM {table}") for table in ("predictions", "llm_calls")]
    store.close()
    assert counts == [8, 5]


def duplicates(receiver: Tidegauge) -> float:
    """Repeats that a receiver has dropped."""
    return receiver.metric("tidegauge_rejected_records_total", reason="duplicate")


def nested(depth: int) -> bytes:
    """A request whose only attribute is a string inside so many arrays; protobuf's own writer refuses to make one."""
    value = field(1, b"deep")
    for _ in range(depth):
        value = field(5, field(1, value))
    return field(1, field(2, field(2, field(6, field(1, b"bomb") + field(2, value)))))


def field(number: int, content: bytes) -> bytes:
    """A field of bytes in protobuf's wire format."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def of(value: AnyValue) -> bytes:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.attributes.append(KeyValue(key="bomb", value=value))
    return request.SerializeToString()


def many_attributes(count: int) -> bytes:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.attributes.extend(KeyValue(key="k", value=AnyValue(bool_value=True)) for _ in range(count))
    return request.SerializeToString()


def bombs() -> dict[str, tuple[bytes, str, int]]:
    """Bodies, how they are encoded, and the status that is right for each."""
    plain = of(AnyValue(string_value="x" * (100 * MIB if FULL else 20 * MIB)))
    zeros = bytes(200 * MIB if FULL else 40 * MIB)
    return {
        "a span of 100 MB": (plain, "", 413),
        "a gzip bomb": (gzip.compress(zeros), "gzip", 413),
        "a deflate bomb": (zlib.compress(zeros), "deflate", 413),
        "a zstd bomb": (zstandard.ZstdCompressor().compress(zeros), "zstd", 413),
        "1.5 M attributes": (many_attributes(MIB * 3 // 2), "", 400),
        "a body nested 10,000 deep": (b'{"resourceLogs":' + b"[" * 10_000, "json", 400),
    }


def test_bombs_are_refused_for_good_within_bounded_memory_and_others_are_served(
    system: System, client: httpx.Client
) -> None:
    """Row 11. The limit is set to 16 MiB, so that twice the limit is small."""
    receiver, sink = system.receiver(max_body_bytes=BODY_LIMIT), system.sink()
    system.send(receiver, system.oracle.logs(5))
    body = of(AnyValue(string_value="x" * (BODY_LIMIT - 200)))
    assert client.post(f"{receiver.url()}/v1/logs", content=body, headers=PROTOBUF).status_code == 200
    before, statuses, expected = receiver.peak_rss_bytes, {}, {}
    with Load(system, receiver, per_s=10) as load:
        for what, (bomb, encoding, status) in bombs().items():
            headers = {"content-type": "application/json"} if encoding == "json" else PROTOBUF
            headers = headers | ({"content-encoding": encoding} if encoding not in ("", "json") else {})
            answer = client.post(f"{receiver.url()}/v1/logs", content=bomb, headers=headers)
            statuses[what], expected[what] = answer.status_code, status
            assert "retry-after" not in answer.headers
    growth = receiver.peak_rss_bytes - before
    deep = client.post(f"{receiver.url()}/v1/logs", content=nested(64), headers=PROTOBUF).status_code
    too_large = refusal(receiver.url("OTLP/gRPC"), bytes(BODY_LIMIT + MIB))
    system.drained(120)
    assert (receiver.terminate(), sink.terminate()) == (0, 0)

    store = system.clickhouse.store(system.name)
    store.execute("ALTER TABLE otel_logs DELETE WHERE mapContains(LogAttributes, 'bomb') SETTINGS mutations_sync = 1")
    verdict = system.oracle.verify(store)
    store.close()
    note = f"memory grew by {growth / MIB:.0f} MiB at most, the limit being {BODY_LIMIT / MIB:.0f} MiB"
    publish("11", f"{len(statuses)} bombs", verdict, rejected=len(statuses), note=note)
    assert statuses == expected
    assert too_large == ("RESOURCE_EXHAUSTED", False)
    assert deep in (200, 400)
    assert set(load.answers) == {200}
    assert growth < 2 * BODY_LIMIT
    assert (verdict.lost, verdict.duplicates, verdict.altered) == (0, 0, 0)


def test_an_oversized_attribute_is_cut_with_a_marker_and_the_rest_is_stored(system: System) -> None:
    """Row 12: a prompt of 5 MB among others."""
    receiver, sink = system.receiver(), system.sink()
    normal, large = system.oracle.traces(5), system.oracle.traces(1)
    large_body = enlarged(large.body, "tide " * MIB)
    system.send(receiver, normal)
    answer = system.client.post(f"{receiver.url()}/v1/traces", content=large_body, headers=PROTOBUF)
    assert (answer.status_code, answer.content) == (200, b"")
    system.oracle.acknowledge(large)
    system.drained()
    assert sink.terminate() == 0

    store = system.clickhouse.store(system.name)
    text = str(store.value("SELECT SpanAttributes['gen_ai.prompt'] AS t FROM otel_traces WHERE t != ''"))
    store.close()
    verdict = system.verify()
    publish("12", "a prompt of 5 MB", verdict, note=f"kept {len(text)} characters: ...{text[-60:].strip()}")
    assert verdict.right, verdict
    assert text.startswith("tide tide ")
    assert len(text) < MIB
    assert str(5 * MIB) in text[-200:]


def enlarged(body: bytes, text: str) -> bytes:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest.FromString(body)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.attributes.append(KeyValue(key="gen_ai.prompt", value=AnyValue(string_value=text)))
    return request.SerializeToString()


def new_key(tenant: str) -> tuple[str, dict[str, str]]:
    """A key from the command, and its entry for the configuration."""
    found = subprocess.run([COMMAND, "keys", "create", "--tenant", tenant, "--json"], capture_output=True, check=True)
    made: dict[str, Any] = json.loads(found.stdout)
    return made["key"], made["entry"]


def test_strangers_are_refused_tenants_come_from_the_key_and_slow_clients_are_cut_off(
    system: System, client: httpx.Client
) -> None:
    """Row 26."""
    key, entry = new_key("acme")
    limits = {"header_timeout_s": 1, "body_timeout_s": 1, "max_connections": 60}
    receiver, sink = system.receiver(api_keys=[entry], **limits), system.sink()
    request = system.oracle.logs(3)
    attempts = {
        "no key": {},
        "no token": {"authorization": "Bearer"},
        "malformed": {"authorization": "Bearer ,;="},
        "unknown": {"authorization": "Bearer tg_" + "A" * 43},
        "hash as key": {"authorization": f"Bearer {entry['hash']}"},
    }
    url = f"{receiver.url()}/v1/logs"
    statuses = {
        what: client.post(url, content=b"\xff not parsed", headers=PROTOBUF | headers).status_code
        for what, headers in attempts.items()
    }
    held = [slow_client(receiver.url()) for _ in range(40)]
    good = client.post(url, content=request.body, headers=PROTOBUF | {"authorization": f"Bearer {key}"})
    system.oracle.acknowledge(request)
    closed_s = [closed_after(each) for each in held]
    system.drained()
    assert sink.terminate() == 0

    store = system.clickhouse.store(system.name)
    found = store.rows("SELECT ResourceAttributes['tidegauge.tenant.verified'] AS tenant FROM otel_logs")
    tenants = {row["tenant"] for row in found}
    store.close()
    verdict = system.verify()
    note = f"40 clients that sent half a head were cut off after at most {max(closed_s):.1f} s"
    publish("26", "strangers and slow clients", verdict, rejected=len(statuses), note=note)
    assert statuses == {"no key": 401, "no token": 401, "malformed": 401, "unknown": 403, "hash as key": 401}
    assert good.status_code == 200
    assert tenants == {"acme"}
    assert max(closed_s) < 10
    assert verdict.right, verdict
    assert key not in receiver.text


def slow_client(url: str) -> socket.socket:
    """A connection that has sent half of a request's head."""
    place = urlsplit(url)
    raw = socket.create_connection((place.hostname, place.port or 0), timeout=20)
    raw.sendall(b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-")
    return raw


def closed_after(raw: socket.socket) -> float:
    """Seconds until the other side hangs up."""
    began = time.monotonic()
    with raw:
        try:
            while raw.recv(1000):
                pass
        except ConnectionError:
            pass
    return time.monotonic() - began
