"""Processor time of requests of GenAI spans on their way into the embedded ClickHouse, all views and rollups included.

    .venv/bin/python benchmarks/ingest.py [--rounds 5] [--batches 4] [--rate 40000 --seconds 20]

Spans of about 2 kB and 20 attributes, no two alike, five a trace; requests of 100 to 500, batches as the sink has. CPU
time of the process in microseconds a span, all threads, minima of alternating rounds, beside two bounds: upb parses
the requests; ClickHouse decodes them and drops them. Merges that inserts cause are waited for and counted in one
figure.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import zstandard
from genai_spans import START_NS, request
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tidegauge.collectors.otlp import count, normalise
from tidegauge.collectors.schema import insert_exports, migrate
from tidegauge.collectors.schema.otlp import PROTOBUF
from tidegauge.config import Kafka
from tidegauge.model import Signal
from tidegauge.store import Store

LARGEST = Kafka().max_batch_records
STORED = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
MERGING = "SELECT count() FROM system.merges WHERE database = currentDatabase()"
SIZE = """SELECT sum(bytes_on_disk) / (SELECT count() FROM otel_traces) FROM system.parts
WHERE active AND database = currentDatabase() AND table {which} 'otel_traces'"""
SPANS_A_TRACE = 5
TOKENS = itertools.count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=4, help="of a run with its merges")
    parser.add_argument("--rate", type=int, default=40_000, help="spans offered a second, for event to queryable")
    parser.add_argument("--seconds", type=int, default=20, help="how long; 0 leaves it out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        store.execute("CREATE TABLE decoded AS otlp_spans_in")
        _report(store, given)
        store.close()


def _report(store: Store, given: argparse.Namespace) -> None:
    payloads = list(_batch(seed=1))
    spans, size = sum(_counts(payloads)), sum(map(len, payloads))
    packed = sum(len(zstandard.compress(each)) for each in payloads)
    print(f"{len(payloads)} requests, {spans} spans of {size / spans:.0f} bytes; zstd ratio {size / packed:.1f}")
    one, predicted = [request(0, spans=1)], [_predictions(seed, LARGEST // 20) for seed in range(20)]
    work: dict[str, tuple[Callable[[], object], float]] = {
        "bound: upb parses it": (lambda: _counts(payloads), 1e6 / spans),
        "bound: ClickHouse decodes it and drops it": (lambda: _decode(store, payloads), 1e6 / spans),
        "decoded, flattened, in MergeTrees with all views": (lambda: _insert(store, payloads), 1e6 / spans),
        "where nested values are expected: searching for them": (
            lambda: [normalise(Signal.TRACES, each) for each in payloads],
            1e6 / spans,
        ),
        "a batch of one span, milliseconds": (lambda: _insert(store, one), 1e3),
        "predictions of 20 features": (lambda: _insert(store, predicted, Signal.LOGS), 1e6 / LARGEST),
    }
    store.execute("SYSTEM STOP MERGES")
    best = _race(given.rounds, {name: run for name, (run, _) in work.items()})
    for name, (_, scale) in work.items():
        print(f"  {name:<56} {best[name] * scale:8.2f}")
    _with_merges(store, given.batches)
    if given.seconds:
        _to_queryable(store, payloads, given.rate, given.seconds)


def _with_merges(store: Store, batches: int) -> None:
    """New spans in each batch, until no merge runs any more; then what they take on disk."""
    tables = [row["name"] for row in store.rows(STORED)]
    for name in tables:
        store.execute(f"TRUNCATE TABLE {name}")
    store.execute("SYSTEM START MERGES")
    made = [list(_batch(seed=10 + number)) for number in range(batches)]
    spans = sum(sum(_counts(each)) for each in made)
    begun = time.process_time()
    for each in made:
        _insert(store, each)
    while store.value(MERGING):
        time.sleep(0.2)
    used = time.process_time() - begun
    print(f"  {f'{batches} new batches, with the merges they cause':<56} {used / spans * 1e6:8.2f}")
    print(f"  {'the same, spans a CPU second':<56} {spans / used:8,.0f}")
    for name in tables:
        store.execute(f"OPTIMIZE TABLE {name} FINAL")
    own, others = (store.value(SIZE.format(which=which)) for which in ("=", "!="))
    print(f"  on disk, bytes a span: {own:.0f} in otel_traces, {others:.0f} in all other tables")


def _to_queryable(store: Store, payloads: Sequence[bytes], rate: int, seconds: int) -> None:
    """Offer requests at a steady rate to batches that close as the sink's do; seconds until each can be queried."""
    offered = list(zip(payloads, _counts(payloads), strict=True))
    settings, cycle = Kafka(), itertools.cycle(offered)
    begun, due, waited, used = time.monotonic(), 0.0, list[float](), time.process_time()
    batch: list[tuple[bytes, float]] = []
    records = stored = 0
    while due < seconds or batch:
        now = time.monotonic() - begun
        while due < min(now, seconds) and records < settings.max_batch_records:
            payload, number = next(cycle)
            batch.append((payload, due))
            records, due = records + number, due + number / rate
        if batch and (
            records >= settings.max_batch_records or now - batch[0][1] >= settings.flush_after_s or due >= seconds
        ):
            _insert(store, [payload for payload, _ in batch])
            waited += [time.monotonic() - begun - came for _, came in batch]
            stored, records, batch = stored + records, 0, []
        else:
            time.sleep(0.005)
    took, used = time.monotonic() - begun, time.process_time() - used
    cuts = statistics.quantiles(waited, n=20)
    print(f"  {rate:,} spans offered a second: {stored / took:,.0f} a second stored, {used / took:.2f} CPUs used")
    print(f"  seconds from event to queryable: median {cuts[9]:.2f}, 95 % {cuts[18]:.2f}, most {max(waited):.2f}")


def _batch(seed: int) -> Iterator[bytes]:
    """Requests of 100 to 500 spans, a batch of the sink's together."""
    rng, left = random.Random(seed), LARGEST
    while left > 0:
        spans = min(left, rng.randrange(100, 501))
        left -= spans
        message = ExportTraceServiceRequest.FromString(request(seed * 100_000 + left, spans))
        made = message.resource_spans[0].scope_spans[0].spans
        for at, span in enumerate(made):
            span.trace_id = made[at - at % SPANS_A_TRACE].trace_id
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


def _race(rounds: int, work: dict[str, Callable[[], object]]) -> dict[str, float]:
    best = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, run in work.items():
            begun = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - begun)
    return best


if __name__ == "__main__":
    main()
