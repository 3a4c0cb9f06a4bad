"""Processor time of collecting: requests into the embedded ClickHouse with all views.

    .venv/bin/python benchmarks/collect.py [--rounds 5]

Each figure stands beside a bound or a peer measured in the same run, alternating; minima of CPU seconds, all threads.
"""

from __future__ import annotations

import argparse
import tempfile

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from race import race

from tidegauge.collectors.otlp import count
from tidegauge.collectors.schema import insert_exports, migrate
from tidegauge.collectors.schema.otlp import PROTOBUF
from tidegauge.collectors.sdk import wire
from tidegauge.model import Signal
from tidegauge.store import Store

REQUESTS, SPANS = 40, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        store.execute("CREATE TABLE decoded AS spans_in")
        payloads = [_request(number) for number in range(REQUESTS)]
        report(
            "Embedded ingest, microseconds a span of 20 attributes and 2 kB",
            race(
                rounds,
                {
                    "bound: ClickHouse decodes it and drops it": lambda: store.insert_protobuf(
                        "decoded", payloads, PROTOBUF, "Traces"
                    ),
                    "bound: upb parses it": lambda: [count(Signal.TRACES, each) for each in payloads],
                    "decoded, flattened, into MergeTrees with all views": lambda: insert_exports(
                        store, Signal.TRACES, payloads
                    ),
                },
            ),
            1e6 / (REQUESTS * SPANS),
        )
        store.close()


def report(title: str, seconds: dict[str, float], scale: float) -> None:
    print(f"\n{title}")
    first = next(iter(seconds.values()))
    for name, each in seconds.items():
        print(f"  {name:<52} {each * scale:8.2f}   {each / first:6.2f} x")


def _request(seed: int) -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(wire.key_values({"service.name": "bench"}))
    spans = resource.scope_spans.add().spans
    for number in range(SPANS):
        span = spans.add(name="chat model", kind=3, trace_id=(seed * SPANS + number + 1).to_bytes(16, "big"))
        span.span_id = (number + 1).to_bytes(8, "big")
        span.start_time_unix_nano = 1_780_000_000_000_000_000 + number * 1_000_000
        span.end_time_unix_nano = span.start_time_unix_nano + 900_000_000
        span.attributes.extend(wire.key_values(_attributes(number)))
    return request.SerializeToString()


def _attributes(number: int) -> dict[str, wire.Scalar]:
    text = "what is the fastest way to read a large file line by line, and does it matter which mode? " * 6
    named: dict[str, wire.Scalar] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "model",
        "gen_ai.response.model": "model-1",
        "gen_ai.usage.input_tokens": 100 + number,
        "gen_ai.usage.output_tokens": number,
        "gen_ai.response.time_to_first_chunk": 0.2,
        "gen_ai.prompt.version": "v2",
        "tidegauge.tenant": f"t{number % 5}",
        "input.value": text,
        "output.value": text,
    }
    return named | {f"app.attribute.{i}": i * 0.5 for i in range(9)}


if __name__ == "__main__":
    main()
