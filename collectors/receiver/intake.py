"""What happens to a request whichever protocol it came by: checked, masked, counted, bounded, handed on."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from hashlib import blake2b

from xxhash import xxh3_128_digest

from tidegauge import instruments
from tidegauge.collectors.receiver.body import Disconnected, TooLarge
from tidegauge.collectors.receiver.check import count_records
from tidegauge.collectors.receiver.room import Lease, Room
from tidegauge.collectors.receiver.tenant import stamp
from tidegauge.errors import InvalidPayload, TidegaugeError
from tidegauge.model import Export, Signal, Transport

REMEMBERED = 10_000  # requests
Mask = Callable[[Signal, bytes], bytes]


class Intake:
    """Takes serialized requests for ``transport``; at most ``max_pending_bytes`` are under way at a time.

    A request whose bytes are those of one of the last 10,000 is one that was sent again because its answer was lost: it
    gets the first one's answer, and is counted but not stored twice. Thread-safe.

    Args:
        mask: Replaces personal data and secrets; what it returns is what leaves this process.
    """

    def __init__(self, transport: Transport, max_pending_bytes: int, mask: Mask = lambda _, payload: payload) -> None:
        self.room = Room(max_pending_bytes)
        self._transport, self._mask = transport, mask
        self._recent: OrderedDict[bytes, Future[None]] = OrderedDict()
        self._lock = threading.RLock()

    def accept(self, signal: Signal, payload: bytes, tenant: str = "", lease: Lease | None = None) -> Future[None]:
        """Take one request; the future resolves when it is durable.

        Args:
            tenant: Whose data it is, as its API key says; "" where keys are not required.
            lease: The room that the request has had since it began to come in; released when the future resolves.

        Raises:
            InvalidPayload: it cannot be decoded; final.
            Backpressure: there is no room; nothing was taken.
        """
        lease = lease or self.room.lease()
        try:
            with self.counting(signal):
                lease.resize(len(payload))
                done = self._taken(signal, payload, tenant, lease)
        except BaseException:
            lease.release()
            raise
        done.add_done_callback(lambda _: lease.release())
        return done

    def refused(self, signal: Signal, reason: str) -> None:
        """Count a request that is answered with a final error."""
        instruments.REJECTED.labels(signal.name.lower(), reason).inc()

    @contextmanager
    def counting(self, signal: Signal) -> Iterator[None]:
        """Count the request as refused or deferred where what is inside raises."""
        try:
            yield
        except InvalidPayload:
            self.refused(signal, "undecodable")
            raise
        except TooLarge:
            self.refused(signal, "too large")
            raise
        except Disconnected:
            self.refused(signal, "cut off")
            raise
        except TidegaugeError:
            instruments.DEFERRED.labels(signal.name.lower()).inc()
            raise

    def _taken(self, signal: Signal, payload: bytes, tenant: str, lease: Lease) -> Future[None]:
        records = count_records(signal, payload)
        if not records:
            return _done()
        digest = _digest(signal, payload, tenant)
        with self._lock:
            if digest in self._recent:
                self.refused(signal, "duplicate")
                return self._recent[digest]
            promise = self._recent[digest] = Future()
            promise.set_running_or_notify_cancel()
            if len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        try:
            export = Export(signal, self._leaving(signal, payload, tenant), records, digest)
            del payload
            lease.resize(len(export.payload))
            self._submit(export, promise)
        except BaseException as error:
            self._forget(digest)
            promise.set_exception(error)
            raise
        return promise

    def _leaving(self, signal: Signal, payload: bytes, tenant: str) -> bytes:
        """What leaves this process: with the verified tenant, without personal data and secrets."""
        return self._mask(signal, _stamped(signal, payload, tenant) if tenant else payload)

    def _submit(self, export: Export, promise: Future[None]) -> None:
        begun = time.monotonic()
        signal, records, digest = export.signal, export.records, export.digest

        def settle(done: Future[None]) -> None:  # holds no payload: the transport has its own
            error = done.exception()
            instruments.DURABLE_SECONDS.labels(signal.name.lower()).observe(time.monotonic() - begun)
            if error is None:
                instruments.ACCEPTED.labels(signal.name.lower()).inc(records)
                promise.set_result(None)
                return
            self._forget(digest)
            if isinstance(error, InvalidPayload):
                self.refused(signal, "refused by the store")
            else:
                instruments.DEFERRED.labels(signal.name.lower()).inc()
            promise.set_exception(error)

        self._transport.submit(export).add_done_callback(settle)

    def _forget(self, digest: bytes) -> None:
        with self._lock:
            self._recent.pop(digest, None)


def _digest(signal: Signal, payload: bytes, tenant: str) -> bytes:
    """16 bytes that are the same for the same request on every receiver, and that no other tenant can produce.

    XXH3 is no cryptographic hash: who holds a tenant's key can make two requests of one digest and so have one of that
    tenant's own taken for a repeat, which that key could as well have not sent. BLAKE2 over tenant and signal keeps it
    there. (SHA-256 or BLAKE2 over the payload would cost as much as decoding it.)
    """
    return blake2b(xxh3_128_digest(payload) + tenant.encode(), digest_size=16, person=signal.name.encode()).digest()


def _stamped(signal: Signal, payload: bytes, tenant: str) -> bytes:
    if signal is Signal.FRAMES:
        from tidegauge.collectors.frames.stamp import stamp as stamp_frame  # pyarrow is 60 MB that few receivers need

        return stamp_frame(payload, tenant)
    return stamp(signal, payload, tenant)


def _done() -> Future[None]:
    done: Future[None] = Future()
    done.set_result(None)
    return done
