"""Kafka away: what was acknowledged is there, everything else is asked to come again, and memory stays where it was."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import grpc
import httpx
import pytest
from confluent_kafka import KafkaError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp_payloads import attributes, logs, record
from receiver_process import ReceiverProcess, receiver_process
from typer.testing import CliRunner

from tidegauge.cli import app
from tidegauge.collectors.kafka import transport as transport_module
from tidegauge.collectors.kafka.topics import (
    MAX_MESSAGE_BYTES,
    TopicChange,
    apply_topics,
    connection,
    native,
)
from tidegauge.config import Kafka, load
from tidegauge.errors import Backpressure
from tidegauge.model import Export, Signal

if TYPE_CHECKING:
    from broker import KafkaBroker

PENDING = 24 * 2**20
BODY_LIMIT = 4 * 2**20
RECORDS = 50
METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
OUTAGE_S = 10.0
pytestmark = pytest.mark.kafka


class Flood:
    """Clients that send as fast as they can and note what is acknowledged, until they are stopped."""

    def __init__(self, receiver: ReceiverProcess) -> None:
        self.receiver, self.stopped = receiver, threading.Event()
        self.acknowledged: set[str] = set()
        self.answers: Counter[str] = Counter()
        self._lock = threading.Lock()

    def over_http(self, client: int) -> None:
        with httpx.Client(trust_env=False, timeout=30) as http:
            for number in range(1_000_000):
                if self.stopped.is_set():
                    return
                name = f"http-{client}-{number}"
                headers = {"content-type": "application/x-protobuf"}
                answer = http.post(f"{self.receiver.http_url}/v1/logs", content=request(name), headers=headers)
                retry = answer.headers.get("retry-after", "none")
                self.note(name, answer.status_code == 200, f"{answer.status_code} {retry != 'none'}")

    def over_grpc(self, client: int) -> None:
        with grpc.insecure_channel(self.receiver.grpc_url.removeprefix("http://")) as channel:
            export = channel.unary_unary(METHOD)
            for number in range(1_000_000):
                if self.stopped.is_set():
                    return
                name = f"grpc-{client}-{number}"
                try:
                    export(request(name), timeout=30)
                    self.note(name, True, "OK")
                except grpc.RpcError as error:
                    self.note(name, False, f"{error.code().name} {has_retry_info(error)}")

    def note(self, name: str, taken: bool, answer: str) -> None:
        with self._lock:
            self.answers[answer] += 1
            if taken:
                self.acknowledged.add(name)
        if not taken:
            time.sleep(0.05)  # much sooner than it was told to, and still time for the others


def request(name: str) -> bytes:
    """About 400 kB in 50 records."""
    sent = attributes({"name": name, "filler": "the quick brown fox " * 400})
    return logs(*(record(number, attributes=sent) for number in range(RECORDS))).SerializeToString()


def has_retry_info(error: grpc.RpcError) -> bool:
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return bool(raw) and Status.FromString(raw).details[0].Unpack(RetryInfo())


def stored(bootstrap: str) -> set[str]:
    """The names of all requests in the topic."""
    names: set[str] = set()
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, max_partition_fetch_bytes=2**26)
    try:
        parts = [TopicPartition(Signal.LOGS, each) for each in consumer.partitions_for_topic(Signal.LOGS) or ()]
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        ends = consumer.end_offsets(parts)
        while any(consumer.position(each) < ends[each] for each in parts):
            for messages in consumer.poll(1000).values():
                names |= {name_of(each) for each in messages}
    finally:
        consumer.close()
    return names


def name_of(message: Any) -> str:
    """Of a request in the topic, which has the key and the header that the sink goes by."""
    assert len(message.key) == 16
    assert dict(message.headers) == {"tidegauge.records": str(RECORDS).encode()}
    [inside] = ExportLogsServiceRequest.FromString(message.value).resource_logs[0].scope_logs
    assert len(inside.log_records) == RECORDS
    return inside.log_records[0].attributes[0].value.string_value


def test_a_flood_while_kafka_is_away_costs_bounded_memory_and_loses_nothing(own_kafka_broker: KafkaBroker) -> None:
    broker = own_kafka_broker
    with receiver_process(broker.bootstrap, max_pending_bytes=PENDING, max_body_bytes=BODY_LIMIT) as receiver:
        flood = Flood(receiver)
        with ThreadPoolExecutor(12) as pool:
            clients = [pool.submit(flood.over_http, each) for each in range(8)]
            clients += [pool.submit(flood.over_grpc, each) for each in range(4)]
            time.sleep(3)
            before, taken = receiver.peak_bytes(reset=True), len(flood.acknowledged)
            assert taken > 20
            broker.kill9()
            flood.answers.clear()
            time.sleep(OUTAGE_S)
            during, growth = Counter(flood.answers), receiver.peak_bytes() - before
            broker.start()
            _until(lambda: len(flood.acknowledged) > taken + 40, 30)
            flood.stopped.set()
            for each in clients:
                each.result(60)
    assert set(during) <= {"503 True", "UNAVAILABLE True", "200 False", "OK"}
    assert during["503 True"] > 50
    assert during["UNAVAILABLE True"] > 5
    assert growth < 2 * PENDING + 8 * BODY_LIMIT
    assert flood.acknowledged <= stored(broker.bootstrap)


class EndingProducer:
    """In place of librdkafka's: the first one ends for good at its second message."""

    made: ClassVar[list[EndingProducer]] = []

    def __init__(self, *_: object, **__: object) -> None:
        self.held: list[Callable[[Any, Any], None]] = []
        self.made.append(self)

    def produce(self, *_: object, on_delivery: Callable[[Any, Any], None], **__: object) -> None:
        if self is not self.made[0]:
            on_delivery(None, SimpleNamespace(topic=lambda: "t", partition=lambda: 0, offset=lambda: 7))
        elif self.held:
            on_delivery(KafkaError(KafkaError._FATAL, "fenced", True), None)
        else:
            self.held.append(on_delivery)

    def poll(self, seconds: float) -> None:
        time.sleep(0.01)

    def purge(self) -> None:
        for each in self.held:
            each(KafkaError(KafkaError._PURGE_QUEUE), None)

    def flush(self, seconds: float) -> None: ...


