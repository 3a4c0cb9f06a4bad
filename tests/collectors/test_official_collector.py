"""The official Collector beside ours and through ours, on a real broker: what either sends, the other understands.

Skipped where `make collector` has not built it: CI does not, and so this says nothing there.
"""

from __future__ import annotations

import re
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.message import Message
from official_collector import FOLDER, OfficialCollector, missing, otlp_receiver, pipelines
from official_traffic import PATHS, ROWS, TABLES, post_all, requests, stored, stored_all, until
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otlp_payloads import attributes
from sdk_sink import Sink as HttpSink
from tls_certificate import CERTIFICATE, PRIVATE_KEY

import tidegauge
from tidegauge.collectors.direct import DirectTransport
from tidegauge.collectors.kafka import KafkaTransport, Sink, create_topics
from tidegauge.collectors.receiver.keys import create_key
from tidegauge.collectors.schema import insert_exports
from tidegauge.config import Direct, Kafka
from tidegauge.errors import Backpressure
from tidegauge.model import Export, Transport
from tidegauge.store import Store

if TYPE_CHECKING:
    from broker import KafkaBroker

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

ROOT = Path(__file__).parents[2]
COMPOSE_CONFIG = ROOT / "docker" / "otel-collector.yaml"
CONFIGS = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "collector.md").read_text(), re.M | re.S)


@pytest.fixture
def settings(clean_kafka: KafkaBroker) -> Kafka:
    made = Kafka(
        bootstrap_servers=(clean_kafka.bootstrap,),
        group_id=f"official-{uuid.uuid4().hex}",
        flush_after_s=0.05,
        partitions=2,
    )
    create_topics(made)
    return made


@pytest.fixture
def arrived() -> Iterator[HttpSink]:
    """What stands behind the official Collector."""
    made = HttpSink()
    yield made
    made.close()


@pytest.fixture
def writing(settings: Kafka) -> Iterator[Transport]:
    made = KafkaTransport(settings)
    yield made
    made.close(10)


@pytest.fixture
def direct_transport(store: Store) -> Iterator[DirectTransport]:
    made = DirectTransport(store, Direct(flush_after_s=0.02))
    yield made
    made.close(10)


@pytest.fixture
def sinking(store: Store, settings: Kafka) -> Iterator[Kafka]:
    with sink_at_work(store, settings):
        yield settings


