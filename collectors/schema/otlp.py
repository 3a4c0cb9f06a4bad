"""Serialized OTLP requests into ClickHouse, which decodes them itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import xxhash

from tidegauge.collectors.frames.insert import insert_frames
from tidegauge.collectors.otlp import normalise
from tidegauge.errors import StoreError
from tidegauge.model import Signal
from tidegauge.store import Store

TABLES = {Signal.TRACES: "spans_in", Signal.LOGS: "logs_in", Signal.METRICS: "otlp_metrics_in"}
MESSAGES = {Signal.TRACES: "Traces", Signal.LOGS: "Logs", Signal.METRICS: "Metrics"}
REFUSED = ("nested attribute value", "after deserialization")  # what the views throw; the second: an odd integer
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
    """How the requests of a signal have to be changed before ClickHouse takes them.

    ClickHouse decodes every value anyway, and refuses a batch with one that it cannot make text of. So requests go as
    they are until that happens; then this batch and the next ``MEMORY`` ones have their nested values as JSON text; and
    where that is not enough, all arrays.
    """

    MEMORY = 1000

    def __init__(self, signal: Signal) -> None:
        self._signal, self._way, self._left = signal, 0, 0

    def insert(self, payloads: Sequence[bytes], insert: Callable[[Sequence[bytes]], None]) -> None:
        """Call ``insert`` with the payloads as ClickHouse can take them, up to three times where it refused them."""
        self._left = max(0, self._left - 1)
        self._way = self._way if self._left else 0
        while not self._taken(payloads, insert):
            self._way, self._left = self._way + 1, self.MEMORY

    def _taken(self, payloads: Sequence[bytes], insert: Callable[[Sequence[bytes]], None]) -> bool:
        way = WAYS[self._way]
        try:
            insert([way(self._signal, each) for each in payloads])
        except StoreError as error:
            if way is WAYS[-1] or not any(each in str(error) for each in REFUSED):
                raise
            return False
        return True


def _as_it_is(signal: Signal, payload: bytes) -> bytes:
    return payload


WAYS: tuple[Callable[[Signal, bytes], bytes], ...] = (_as_it_is, normalise, partial(normalise, arrays=True))
NESTING = {signal: Nesting(signal) for signal in TABLES}


def _insert(store: Store, signal: Signal, bodies: Sequence[bytes], token: str) -> None:
    store.insert_protobuf(TABLES[signal], bodies, PROTOBUF, MESSAGES[signal], token)


def _digest(payloads: Sequence[bytes]) -> str:
    digest = xxhash.xxh3_128()
    for payload in payloads:
        digest.update(len(payload).to_bytes(8, "big"))
        digest.update(payload)
    return digest.hexdigest()
