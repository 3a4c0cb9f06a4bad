"""A receiver, Kafka, sinks and ClickHouse, each a process of its own, under one oracle."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from oracle import Oracle, Request, Verdict
from processes import ClickHouse, SteppingSink, Tidegauge, until
from topics import Lag, Topics

PROTOBUF = {"content-type": "application/x-protobuf"}
LOCAL = {"http_port": 0, "grpc_port": 0}


def post(client: httpx.Client, url: str, request: Request) -> httpx.Response:
    """One OTLP/HTTP request."""
    return client.post(f"{url}/v1/{request.signal}", content=request.body, headers=PROTOBUF)


class System:
    """What one test works on; ``name`` is its consumer group, its database and its service."""

    def __init__(self, topics: Topics, clickhouse: ClickHouse, folder: Path, name: str) -> None:
        self.topics, self.clickhouse, self.folder, self.name = topics, clickhouse, folder, name
        self.oracle = Oracle(name)
        self.client = httpx.Client(trust_env=False, timeout=60)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(self.client.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def kafka(self, **given: Any) -> dict[str, Any]:
        """The section of the configuration file."""
        return self.topics.plain(self.name, **given)

    @property
    def database(self) -> dict[str, str]:
        """The section of the configuration file."""
        return {"dsn": self.clickhouse.dsn, "database": self.name}

    def receiver(self, **given: Any) -> Tidegauge:
        """Start a receiver on free ports; ``given`` are settings of its section."""
        settings = {"receiver": LOCAL | given, "kafka": self.kafka()}
        started = self._stack.enter_context(Tidegauge("receiver", self.folder, settings))
        started.url()
        return started

    def sink(self, **given: Any) -> Tidegauge:
        """Start ``tidegauge sink``; ``given`` are settings of the section kafka."""
        settings = {"clickhouse": self.database, "kafka": self.kafka(**given), "sink": {"port": 0}}
        return self._stack.enter_context(Tidegauge("sink", self.folder, settings))

    def stepping_sink(self, kafka: dict[str, Any], **plan: Any) -> SteppingSink:
        """Start a sink that freezes or dies where it is told to."""
        where = {"dsn": self.clickhouse.dsn, "database": self.name, "kafka": self.kafka(**kafka)}
        return self._stack.enter_context(SteppingSink(self.folder, **where, **plan))

    def send(self, receiver: Tidegauge, *requests: Request) -> None:
        """Send each; it must be acknowledged."""
        for each in requests:
            answer = post(self.client, receiver.url(), each)
            assert answer.status_code == 200, answer.content
            assert answer.content == b"", "a partial success"
            self.oracle.acknowledge(each)

    def lag(self) -> Lag:
        """How far the sinks are behind now."""
        return self.topics.lag(self.name, self.topics.all_signals())

    def drained(self, limit_s: float = 60) -> float:
        """Wait until the sinks have stored all that is in Kafka now; seconds that took."""
        ends = self.topics.all_signals()
        return until(lambda: self.topics.lag(self.name, ends) == Lag(0, 0), limit_s, "the sinks reach the end")

    def verify(self, *, unsure: bool = False) -> Verdict:
        """Compare the tables with what was sent; ``unsure``: what was not acknowledged may be there too."""
        store = self.clickhouse.store(self.name)
        try:
            return self.oracle.verify(store, tolerate=self.oracle.unsure() if unsure else ())
        finally:
            store.close()

    def letters(self) -> list[Any]:
        """The records of the dead-letter topic."""
        return self.topics.records(f"dead_{self.name}")


class Load:
    """Requests at a steady rate from a thread of its own, until the block is left; 0 is no answer."""

    def __init__(self, system: System, receiver: Tidegauge, *, per_s: float) -> None:
        self._system, self._receiver, self._pause_s = system, receiver, 1 / per_s
        self._stop = threading.Event()
        self.answers: list[int] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        url, due = self._receiver.url(), time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += self._pause_s
            oracle = self._system.oracle
            request = oracle.logs(5) if len(self.answers) % 2 else oracle.traces(5)
            try:
                status = post(self._system.client, url, request).status_code
            except httpx.TransportError:
                status = 0
            self.answers.append(status)
            if status == 200:
                oracle.acknowledge(request)
