"""Processor time of the SDK in the service's process: spans, predictions, a decorated function, frames.

    .venv/bin/python benchmarks/sdk.py [--rounds 7]

Everything is delivered over HTTP to a sink in another process, encoding included. Each figure stands beside a peer or a
bound measured in the same run, alternating; minima of CPU seconds, all threads.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import polars as pl
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from race import Work, race

import tidegauge

SPANS, PREDICTIONS, ROWS = 5_000, 5_000, 10_000
TEXT = "what is the fastest way to read a large file line by line"
NAMED: dict[str, str | int | float] = {
    "gen_ai.response.model": "model-1",
    "gen_ai.usage.input_tokens": 812,
    "gen_ai.usage.output_tokens": 65,
    "gen_ai.response.time_to_first_chunk": 0.2,
    "tidegauge.tenant": "t3",
    "session.id": "8f14e45fceea167a5a36dedd4bea2543",
    "input.value": TEXT,
    "output.value": TEXT,
}
ATTRIBUTES = NAMED | {f"app.attribute.{number}": number * 0.5 for number in range(9)}
FEATURES = {f"n{number}": number * 0.37 for number in range(14)} | {f"c{number}": "green" for number in range(6)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    sink, url = _sink()
    client = tidegauge.init("bench", url)
    try:
        report("A span of 20 attributes, delivered", race(rounds, _spans(client, url)), 1e6 / SPANS)
        report("A prediction of 20 features, delivered", race(rounds, _predictions(client, url)), 1e6 / PREDICTIONS)
        report("A decorated function of 20 features, delivered", race(rounds, _decorated(client)), 1e6 / PREDICTIONS)
        report("A request, delivered", race(rounds, _requests(client)), 1e6 / SPANS)
        report("A frame's prediction of 20 features, delivered", race(rounds, _frames(client)), 1e6 / ROWS)
        assert client.dropped == client.rejected == 0
    finally:
        client.shutdown()
        sink.terminate()


def report(title: str, seconds: dict[str, float], scale: float) -> None:
    print(f"\n{title}, microseconds of CPU")
    first = next(iter(seconds.values()))
    for name, each in seconds.items():
        print(f"  {name:<64} {each * scale:8.2f}   {each / first:6.2f} x")


def _spans(client: tidegauge.Client, url: str) -> Work:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces"), max_queue_size=2 * SPANS))
    tracer = provider.get_tracer("peer")
    own = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "model", "gen_ai.provider.name": "openai"}

    def theirs() -> None:
        for _ in range(SPANS):
            with tracer.start_as_current_span("chat model", kind=SpanKind.CLIENT, attributes=own) as span:
                for key, value in ATTRIBUTES.items():
                    span.set_attribute(key, value)
        provider.force_flush()

    def ours() -> None:
        for _ in range(SPANS):
            with client.llm_call("model", provider="openai") as call:
                for key, value in ATTRIBUTES.items():
                    call.set(key, value)
        client.flush()

    def built() -> None:
        for _ in range(SPANS):
            message = SpanMessage(name="chat model", kind=SpanMessage.SPAN_KIND_CLIENT, trace_id=bytes(16))
            for key, value in (own | ATTRIBUTES).items():
                arm = {str: "string_value", int: "int_value", float: "double_value"}[type(value)]
                setattr(message.attributes.add(key=key).value, arm, value)
            message.SerializeToString()

    return {
        "opentelemetry-sdk, BatchSpanProcessor, OTLP exporter": theirs,
        "Tidegauge, llm_call": ours,
        "bound: the protobuf message alone": built,
    }


def _predictions(client: tidegauge.Client, url: str) -> Work:
    provider = LoggerProvider(shutdown_on_exit=False)
    exporter = OTLPLogExporter(f"{url}/v1/logs")
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=2 * PREDICTIONS))
    logger = provider.get_logger("peer")
    attributes = {f"tidegauge.feature.{name}": value for name, value in FEATURES.items()}

    def theirs() -> None:
        for _ in range(PREDICTIONS):
            logger.emit(timestamp=time.time_ns(), attributes=attributes, event_name="tidegauge.prediction")
        provider.force_flush()

    def ours() -> None:
        for _ in range(PREDICTIONS):
            client.log_prediction("model", FEATURES, prediction=1, score=0.5)
        client.flush()

    return {"opentelemetry-sdk, BatchLogRecordProcessor": theirs, "Tidegauge, log_prediction": ours}


def _decorated(client: tidegauge.Client) -> Work:
    def predict(features: dict[str, Any]) -> tuple[str, float]:
        return "yes", 0.5

    tracked = tidegauge.track_predictions(predict, model="model", client=client)

    def by_hand() -> None:
        for _ in range(PREDICTIONS):
            value, score = predict(FEATURES)
            client.log_prediction("model", FEATURES, prediction=value, score=score)
        client.flush()

    def decorated() -> None:
        for _ in range(PREDICTIONS):
            tracked(FEATURES)
        client.flush()

    return {"log_prediction by hand": by_hand, "@track_predictions": decorated}


def _requests(client: tidegauge.Client) -> Work:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    async def send(message: Any) -> None:
        pass

    headers = [(b"host", b"shop"), (b"x-tenant", b"acme"), (b"user-agent", b"bench"), (b"accept", b"*/*")]

    async def call(served: Any) -> None:
        for _ in range(SPANS):
            scope = {"type": "http", "method": "GET", "path": "/x", "scheme": "http", "headers": headers}
            await served(scope, send, send)
        client.flush()

    recorded = tidegauge.Middleware(app, client=client, tenant="x-tenant")
    return {
        "an ASGI application that does nothing": lambda: asyncio.run(call(app)),
        "behind the middleware": lambda: asyncio.run(call(recorded)),
    }


def _frames(client: tidegauge.Client) -> Work:
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {f"n{number}": rng.normal(size=ROWS) for number in range(14)}
    columns |= {f"c{number}": rng.choice(["red", "green", "blue"], ROWS) for number in range(6)}
    frame = pl.DataFrame(columns | {"answer": rng.integers(0, 2, ROWS)})
    names = list(columns)
    rows = frame.select(names).to_dicts()

    def whole() -> None:
        client.log_predictions("model", frame, features=names, prediction="answer")
        client.flush()

    def singly() -> None:
        for row in rows:
            client.log_prediction("model", row, prediction=1)
        client.flush()

    return {"log_predictions, a frame of 10,000": whole, "log_prediction, one by one": singly}


def _sink() -> tuple[multiprocessing.Process, str]:
    """A server in another process that takes everything, and its address."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that a sink that fails is noticed
    return process, f"http://127.0.0.1:{ours.recv()}"  # type: ignore[return-value]


class _Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def _serve(pipe: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    pipe.send(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    main()
