"""A real HTTP receiver on loopback that answers as it is told, and alerts to send it."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tidegauge.alerting.states import Notice, State, Transition, fingerprint
from tidegauge.alerting.text import labels_text

sys.path.append(str(Path(__file__).parent))
from fake_slack import FakeSlack, slack_server

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Got:
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Answers one request after the other from ``answers``, then with ``usual``."""

    usual: Answer
    answers: list[Answer] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/secret-token"


def answer(status: int, body: bytes = b"ok", **headers: str) -> Answer:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        with suppress(OSError):
            handler.wfile.write(body)

    return respond


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Answers 200 ``ok``, which Slack and a plain webhook take for success."""
    yield from _serve(Receiver(answer(200)))


@pytest.fixture
def other_receiver() -> Iterator[Receiver]:
    yield from _serve(Receiver(answer(200)))


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with slack_server() as fake:
        yield fake


@pytest.fixture
def respond() -> Callable[..., Answer]:
    return answer


@pytest.fixture
def make_alert() -> Callable[..., Transition]:
    """An alert as the evaluator makes it; keyword arguments replace fields."""

    def make(**changes: Any) -> Transition:
        labels = changes.get("labels", {"service": "shop"})
        values: dict[str, Any] = {
            "at": datetime(2026, 3, 1, 12, tzinfo=UTC),
            "rule": "High refusal rate",
            "labels": labels,
            "state": State.FIRING,
            "previous": State.PENDING,
            "notice": Notice.FIRE,
            "open": True,
            "since": datetime(2026, 3, 1, 11, 30, tzinfo=UTC),
            "lapsed_since": None,
            "severity": "page",
            "owner": "team shop",
            "runbook": "https://example.org/runbook",
            "action": "roll back",
            "value": 0.08,
            "low": 0.06,
            "high": 0.1,
            "threshold": 0.05,
            "samples": 1000,
            "unit": "share",
            "reason": "8 % of 1,000 (6 % to 10 %): above 5 %",
        }
        values |= changes
        values.setdefault("summary", f"Refusal rate for {labels_text(labels)}: {values['reason']}")
        values.setdefault("fingerprint", fingerprint(values["rule"], labels))
        return Transition(**values)

    return make


def _serve(receiver: Receiver) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with receiver.lock:
                receiver.got.append(Got(self.path, dict(self.headers), body, time.monotonic()))
                respond = receiver.answers.pop(0) if receiver.answers else receiver.usual
            with suppress(OSError):
                respond(self)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield receiver
    receiver.released.set()
    server.shutdown()
    server.server_close()
    thread.join()
