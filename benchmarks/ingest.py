"""Processor time of GenAI spans on their way from Kafka into the embedded ClickHouse, all views and rollups included.

    .venv/bin/python benchmarks/ingest.py [--rounds 5] [--spans 33554] [--batches 40] [--backlog 400000] [...]

Spans of about 2 kB and 20 attributes, no two alike, five a trace; requests of 100 to 500, batches as the sink has. CPU
time of the process in microseconds a span, all threads, user and system, minima of alternating rounds, beside four
bounds: upb parses the requests; ClickHouse decodes them and drops them; it sorts, compresses and writes the columns
that they become, without any view; it merges such parts once. Then many new batches with all the merges that they
cause. Then, where there is java, the sink itself with its default settings behind a real broker: it works off a
backlog, and after that takes half of what it managed, while each request is timed from when it was offered to when it
could be queried.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from confluent_kafka import Producer
from genai_spans import START_NS, request
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from race import race

from tidegauge.collectors.kafka import Sink, create_topics
from tidegauge.collectors.kafka.transport import RECORDS
from tidegauge.collectors.otlp import count, normalise
from tidegauge.collectors.schema import insert_exports, migrate
from tidegauge.collectors.schema.otlp import PROTOBUF
from tidegauge.config import Kafka
from tidegauge.model import Signal
from tidegauge.store import Store

LARGEST = Kafka().max_batch_bytes // 2000  # spans
STORED = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
MERGING = "SELECT count() FROM system.merges WHERE database = currentDatabase()"
EVENTS = "SELECT event, value FROM system.events WHERE event IN ('MergedRows', 'InsertedRows')"
SIZE = """SELECT sum(bytes_on_disk) / (SELECT count() FROM otel_traces) FROM system.parts
WHERE active AND database = currentDatabase() AND table {which} 'otel_traces'"""
LEDGER = """SELECT partition, first_offset, last_offset, stored_at FROM ingest_ledger
WHERE topic = {topic:String} ORDER BY partition, first_offset"""
COLUMNS = """SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'otel_traces'
AND default_kind != 'EPHEMERAL'"""
PART = "FROM system.parts WHERE active AND database = currentDatabase() AND table ="
LARGEST_PART = f"SELECT argMax(name, (rows, modification_time)) {PART} 'otel_traces'"
PARTS = f"SELECT count() {PART} 'alone'"
ALONE = """MergeTree ORDER BY (ServiceName, LlmKind, toDateTime(EventTime)) SETTINGS min_level_for_wide_part = 1,
min_bytes_for_wide_part = 134217728, vertical_merge_algorithm_min_rows_to_activate = 1,
default_compression_codec = 'ZSTD(1)'"""
ONE_BLOCK = """SETTINGS max_threads = 1, max_insert_threads = 1, max_block_size = 1000000,
preferred_block_size_bytes = 0, min_insert_block_size_rows = 1000000, min_insert_block_size_bytes = 4000000000"""
SPANS_A_TRACE = 5
TOKENS = itertools.count()
TOPIC = str(Signal.TRACES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--spans", type=int, default=LARGEST, help="of a batch; the sink's own, of 2 kB each, if not given"
    )
    parser.add_argument("--batches", type=int, default=40, help="of a run with its merges; 0 leaves it out")
    parser.add_argument("--backlog", type=int, default=400_000, help="spans in Kafka; 0 leaves Kafka out")
    parser.add_argument("--rate", type=int, help="spans offered a second after that; else half of what was managed")
    parser.add_argument("--seconds", type=int, default=20, help="how long")
    parser.add_argument("--profile", action="store_true", help="where the time of inserts goes, by Linux's perf")
    parser.add_argument("--feed", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.feed:
        _feed(**json.loads(given.feed))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        store.execute("CREATE TABLE decoded AS spans_in")
        _report(store, given)
        store.close()


def _report(store: Store, given: argparse.Namespace) -> None:
    live, scattered = list(_batch(1, given.spans)), list(_batch(1, given.spans, live=False))
    spans, size = sum(_counts(live)), sum(map(len, live))
    packed = sum(len(zstandard.compress(each)) for each in live)
    print(f"{len(live)} requests, {spans} spans of {size / spans:.0f} bytes; zstd ratio {size / packed:.1f}")
    one, predicted = [request(0, spans=1)], [_predictions(seed, LARGEST // 20) for seed in range(20)]
    a_span, a_prediction = 1e6 / spans, 1e6 / (LARGEST // 20 * 20)
    work: dict[str, tuple[Callable[[], object], float]] = {
        "bound: upb parses it": (lambda: _counts(live), a_span),
        "bound: ClickHouse decodes it and drops it": (lambda: _decode(store, live), a_span),
        "stored, with all views": (lambda: _insert(store, live), a_span),
        "the same, but spread over hours, as in a backfill": (lambda: _insert(store, scattered), a_span),
        "where nested values are expected: searching for them": (
            lambda: [normalise(Signal.TRACES, each) for each in live],
            a_span,
        ),
        "a batch of one span, milliseconds": (lambda: _insert(store, one), 1e3),
        "predictions of 20 features": (lambda: _insert(store, predicted, Signal.LOGS), a_prediction),
    }
    store.execute("SYSTEM STOP MERGES")
    best = race(given.rounds, {name: run for name, (run, _) in work.items()})
    for name, (_, scale) in work.items():
        print(f"  {name:<56} {best[name] * scale:8.2f}")
    _print_floor(store, given.rounds)
    if given.profile:
        _print_profile(lambda: race(5, {"": lambda: _insert(store, live)}))
    if given.batches:
        _with_merges(store, given.batches, given.spans)
    if given.backlog:
        _from_kafka(store, given)


def _print_floor(store: Store, rounds: int) -> None:
    """What ``otel_traces`` has of a batch, into a table with its key and no views; then one merge of such parts."""
    columns = ", ".join(f"`{row['name']}`" for row in store.rows(COLUMNS))
    for name, engine in {"read": "Memory", "alone": ALONE}.items():
        store.execute(f"CREATE TABLE {name} ENGINE = {engine} AS SELECT {columns} FROM otel_traces LIMIT 0")
    store.execute("SYSTEM STOP MERGES alone")
    part = store.value(LARGEST_PART)
    store.execute(
        f"INSERT INTO read SELECT {columns} FROM otel_traces WHERE _part = '{part}' ORDER BY SpanId {ONE_BLOCK}"
    )
    spans = store.value("SELECT count() FROM read")
    best = race(max(rounds, 10), {"": lambda: store.execute(f"INSERT INTO alone SELECT * FROM read {ONE_BLOCK}")})
    print(f"  {'bound: the same columns, decoded, into a MergeTree alone':<56} {best[''] / spans * 1e6:8.2f}")
    parts, begun = store.value(PARTS), time.process_time()
    store.execute("SYSTEM START MERGES alone")
    store.execute("OPTIMIZE TABLE alone FINAL")
    used = time.process_time() - begun
    print(f"  {f'bound: one merge of {parts} parts of these, a span':<56} {used / spans / parts * 1e6:8.2f}")
    for name in ("read", "alone"):
        store.execute(f"DROP TABLE {name}")


def _with_merges(store: Store, batches: int, size: int) -> None:
    """New spans in each batch, until no merge runs any more; then what they take on disk."""
    tables = [row["name"] for row in store.rows(STORED)]
    for name in tables:
        store.execute(f"TRUNCATE TABLE {name}")
    store.execute("SYSTEM START MERGES")
    made = [list(_batch(10 + number, size)) for number in range(min(batches, 10))]
    before, begun, spans = _events(store), time.process_time(), 0
    for each in itertools.islice(itertools.cycle(made), batches):
        _insert(store, each)
        spans += sum(_counts(each))
    _merged(store)
    used, after = time.process_time() - begun, _events(store)
    rewritten = (after["MergedRows"] - before["MergedRows"]) / (after["InsertedRows"] - before["InsertedRows"])
    print(f"  {f'{batches} batches, with the merges they cause':<56} {used / spans * 1e6:8.2f}")
    print(f"  {'the same, spans a CPU second':<56} {spans / used:8,.0f}; each row merged {rewritten:.2f} times")
    for name in tables:
        store.execute(f"OPTIMIZE TABLE {name} FINAL")
    own, others = (store.value(SIZE.format(which=which)) for which in ("=", "!="))
    print(f"  on disk, bytes a span: {own:.0f} in otel_traces, {others:.0f} in all other tables")


def _events(store: Store) -> dict[str, int]:
    return {"MergedRows": 0, "InsertedRows": 0} | {row["event"]: row["value"] for row in store.rows(EVENTS)}


def _merged(store: Store) -> None:
    """Wait until no merge runs, and none begins."""
    for _ in range(3):
        time.sleep(0.5)
        while store.value(MERGING):
            time.sleep(0.1)


# The sink behind a real broker


def _from_kafka(store: Store, given: argparse.Namespace) -> None:
    if not shutil.which("java"):
        print("no java: without Kafka")
        return
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "kafka_broker"))
    from broker import KafkaBroker

    store.execute("SYSTEM START MERGES")
    with KafkaBroker() as broker, tempfile.TemporaryDirectory() as folder:
        settings = Kafka(bootstrap_servers=(broker.bootstrap,))
        create_topics(settings)
        told = Path(folder) / "offered.json"
        with _feeding(settings, told, spans=given.backlog) as feeder:
            feeder.wait()
        with _sink(store, settings):
            managed = _stored(store, told, "a backlog in Kafka, worked off")
            rate = given.rate or int(managed / 2)
            with _feeding(settings, told, spans=rate * given.seconds, rate=rate):
                _stored(store, told, f"{rate:,} spans offered a second", timed=True)


@contextlib.contextmanager
def _sink(store: Store, settings: Kafka) -> Iterator[None]:
    sink = Sink(store, settings)
    thread = threading.Thread(target=sink.run)
    thread.start()
    try:
        yield
    finally:
        sink.stop()
        thread.join()
        sink.close()


def _stored(store: Store, told: Path, name: str, *, timed: bool = False) -> float:
    """Wait until all that was fed is stored; spans a second by the clock."""
    known, begun, used = _covered(store), time.time(), time.process_time()
    while not told.exists():
        time.sleep(0.1)
    offered = json.loads(told.read_text())
    told.unlink()
    ends = {partition: max(at for place, at, _, _ in offered if place == partition) for partition, _, _, _ in offered}
    while not ends.items() <= {row["partition"]: row["last_offset"] for row in _covered(store)}.items():
        time.sleep(0.5)
    used = time.process_time() - used
    rows = [row for row in _covered(store) if row not in known]
    ended: float
    spans, ended = sum(int(each[3]) for each in offered), max(row["stored_at"].timestamp() for row in rows)
    took = ended - (min(each[2] for each in offered) if timed else begun)
    print(f"  {name:<56} {used / spans * 1e6:8.2f}")
    print(f"    {spans / used:,.0f} a CPU second, {spans / took:,.0f} a second, {len(rows)} batches")
    if timed:
        p50, p95, p99 = np.quantile(_waits(rows, offered), [0.5, 0.95, 0.99])
        print(f"    seconds from event to queryable: p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f}")
        print(f"    CPUs used: {used / took:.2f}; load of the machine: {os.getloadavg()[0]:.1f}")
    return spans / took


def _covered(store: Store) -> list[dict[str, Any]]:
    return store.rows(LEDGER, {"topic": TOPIC})


def _waits(rows: list[dict[str, Any]], offered: list[list[float]]) -> list[float]:
    """Seconds from when each request was offered to when the sink had noted it as stored."""
    stored = {
        (row["partition"], offset): row["stored_at"].timestamp()
        for row in rows
        for offset in range(row["first_offset"], row["last_offset"] + 1)
    }
    return [stored[int(partition), int(offset)] - at for partition, offset, at, _ in offered]


@contextlib.contextmanager
def _feeding(settings: Kafka, told: Path, spans: int, rate: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    options = {"bootstrap": settings.bootstrap_servers[0], "told": str(told), "spans": spans, "rate": rate}
    feeder = subprocess.Popen([sys.executable, __file__, "--feed", json.dumps(options)])
    try:
        yield feeder
    finally:
        feeder.kill()
        feeder.wait()


def _feed(bootstrap: str, told: str, spans: int, rate: int) -> None:
    """Send requests as the receiver does, steadily; then tell where each is and when it was offered."""
    payloads = list(_batch(3, LARGEST))
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "all", "compression.type": "lz4", "message.max.bytes": 10**7}
    )
    sent: list[tuple[int, int, float, int]] = []
    begun, offered = time.time(), 0
    for payload, number in itertools.cycle(zip(payloads, _counts(payloads), strict=True)):
        if offered >= spans:
            break
        due = begun + offered / rate if rate else time.time()
        time.sleep(max(0.0, due - time.time()))
        _produce(producer, payload, number, due, sent)
        offered += number
    producer.flush(60)
    ready = Path(told).with_suffix(".part")
    ready.write_text(json.dumps(sent))
    ready.rename(told)


def _produce(
    producer: Producer, payload: bytes, number: int, due: float, sent: list[tuple[int, int, float, int]]
) -> None:
    def delivered(_: object, message: Any) -> None:
        sent.append((message.partition(), message.offset(), due, number))

    headers: list[tuple[str, str | bytes | None]] = [(RECORDS, str(number).encode())]
    while True:
        try:
            producer.produce(TOPIC, payload, secrets.token_bytes(16), headers=headers, on_delivery=delivered)
            producer.poll(0)
        except BufferError:
            producer.poll(0.05)
        else:
            return


def _print_profile(run: Callable[[], object]) -> None:
    """Where the processor time of more inserts goes: by library, and what of the kernel."""
    with tempfile.NamedTemporaryFile() as samples:
        watch = subprocess.Popen(["perf", "record", "-q", "-F", "1999", "-p", str(os.getpid()), "-o", samples.name])
        time.sleep(1)
        run()
        watch.send_signal(signal.SIGINT)
        watch.wait()
        for by in ("dso", "dso,sym"):
            command = ["perf", "report", "-i", samples.name, "--sort", by]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            print("\n".join([line for line in told.splitlines() if line.strip() and line[0] != "#"][:12]), end="\n\n")


def _batch(seed: int, size: int, live: bool = True) -> Iterator[bytes]:
    """Requests of 100 to 500 spans, ``size`` spans together.

    Args:
        live: All have ended within the last seconds, as what is sent while it happens; else each request has a minute
            of its own.
    """
    rng, left, now = random.Random(seed), size, time.time_ns()
    while left > 0:
        spans = min(left, rng.randrange(100, 501))
        left -= spans
        message = ExportTraceServiceRequest.FromString(request(seed * 100_000 + left, spans))
        made = message.resource_spans[0].scope_spans[0].spans
        for at, span in enumerate(made):
            span.trace_id = made[at - at % SPANS_A_TRACE].trace_id
            if live:
                took, span.end_time_unix_nano = (
                    span.end_time_unix_nano - span.start_time_unix_nano,
                    now - rng.randrange(3_000_000_000),
                )
                span.start_time_unix_nano = span.end_time_unix_nano - took
        yield message.SerializeToString()


def _counts(payloads: Sequence[bytes]) -> list[int]:
    return [count(Signal.TRACES, each) for each in payloads]


def _decode(store: Store, payloads: Sequence[bytes]) -> None:
    store.insert_protobuf("decoded", payloads, PROTOBUF, "Traces")


def _insert(store: Store, payloads: Sequence[bytes], signal: Signal = Signal.TRACES) -> None:
    insert_exports(store, signal, payloads, f"benchmark-{next(TOKENS)}")


def _predictions(seed: int, number: int) -> bytes:
    """A request of predictions as log events, each of 14 numbers, 6 categories and 2 slices."""
    rng, message = random.Random(seed), ExportLogsServiceRequest()
    records = message.resource_logs.add().scope_logs.add().log_records
    for at in range(number):
        record = records.add(event_name="tidegauge.prediction", time_unix_nano=START_NS + at * 1_000_000)
        numbers = {f"tidegauge.feature.n{each}": rng.gauss(0, 1) for each in range(14)}
        for name, value in (numbers | {"tidegauge.prediction.score": rng.random()}).items():
            record.attributes.add(key=name).value.double_value = value
        texts = {f"tidegauge.category.c{each}": rng.choice(("red", "green", "blue")) for each in range(6)}
        texts |= {"tidegauge.model.name": "fraud", "tidegauge.prediction.id": f"{seed}-{at}"}
        texts |= {"tidegauge.slice.region": rng.choice("abcd"), "tidegauge.tenant": f"t{at % 5}"}
        for name, text in texts.items():
            record.attributes.add(key=name).value.string_value = text
    return message.SerializeToString()


if __name__ == "__main__":
    main()
