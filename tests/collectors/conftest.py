"""The receiver in front of each transport, so that one suite holds both to the same behaviour."""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from tidegauge.collectors.direct import DirectTransport
from tidegauge.collectors.kafka import KafkaTransport, Sink, create_topics
from tidegauge.collectors.kafka import sink as sink_module
from tidegauge.collectors.receiver import ReceiverServer
from tidegauge.collectors.receiver.grpc import SERVICES
from tidegauge.config import Direct, Kafka, Receiver
from tidegauge.model import Export, Signal, Transport
from tidegauge.store import Store

if TYPE_CHECKING:
    from broker import KafkaBroker
    from kafka_bench import Bench
    from sdk_sink import Sink as SdkSink

    import tidegauge

sys.path.append(str(Path(__file__).parent))

BODY_LIMIT = 4 * 2**20
PROTOBUF = "application/x-protobuf"


@dataclass
class Pipeline:
    """A receiver and what stands behind it."""

    server: ReceiverServer
    transport: Transport
    store: Store
    client: httpx.Client

    def post(
        self, signal: str, body: bytes, kind: str = PROTOBUF, encoding: str = "", **options: Any
    ) -> httpx.Response:
        """One OTLP/HTTP request."""
        headers = {"content-type": kind} | ({"content-encoding": encoding} if encoding else {})
        return self.client.post(f"{self.server.http_url}/v1/{signal}", content=body, headers=headers, **options)

    def call(self, signal: str, body: bytes, timeout: float = 60, **options: Any) -> None:
        """One OTLP/gRPC request; raises grpc.RpcError."""
        with grpc.insecure_channel(self.server.grpc_url.removeprefix("http://")) as channel:
            method = channel.unary_unary(f"/{SERVICES[Signal[signal.upper()]]}/Export")
            method(body, timeout=timeout, **options)

    def flush(self) -> None:
        """Wait until all that was answered with success can be queried."""
        self.transport.flush(60)

    def count(self, table: str) -> int:
        return int(self.store.value(f"SELECT count() FROM {table}"))

    def metric(self, name: str, **labels: str) -> float:
        """One of the receiver's own metrics, as it publishes it."""
        text = self.client.get(f"{self.server.http_url}/metrics").text
        samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


@contextmanager
def receiving(transport: Transport, store: Store, **settings: Any) -> Iterator[Pipeline]:
    """A receiver on free ports in front of ``transport``."""
    limits: dict[str, Any] = {"http_port": 0, "grpc_port": 0, "max_body_bytes": BODY_LIMIT}
    server = ReceiverServer(transport, Receiver(**limits | settings))
    try:
        with httpx.Client(verify=False, trust_env=False, timeout=60) as client:
            yield Pipeline(server, transport, store, client)
    finally:
        server.close()


@pytest.fixture(params=["direct", pytest.param("kafka", marks=pytest.mark.kafka)])
def pipeline(request: pytest.FixtureRequest, store: Store) -> Iterator[Pipeline]:
    """The receiver in front of each transport; every test that takes it runs on both."""
    transport: Transport = request.getfixturevalue(f"_{request.param}_transport")
    with receiving(OwnRequests(transport) if request.param == "kafka" else transport, store) as ready:
        yield ready
        ready.flush()  # what this test sent must not turn up in the next one's tables


@pytest.fixture
def direct(_direct_transport: Transport, store: Store) -> Iterator[Pipeline]:
    """The receiver in front of ClickHouse, for what does not depend on the transport."""
    with receiving(_direct_transport, store) as ready:
        yield ready


@pytest.fixture
def _direct_transport(_store: Store) -> Iterator[Transport]:
    transport = DirectTransport(_store, Direct(flush_after_s=0.02))
    yield transport
    transport.close(10)


@pytest.fixture(scope="module")
def clean_kafka(kafka_broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """The broker without the signals' topics; what this module writes is no other's business."""
    _delete_topics(kafka_broker)
    yield kafka_broker
    _delete_topics(kafka_broker)


def _delete_topics(broker: KafkaBroker) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        admin.delete_topics(sorted({*map(str, Signal)} & set(admin.list_topics())))
    finally:
        admin.close()


@pytest.fixture(scope="module")
def _kafka_transport(_store: Store, clean_kafka: KafkaBroker) -> Iterator[Transport]:
    group = f"collectors-{uuid.uuid4().hex}"
    settings = Kafka(bootstrap_servers=(clean_kafka.bootstrap,), group_id=group, flush_after_s=0.05, partitions=2)
    transport = KafkaTransport(settings)
    sink = Sink(_store, settings)
    worker = threading.Thread(target=sink.run)
    worker.start()
    yield transport
    sink.stop()
    worker.join(30)
    sink.close()
    transport.close(10)


@pytest.fixture
def bench(store: Store, clean_kafka: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A sink's bench: one broker, one partition of logs, groups of the test's own."""
    from kafka_bench import Bench

    monkeypatch.setattr(sink_module, "POLL_MS", 20)
    create_topics(Kafka(bootstrap_servers=(clean_kafka.bootstrap,), partitions=2))
    ready = Bench(store, clean_kafka, KafkaProducer(bootstrap_servers=clean_kafka.bootstrap, linger_ms=0))
    yield ready
    for each in ready.sinks:
        each.close()
    ready.producer.close()


class OwnRequests:
    """A transport whose requests are no other test's: the sink, which serves several, would drop them as repeats."""

    def __init__(self, transport: Transport) -> None:
        self._transport, self._name = transport, uuid.uuid4().bytes
        self.flush, self.close = transport.flush, transport.close

    def submit(self, export: Export) -> Future[None]:
        own = blake2b(export.digest, digest_size=16, key=self._name).digest()
        return self._transport.submit(replace(export, digest=own))


class HeldTransport:
    """Takes everything and resolves nothing until it is told."""

    def __init__(self) -> None:
        self.taken: list[tuple[Export, Future[None]]] = []

    def submit(self, export: Export) -> Future[None]:
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()
        self.taken.append((export, done))
        return done

    def settle(self, error: Exception | None = None) -> None:
        for _, done in self.taken:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
        self.taken.clear()

    def flush(self, timeout_s: float) -> None:
        self.settle()

    def close(self, timeout_s: float) -> None:
        self.settle()


Receiving = Callable[..., Any]


@pytest.fixture(name="receiving")
def _receiving(store: Store) -> Receiving:
    """A context manager: a receiver in front of a transport of the test's own."""
    return lambda transport, **settings: receiving(transport, store, **settings)


@pytest.fixture
def held() -> HeldTransport:
    """A transport in which everything stays under way."""
    return HeldTransport()


@pytest.fixture
def sink() -> Iterator[SdkSink]:
    """Where the SDK of a service under test sends."""
    from sdk_sink import Sink

    made = Sink()
    yield made
    made.close()


@pytest.fixture
def client(sink: SdkSink) -> Iterator[tidegauge.Client]:
    """The SDK of a service called ``shop``."""
    import tidegauge

    made = tidegauge.init("shop", sink.url)
    yield made
    made.shutdown()
