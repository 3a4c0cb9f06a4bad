"""Serialized requests to the receiver, from a thread of its own, within a stated amount of memory."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from itertools import accumulate
from typing import Literal, Protocol

import grpc
import httpx

log = logging.getLogger(__name__)

RETRYABLE_HTTP = {429, 502, 503, 504}
RETRYABLE_GRPC = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
LINGER_S = 0.02  # what is logged within it shares a request
MAX_REQUEST_BYTES = 8 * 2**20
EXPORT_LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


class Post(Protocol):
    """One attempt to deliver a request."""

    def __call__(self, payload: bytes) -> float | None:
        """None: it arrived. A number: try again after so many seconds. Raises PermissionError when it never will."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class HttpPost:
    """Attempts over OTLP/HTTP with protobuf."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        self._url = f"{endpoint}/v1/logs"
        kind = {"content-type": "application/x-protobuf"}
        self._client = httpx.Client(headers={**kind, **headers}, timeout=10, trust_env=False)

    def __call__(self, payload: bytes) -> float | None:
        try:
            answer = self._client.post(self._url, content=payload)
        except httpx.TransportError:
            return 1.0
        if answer.status_code in RETRYABLE_HTTP:
            wait = answer.headers.get("retry-after", "")
            return float(wait) if wait.isdigit() else 1.0
        if not answer.is_success:
            raise PermissionError(f"HTTP {answer.status_code}: {answer.text[:200]}")
        return None

    def close(self) -> None:
        self._client.close()


class GrpcPost:
    """Attempts over OTLP/gRPC."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        scheme, _, address = endpoint.rpartition("://")
        options = [("grpc.max_send_message_length", -1)]
        self._channel = (
            grpc.secure_channel(address, grpc.ssl_channel_credentials(), options)
            if scheme == "https"
            else grpc.insecure_channel(address, options)
        )
        self._export = self._channel.unary_unary(EXPORT_LOGS)
        self._metadata = [(key.lower(), value) for key, value in headers.items()]

    def __call__(self, payload: bytes) -> float | None:
        try:
            self._export(payload, timeout=10, metadata=self._metadata)
        except grpc.RpcError as error:
            if error.code() in RETRYABLE_GRPC:
                return 1.0
            raise PermissionError(f"gRPC {error.code().name}: {error.details()}") from error
        return None

    def close(self) -> None:
        self._channel.close()


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
        self._changed = threading.Condition(threading.RLock())
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
                self.drop(records, "the queue is full" if not self._closing else "the client is shut down")
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
        if self._thread is not None:
            self._thread.join(timeout_s)
        self._post.close()
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
            if not self._closing:
                time.sleep(LINGER_S)
            taken = self._together()
            self._deliver(taken)
            with self._changed:
                for payload, _ in taken:
                    self._queue.popleft()
                    self._queued -= len(payload)
                self._changed.notify_all()

    def _together(self) -> list[tuple[bytes, int]]:
        with self._changed:
            queued = list(self._queue)
        sizes = accumulate(len(payload) for payload, _ in queued)
        return [each for each, size in zip(queued, sizes, strict=True) if size <= MAX_REQUEST_BYTES] or queued[:1]

    def _deliver(self, taken: list[tuple[bytes, int]]) -> None:
        """Serialized protobuf messages one after the other are one message, with the repeated fields of all."""
        payload, records = b"".join(payload for payload, _ in taken), sum(records for _, records in taken)
        deadline = time.monotonic() + self._give_up_after_s
        try:
            while (wait_s := self._post(payload)) is not None:
                if self._closing or time.monotonic() + wait_s > deadline:
                    self.drop(records, f"no success in {self._give_up_after_s:g} s")
                    return
                self._pause(wait_s)
        except PermissionError as error:
            if len(taken) == 1:
                self.drop(records, f"refused for good: {error}")
                return
            for each in taken:  # one is at fault, or they are too much together
                self._deliver([each])
        except Exception as error:  # noqa: BLE001 - the loop's edge: one bad request or address must not end the thread
            self.drop(records, f"{type(error).__name__}: {error}")

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)

    def drop(self, records: int, reason: str) -> None:
        """Count records that were given up; the first time, say why."""
        with self._changed:
            first, self.dropped = not self.dropped, self.dropped + records
        if first:
            log.warning("dropping %d record(s): %s; further drops are only counted", records, reason)
