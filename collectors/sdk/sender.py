"""Serialized requests to the receiver, from a thread of its own, within a stated amount of memory."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Literal, Protocol

import grpc
import httpx

log = logging.getLogger(__name__)

RETRYABLE_HTTP = {429, 502, 503, 504}
RETRYABLE_GRPC = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}
EXPORT_LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


class Post(Protocol):
    """One attempt to deliver a request."""

    def __call__(self, payload: bytes) -> float | None:
        """None: it arrived. A number: try again after so many seconds. Raises PermissionError when it never will."""
        ...


def http_post(endpoint: str, headers: Mapping[str, str]) -> Post:
    """Attempts over OTLP/HTTP with protobuf."""
    client = httpx.Client(headers={"content-type": "application/x-protobuf", **headers}, timeout=10, trust_env=False)

    def post(payload: bytes) -> float | None:
        try:
            answer = client.post(f"{endpoint}/v1/logs", content=payload)
        except httpx.TransportError:
            return 1.0
        if answer.status_code in RETRYABLE_HTTP:
            wait = answer.headers.get("retry-after", "")
            return float(wait) if wait.isdigit() else 1.0
        if not answer.is_success:
            raise PermissionError(f"HTTP {answer.status_code}: {answer.text[:200]}")
        return None

    return post


def grpc_post(endpoint: str, headers: Mapping[str, str]) -> Post:
    """Attempts over OTLP/gRPC."""
    address = endpoint.removeprefix("http://").removeprefix("https://")
    secure = endpoint.startswith("https://")
    channel = grpc.secure_channel(address, grpc.ssl_channel_credentials()) if secure else grpc.insecure_channel(address)
    export = channel.unary_unary(EXPORT_LOGS)
    metadata = [(key.lower(), value) for key, value in headers.items()]

    def post(payload: bytes) -> float | None:
        try:
            export(payload, timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() in RETRYABLE_GRPC:
                return 1.0
            raise PermissionError(f"gRPC {error.code().name}: {error.details()}") from error
        return None

    return post


class Sender:
    """A bounded queue in front of ``post``.

    Args:
        post: One delivery attempt.
        max_bytes: Queued beyond it, a record is dropped and counted, or the caller waits, as ``on_full`` says.
        give_up_after_s: A request is retried for so long.
    """

    def __init__(
        self,
        post: Post,
        *,
        max_bytes: int = 64 * 2**20,
        on_full: Literal["drop", "wait"] = "drop",
        give_up_after_s: float = 60,
    ) -> None:
        self._post, self._max_bytes, self._on_full = post, max_bytes, on_full
        self._give_up_after_s = give_up_after_s
        self._queue: deque[tuple[bytes, int]] = deque()
        self._queued = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.dropped = 0
        atexit.register(self.close, 5)

    def offer(self, payload: bytes, records: int) -> None:
        """Queue one request of ``records`` records."""
        with self._changed:
            if self._on_full == "wait":
                self._changed.wait_for(lambda: self._queued < self._max_bytes or self._closing)
            if self._closing or self._queued >= self._max_bytes:
                self._drop(records, "the queue is full" if not self._closing else "the client is shut down")
                return
            self._queue.append((payload, records))
            self._queued += len(payload)
            self._start()
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued so far is delivered or given up; False after ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: self._queued == 0, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Flush, then stop."""
        self.flush(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        atexit.unregister(self.close)

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():  # also in a child after fork
            self._thread = threading.Thread(target=self._run, name="tidegauge-sender", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue) or self._closing)
                if not self._queue:
                    return
                payload, records = self._queue[0]
            self._deliver(payload, records)
            with self._changed:
                self._queue.popleft()
                self._queued -= len(payload)
                self._changed.notify_all()

    def _deliver(self, payload: bytes, records: int) -> None:
        deadline = time.monotonic() + self._give_up_after_s
        try:
            while (wait_s := self._post(payload)) is not None:
                if self._closing or time.monotonic() + wait_s > deadline:
                    self._drop(records, f"no success in {self._give_up_after_s:g} s")
                    return
                time.sleep(wait_s)
        except PermissionError as error:
            self._drop(records, f"refused for good: {error}")

    def _drop(self, records: int, reason: str) -> None:
        if not self.dropped:
            log.warning("dropping %d record(s): %s; further drops are only counted", records, reason)
        self.dropped += records