@contextmanager
def sink_at_work(store: Store, settings: Kafka) -> Iterator[None]:
    """Our sink, in a thread."""
    sink = Sink(store, settings)
    worker = threading.Thread(target=sink.run)
    worker.start()
    try:
        yield
    finally:
        sink.stop()
        worker.join(30)
        sink.close()


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_the_official_collector_finds_no_fault_with_the_configurations_in_the_docs(config: str, tmp_path: Path) -> None:
    name = "otelcol-clickhouse" if "clickhouse:" in config else "otelcol"
    if why := missing(name):
        pytest.skip(why)
    (tmp_path / "config.yaml").write_text(config)
    environ = {"PATH": "/usr/bin", "QUEUE_DIRECTORY": str(tmp_path), "TIDEGAUGE_API_KEY": "tg_k"}
    command = [str(FOLDER / name), "validate", "--config", str(tmp_path / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("error")) == (0, 0), done.stderr


# The official Collector in front of Kafka, our sink behind it


@pytest.mark.kafka
def test_what_the_official_collector_writes_to_kafka_our_sink_stores_as_if_it_had_come_to_us(
    store: Store, sinking: Kafka, tmp_path: Path
) -> None:
    [bootstrap] = sinking.bootstrap_servers
    environ = {"KAFKA_BROKERS": bootstrap, "QUEUE_DIRECTORY": str(tmp_path / "queue")}
    with OfficialCollector(COMPOSE_CONFIG, tmp_path, **environ) as official:
        post_all(official.http_url)
        until(lambda: stored_all(store), "stored")
    found = stored(store)
    for row in store.rows("SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'MergeTree'"):
        if row["name"] in (*TABLES, "predictions"):
            store.execute(f"TRUNCATE TABLE {row['name']}")
    for signal, request in requests().items():
        insert_exports(store, signal, [request.SerializeToString()])
    assert found == stored(store)


@pytest.mark.kafka
def test_what_the_official_collector_took_while_kafka_was_away_is_stored_once_though_both_were_killed(
    store: Store, own_kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    settings = Kafka(bootstrap_servers=(own_kafka_broker.bootstrap,), flush_after_s=0.05)
    create_topics(settings)
    environ = {"KAFKA_BROKERS": own_kafka_broker.bootstrap, "QUEUE_DIRECTORY": str(tmp_path / "queue")}
    with OfficialCollector(COMPOSE_CONFIG, tmp_path, **environ) as official:
        own_kafka_broker.kill9()
        post_all(official.http_url)
        official.process.kill()
    own_kafka_broker.start()
    with OfficialCollector(COMPOSE_CONFIG, tmp_path, **environ), sink_at_work(store, settings):
        until(lambda: stored_all(store), "stored", 60)
    assert sum(map(len, stored(store).values())) == ROWS


# Our receiver in front of Kafka, the official Collector behind it


@pytest.mark.kafka
def test_what_our_receiver_writes_to_kafka_the_official_collector_reads_as_it_was_sent(
    settings: Kafka, writing: Transport, arrived: HttpSink, tmp_path: Path, receiving: Callable[..., Any]
) -> None:
    [bootstrap] = settings.bootstrap_servers
    reader = {
        "brokers": [bootstrap],
        "group_id": settings.group_id,
        "initial_offset": "earliest",
        "message_marking": {"after": True},
        **{path: {"topics": [str(signal)], "encoding": "otlp_proto"} for signal, path in PATHS.items()},
    }
    marker = uuid.uuid4().hex
    config = pipelines({"kafka": reader}, {"otlp_http": {"endpoint": arrived.url}}, *PATHS.values())
    sent = requests()
    for each in sent.values():
        _mark(each, marker)
    with OfficialCollector(config, tmp_path), receiving(writing) as pipeline:
        for signal, path in PATHS.items():
            pipeline.post(path, sent[signal].SerializeToString()).raise_for_status()
        arrived.wait_for(lambda sink: len(_marked(sink, marker)) == 3, 30)
    assert _marked(arrived, marker) == {f"/v1/{path}": sent[signal] for signal, path in PATHS.items()}


def _mark(request: Any, marker: str) -> None:
    [resource] = next(iter(request.ListFields()))[1]
    resource.resource.attributes.extend(attributes({"test.marker": marker}))


def _marked(sink: HttpSink, marker: str) -> dict[str, Message]:
    """What arrived of this test, by path: the topics hold other tests' requests too."""
    kinds = {f"/v1/{PATHS[signal]}": type(request) for signal, request in requests().items()}
    return {path: kinds[path].FromString(body) for path, body in sink.requests if marker.encode() in body}


# The official Collector in front of our receiver


class Busy:
    """A transport that asks to come again at first."""

    def __init__(self, transport: Transport, times: int) -> None:
        self._transport, self.left, self.asked = transport, times, 0
        self.flush, self.close = transport.flush, transport.close

    def submit(self, export: Export) -> Future[None]:
        self.asked += 1
        if self.left:
            self.left -= 1
            raise Backpressure(1, "busy")
        return self._transport.submit(export)


@pytest.mark.parametrize("protocol", ["otlp_http", "otlp_grpc"])
def test_the_official_collector_delivers_to_our_receiver_with_tls_and_a_key_and_comes_again_when_asked_to(
    store: Store, direct_transport: Transport, tmp_path: Path, receiving: Callable[..., Any], protocol: str
) -> None:
    (tmp_path / "both.pem").write_text(CERTIFICATE + PRIVATE_KEY)
    key, entry = create_key("acme")
    files = {"tls_cert_file": tmp_path / "both.pem", "tls_key_file": tmp_path / "both.pem"}
    busy = Busy(direct_transport, 4)
    with receiving(busy, max_body_bytes=64 * 2**20, api_keys=(entry,), **files) as pipeline:
        exporter = {
            "endpoint": pipeline.server.http_url if protocol == "otlp_http" else pipeline.server.grpc_url,
            "compression": "gzip",
            "headers": {"authorization": f"Bearer {key}"},
            "tls": {"ca_file": str(tmp_path / "both.pem")},
            "retry_on_failure": {"enabled": True, "initial_interval": "100ms", "max_interval": "500ms"},
        }
        config = pipelines(otlp_receiver(), {protocol: exporter}, *PATHS.values())
        with OfficialCollector(config, tmp_path) as official:
            post_all(official.http_url)
            until(lambda: stored_all(store), "stored")
        busy.flush(30)
        found = stored(store)
    assert (busy.left, busy.asked) == (0, 3 + 4)
    assert sum(map(len, found.values())) == ROWS
    verified = {row["ResourceAttributes"]["tidegauge.tenant.verified"] for name in TABLES for row in found[name]}
    assert verified == {"acme"}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_our_sdk_and_opentelemetry_s_reach_our_receiver_through_the_official_collector(
    store: Store, direct_transport: Transport, tmp_path: Path, receiving: Callable[..., Any], protocol: Any
) -> None:
    with receiving(direct_transport) as pipeline:
        exporter = {"otlp_http": {"endpoint": pipeline.server.http_url}}
        with OfficialCollector(pipelines(otlp_receiver(), exporter, *PATHS.values()), tmp_path) as official:
            url = official.grpc_url if protocol == "grpc" else official.http_url
            _log_with_ours(url, protocol)
            _trace_with_opentelemetry(url, protocol)
            until(lambda: _counts(store) == (1 + 150, 150, 2, 1), f"stored, but {_counts(store)}")
    assert store.value("SELECT SpanAttributes['n'] FROM otel_traces WHERE ServiceName = 'other'") == "7"
    assert store.value("SELECT sum(records) FROM sdk_losses WHERE service = 'ours'") == 1


def _log_with_ours(url: str, protocol: Any) -> None:
    client = tidegauge.init("ours", url, protocol=protocol)
    with client.request("ask"):
        client.log_prediction("one", {"x": 1.5}, prediction="yes")
    frame = [{"x": float(number), "y": "no"} for number in range(150)]  # as Arrow, which the Collector knows nothing of
    ids = client.log_predictions("many", frame, prediction="y")
    client.log_labels("many", ids, ["no"] * 150)
    client.log_prediction("one", {"x": [1]}, prediction="no feature")
    client.shutdown(20)
    assert (client.dropped, client.rejected) == (0, 1)


def _trace_with_opentelemetry(url: str, protocol: str) -> None:
    exporter = GrpcSpans(url, insecure=True) if protocol == "grpc" else HttpSpans(f"{url}/v1/traces")
    provider = TracerProvider(resource=Resource({"service.name": "other"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("t").start_span("work", attributes={"n": 7}).end()
    provider.shutdown()


def _counts(store: Store) -> tuple[int, ...]:
    tables = ("predictions", "labels", "otel_traces", "otel_metrics_sum")
    return tuple(int(store.value(f"SELECT count() FROM {table}")) for table in tables)