def test_a_producer_that_ends_for_good_is_replaced_and_what_it_held_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport_module, "Producer", EndingProducer)
    monkeypatch.setattr(transport_module, "create_topics", lambda _: [])
    transport = transport_module.KafkaTransport(Kafka(bootstrap_servers=("nowhere:1",)))
    export = Export(Signal.LOGS, b"", 1)
    held, ended = transport.submit(export), transport.submit(export)
    for each in (held, ended):
        with pytest.raises(Backpressure):
            each.result(10)
    assert transport.submit(export).result(10) is None
    assert len(EndingProducer.made) == 2
    transport.close(1)


# The topics, and the way to the brokers


def test_topics_get_the_chosen_partitions_and_retention_and_keep_up_with_it(
    clean_kafka: KafkaBroker, tmp_path: Path
) -> None:
    config = tmp_path / "tidegauge.yaml"

    def create(**settings: object) -> dict[str, str]:
        config.write_text(json.dumps({"kafka": {"bootstrap_servers": [clean_kafka.bootstrap], **settings}}))
        shown = CliRunner().invoke(app, ["create-topics", "--config", str(config), "--json"])
        return {each["topic"]: each["change"] for each in json.loads(shown.stdout)}

    first = create(partitions=3, retention_hours=5, retention_bytes=10**9)
    assert {first[each] for each in Signal} == {"created"}
    assert create(partitions=3, retention_hours=5, retention_bytes=10**9) == {}
    changed = create(partitions=3, retention_hours=6.5, retention_bytes=10**9)
    assert set(changed) == {*map(str, Signal)}
    assert set(changed.values()) == {"retention.ms: 18000000 -> 23400000"}

    configs = topic_configs(clean_kafka, Signal.TRACES)
    assert (configs["retention.ms"], configs["retention.bytes"]) == ("23400000", "1000000000")
    assert configs["max.message.bytes"] == str(MAX_MESSAGE_BYTES)
    admin = KafkaAdminClient(bootstrap_servers=clean_kafka.bootstrap)
    try:
        [topic] = admin.describe_topics([str(Signal.TRACES)])
    finally:
        admin.close()
    assert len(topic["partitions"]) == 3


def test_dead_letters_are_kept_longer_than_the_records_and_as_long_as_is_said(clean_kafka: KafkaBroker) -> None:
    topic = f"dead_{uuid.uuid4().hex}"
    settings = Kafka(bootstrap_servers=(clean_kafka.bootstrap,), dead_letter_topic=topic, retention_hours=5)
    apply_topics(settings)
    by_default = topic_configs(clean_kafka, topic)["retention.ms"]
    longer = apply_topics(settings.model_copy(update={"dead_letter_retention_hours": 1000}))
    assert by_default == str(30 * 24 * 3_600_000)
    assert longer == [TopicChange(topic, "retention.ms: 2592000000 -> 3600000000")]
    assert topic_configs(clean_kafka, topic)["retention.ms"] == "3600000000"
    assert topic_configs(clean_kafka, Signal.LOGS)["retention.ms"] == "18000000"


def topic_configs(broker: KafkaBroker, topic: str) -> dict[str, str]:
    """The settings of one topic, as the broker has them."""
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic, None)])
    finally:
        admin.close()
    [configs] = [each for kind in found.values() for each in kind.values()]
    return {name: str(each["value"]) for name, each in configs.items()}


def test_both_kafka_clients_are_told_the_same_about_the_brokers(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    config = tmp_path / "tidegauge.yaml"
    kafka = {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "SASL_SSL",
        "ssl_ca_file": "/etc/ca.pem",
        "sasl_username": "tidegauge",
        "sasl_password_file": str(secret),
    }
    config.write_text(json.dumps({"kafka": kafka}))
    settings = load(config, {}).kafka
    ours, theirs = connection(settings), native(settings)
    assert (ours["bootstrap_servers"], theirs["bootstrap.servers"]) == (["a:1", "b:2"], "a:1,b:2")
    assert ours["security_protocol"] == theirs["security.protocol"] == "SASL_SSL"
    assert ours["ssl_cafile"] == theirs["ssl.ca.location"] == "/etc/ca.pem"
    assert ours["sasl_mechanism"] == theirs["sasl.mechanism"] == "SCRAM-SHA-512"
    assert ours["sasl_plain_username"] == theirs["sasl.username"] == "tidegauge"
    assert ours["sasl_plain_password"] == theirs["sasl.password"] == "s3cret"
    assert "s3cret" not in str(settings)
    assert not [name for name in connection(Kafka()) | native(Kafka()) if "sasl" in name or name.startswith("ssl")]


def _until(condition: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
