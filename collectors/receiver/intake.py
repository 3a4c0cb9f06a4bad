"""What happens to a request whichever protocol it came by: checked, counted, bounded, handed on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from hashlib import blake2b

from tidegauge import instruments
from tidegauge.collectors.otlp import count
from tidegauge.errors import Backpressure, InvalidPayload
from tidegauge.model import Export, Signal, Transport

RETRY_AFTER_S = 1.0
REMEMBERED = 10_000  # requests


class Intake:
    """Takes serialized requests for ``transport``; at most ``max_pending_bytes`` are under way at a time.

    A request whose bytes are those of one of the last 10,000 is one that was sent again because its answer was lost: it
    gets the first one's answer, and is counted but not stored twice.
    """

    def __init__(self, transport: Transport, max_pending_bytes: int) -> None:
        self._transport, self._limit = transport, max_pending_bytes
        self._pending = 0
        self._recent: OrderedDict[bytes, Future[None]] = OrderedDict()
        self._lock = threading.RLock()

    def accept(self, signal: Signal, payload: bytes) -> Future[None]:
        """Take one request; the future resolves when it is durable.

        Raises:
            InvalidPayload: it cannot be decoded; final.
            Backpressure: there is no room; nothing was taken.
        """
        try:
            records = count(signal, payload)
            return self._once(Export(signal, payload, records)) if records else _done()
        except InvalidPayload:
            self.refused(signal, "undecodable")
            raise
        except Backpressure:
            instruments.DEFERRED.labels(signal.name.lower()).inc()
            raise

    def refused(self, signal: Signal, reason: str) -> None:
        """Count a request that is answered with a final error."""
        instruments.REJECTED.labels(signal.name.lower(), reason).inc()

    def _once(self, export: Export) -> Future[None]:
        key = blake2b(export.payload, digest_size=16, key=export.signal.encode()).digest()
        with self._lock:
            if key in self._recent:
                self.refused(export.signal, "duplicate")
                return self._recent[key]
            done = self._recent[key] = self._submit(export)
            if len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        done.add_done_callback(lambda future: self._finish(key, export, future))
        return done

    def _submit(self, export: Export) -> Future[None]:
        size = len(export.payload)
        if self._pending and self._pending + size > self._limit:
            raise Backpressure(RETRY_AFTER_S, f"{self._pending} bytes are waiting to be stored")
        done = self._transport.submit(export)
        self._pending += size
        instruments.PENDING_BYTES.set(self._pending)
        return done

    def _finish(self, key: bytes, export: Export, done: Future[None]) -> None:
        signal, error = export.signal, done.exception()
        with self._lock:
            self._pending -= len(export.payload)
            instruments.PENDING_BYTES.set(self._pending)
            if error is not None:
                self._recent.pop(key, None)
        if error is None:
            instruments.ACCEPTED.labels(signal.name.lower()).inc(export.records)
        elif isinstance(error, InvalidPayload):
            self.refused(signal, "refused by the store")
        else:
            instruments.DEFERRED.labels(signal.name.lower()).inc()


def _done() -> Future[None]:
    done: Future[None] = Future()
    done.set_result(None)
    return done
