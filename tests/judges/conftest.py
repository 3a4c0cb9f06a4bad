"""A judge's endpoint that does what a test tells it, LLM calls in the store, and a transport into it."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tidegauge.collectors.direct import DirectTransport
from tidegauge.config import Direct
from tidegauge.store import Store

sys.path.append(str(Path(__file__).parent))

from judge_endpoint import Endpoint, Seed


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            found.requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            status, body = found.answer(found.requests[-1])
            time.sleep(found.delay_s)
            try:
                self._send(status, body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if 300 <= status < 400:
                self.send_header("location", f"{found.url}/elsewhere")
            self.end_headers()
            for part in [body] if not found.drip_s else (body[at : at + 1] for at in range(len(body))):
                self.wfile.write(part)
                self.wfile.flush()
                time.sleep(found.drip_s)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def transport(store: Store) -> Iterator[DirectTransport]:
    made = DirectTransport(store, Direct(flush_after_s=0.005))
    yield made
    made.close(5)


@pytest.fixture
def calls(store: Store) -> Seed:
    """Stores LLM calls, one a second up to ``last``, each with the retrieval of its trace; returns the trace ids."""

    def make(
        count: int,
        last: datetime,
        *,
        version: str = "v1",
        question: str = "What does fill do?",
        answer: str = "It wraps the text and joins the lines.",
        context: str = "fill wraps the text and joins the lines.",
        prefix: str = "t",
    ) -> list[str]:
        rows: list[dict[str, Any]] = []
        traces = [blake2b(f"{prefix}{version}{number}".encode(), digest_size=16).hexdigest() for number in range(count)]
        for number, trace_id in enumerate(traces):
            at = last - timedelta(seconds=count - number - 1)
            llm = {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "m",
                "gen_ai.prompt.version": version,
                "tidegauge.tenant": "acme",
                "gen_ai.input.messages": _messages("user", question),
                "gen_ai.output.messages": _messages("assistant", answer),
            }
            found = {"gen_ai.operation.name": "retrieval", "tidegauge.retrieval.context": context}
            rows.append(_span(at - timedelta(milliseconds=5), trace_id, "a" * 16, found))
            rows.append(_span(at, trace_id, "b" * 16, llm))
        store.insert("otel_traces", rows)
        return traces

    return make


def _messages(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _span(at: datetime, trace_id: str, span_id: str, attributes: dict[str, str]) -> dict[str, Any]:
    return {
        "Timestamp": at,
        "TraceId": trace_id,
        "SpanId": span_id,
        "ServiceName": "assistant",
        "SpanAttributes": attributes,
    }
