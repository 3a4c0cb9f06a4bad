"""Serialized OTLP requests into ClickHouse, which decodes them itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import xxhash

from tidegauge.collectors.frames.insert import insert_frames
from tidegauge.collectors.otlp import normalise
from tidegauge.errors import StoreError
from tidegauge.model import Signal
from tidegauge.store import Store

TABLES = {Signal.TRACES: "otlp_spans_in", Signal.LOGS: "otlp_logs_in", Signal.METRICS: "otlp_metrics_in"}
MESSAGES = {Signal.TRACES: "Traces", Signal.LOGS: "Logs", Signal.METRICS: "Metrics"}
NESTED = "nested attribute value"  # what the views throw
PROTOBUF = Path(__file__).with_name("otlp.proto")


def insert_exports(store: Store, signal: Signal, payloads: Sequence[bytes], token: str | None = None) -> None:
    """Insert serialized Export*ServiceRequests, or frames, as one batch, all or nothing.

    The same batch sent again changes no table and no rollup: it is known by its ``token``, or else by its content.

    Raises:
        StoreError: ClickHouse refused the batch; nothing of it is stored.
        InvalidPayload: a payload is not what ``signal`` says.
    """
    if signal is Signal.FRAMES:
        insert_frames(store, payloads, token)
    elif payloads:
        name = token or _digest(payloads)  # given, so that a second attempt meets what the first one may have stored
        NESTING[signal].insert(payloads, lambda bodies: _insert(store, signal, bodies, name))


class Nesting:
    """Tells whether the requests of a signal have to be searched for nested attribute values before they are inserted.

    ClickHouse decodes every value anyway, and a nested one makes it refuse the batch. So requests go as they are until
    that happens; then this batch and the next ``MEMORY`` ones are normalised first.
    """

    MEMORY = 1000

    def __init__(self, signal: Signal) -> None:
        self._signal, self._left = signal, 0

    def insert(self, payloads: Sequence[bytes], insert: Callable[[Sequence[bytes]], None]) -> None:
        """Call ``insert`` with the payloads as ClickHouse can take them, once or, where it refused them, twice."""
        if not self._left and not self._refused(payloads, insert):
            return
        self._left = max(0, self._left - 1)
        bodies = [normalise(self._signal, payload) for payload in payloads]
        if any(body is not payload for body, payload in zip(bodies, payloads, strict=True)):
            self._left = self.MEMORY
        insert(bodies)

    def _refused(self, payloads: Sequence[bytes], insert: Callable[[Sequence[bytes]], None]) -> bool:
        try:
            insert(payloads)
        except StoreError as error:
            if NESTED not in str(error):
                raise
            self._left = self.MEMORY
            return True
        return False


NESTING = {signal: Nesting(signal) for signal in TABLES}


def _insert(store: Store, signal: Signal, bodies: Sequence[bytes], token: str) -> None:
    store.insert_protobuf(TABLES[signal], bodies, PROTOBUF, MESSAGES[signal], token)


def _digest(payloads: Sequence[bytes]) -> str:
    digest = xxhash.xxh3_128()
    for payload in payloads:
        digest.update(len(payload).to_bytes(8, "big"))
        digest.update(payload)
    return digest.hexdigest()
