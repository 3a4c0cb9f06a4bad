"""What happens to a request whichever protocol it came by: checked, counted, bounded, handed on."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from tidegauge import instruments
from tidegauge.collectors.otlp import count
from tidegauge.errors import Backpressure, InvalidPayload
from tidegauge.model import Export, Signal, Transport

RETRY_AFTER_S = 1.0


class Intake:
    """Takes serialized requests for ``transport``; at most ``max_pending_bytes`` are under way at a time."""

    def __init__(self, transport: Transport, max_pending_bytes: int) -> None:
        self._transport, self._limit = transport, max_pending_bytes
        self._pending = 0
        self._lock = threading.Lock()

    def accept(self, signal: Signal, payload: bytes) -> Future[None]:
        """Hand on one request; the future resolves when it is durable.

        Raises:
            InvalidPayload: it cannot be decoded; final.
            Backpressure: there is no room; nothing was taken.
        """
        try:
            records = count(signal, payload)
            self._reserve(signal, len(payload))
        except InvalidPayload:
            instruments.REJECTED.labels(signal.name.lower(), "undecodable").inc()
            raise
        try:
            done = self._transport.submit(Export(signal, payload, records))
        except BaseException:
            self._release(len(payload))
            raise
        done.add_done_callback(lambda future: self._finish(signal, len(payload), records, future))
        return done

    def _reserve(self, signal: Signal, size: int) -> None:
        with self._lock:
            if self._pending and self._pending + size > self._limit:
                instruments.DEFERRED.labels(signal.name.lower()).inc()
                raise Backpressure(RETRY_AFTER_S, f"{self._pending} bytes are waiting to be stored")
            self._pending += size
            instruments.PENDING_BYTES.set(self._pending)

    def _release(self, size: int) -> None:
        with self._lock:
            self._pending -= size
            instruments.PENDING_BYTES.set(self._pending)

    def _finish(self, signal: Signal, size: int, records: int, done: Future[None]) -> None:
        self._release(size)
        error = done.exception()
        if error is None:
            instruments.ACCEPTED.labels(signal.name.lower()).inc(records)
        elif isinstance(error, InvalidPayload):
            instruments.REJECTED.labels(signal.name.lower(), "refused by the store").inc()
        else:
            instruments.DEFERRED.labels(signal.name.lower()).inc()
