"""A receiver for the SDK's tests: a real HTTP server that answers as it is told and decodes what it gets."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Sink:
    """Keeps what it answered with success; ``statuses`` are used up first, then it is always 200.

    Args:
        retry_after: The header of every answer that is not 200.
        body: Of every answer that is 200.
        certificate: A PEM file with key and certificate, for TLS.
    """

    def __init__(
        self,
        *statuses: int,
        retry_after: str = "0",
        body: bytes = b"",
        certificate: Path | None = None,
        refuses: Callable[[bytes], bool] = lambda payload: False,
    ) -> None:
        sink = self
        self.statuses, self.requests, self.headers = list(statuses), list[tuple[str, bytes]](), list[dict[str, str]]()
        self.attempts = 0
        self.released = threading.Event()
        self.released.set()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                payload = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    payload = gzip.decompress(payload)
                sink.attempts += 1
                sink.released.wait(30)
                status = sink.statuses.pop(0) if sink.statuses else 400 if refuses(payload) else 200
                if status == 200:
                    sink.requests.append((self.path, payload))
                    sink.headers.append({key.lower(): value for key, value in self.headers.items()})
                answer = body if status == 200 else b""
                self.send_response(status)
                self.send_header("retry-after", retry_after)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that went away or distrusts us is what the tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def spans(self) -> list[Span]:
        """Of all requests, in the order of their arrival."""
        found = [ExportTraceServiceRequest.FromString(body) for path, body in self._of("traces")]
        return [
            span
            for each in found
            for resource in each.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def events(self) -> list[LogRecord]:
        found = [ExportLogsServiceRequest.FromString(body) for path, body in self._of("logs")]
        return [
            event
            for each in found
            for resource in each.resource_logs
            for scope in resource.scope_logs
            for event in scope.log_records
        ]

    def predictions(self) -> list[dict[str, Any]]:
        """The attributes of every prediction, without the prefix ``tidegauge.``."""
        return self.named("tidegauge.prediction")

    def named(self, event_name: str) -> list[dict[str, Any]]:
        """The attributes of every event of a name, without the prefix ``tidegauge.``."""
        found = [attributes(each.attributes) for each in self.events() if each.event_name == event_name]
        return [{key.removeprefix("tidegauge."): value for key, value in each.items()} for each in found]

    def wait_for(self, done: Callable[[Sink], bool], timeout_s: float = 20) -> None:
        """Until ``done``; what other processes send has no other signal."""
        deadline = time.monotonic() + timeout_s
        while not done(self) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert done(self)

    def _of(self, lane: str) -> list[tuple[str, bytes]]:
        return [each for each in self.requests if each[0].endswith(f"/v1/{lane}")]


def attributes(pairs: Any) -> dict[str, Any]:
    """OTLP attributes as a mapping."""
    return {each.key: value(each.value) for each in pairs}


def value(any_value: AnyValue) -> Any:
    """An AnyValue as Python has it."""
    arm = any_value.WhichOneof("value")
    if arm == "array_value":
        return [value(each) for each in any_value.array_value.values]
    if arm == "kvlist_value":
        return attributes(any_value.kvlist_value.values)
    return None if arm is None else getattr(any_value, arm)


def key_value(key: str, **arm: Any) -> KeyValue:
    """One attribute as the wire has it."""
    return KeyValue(key=key, value=AnyValue(**arm))
