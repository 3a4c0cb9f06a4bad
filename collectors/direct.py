"""Straight into ClickHouse: requests that come within some milliseconds of each other share an insert."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field

from tidegauge import instruments
from tidegauge.collectors.otlp import repeated_bytes
from tidegauge.collectors.schema.otlp import insert_exports
from tidegauge.config import Direct
from tidegauge.errors import Backpressure, InvalidPayload, StoreError
from tidegauge.model import Export, Signal
from tidegauge.store import Store

RETRY_AFTER_S = 2.0


@dataclass(slots=True)
class _Batch:
    exports: list[Export] = field(default_factory=list)
    futures: list[Future[None]] = field(default_factory=list)
    size: int = 0
    opened: float = 0.0


class DirectTransport:
    """A transport whose futures resolve when ClickHouse has taken the rows."""

    def __init__(self, store: Store, settings: Direct) -> None:
        self._store, self._settings = store, settings
        self.token = f"direct:{uuid.uuid4().hex[:12]}"  # begins the tokens of this process's inserts
        self.stored: Counter[Signal] = Counter()  # records answered with success
        self._inserts = itertools.count(1)
        self._open: dict[Signal, _Batch] = {}
        self._inserting = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="tidegauge-direct", daemon=True)
        self._thread.start()

    def submit(self, export: Export) -> Future[None]:
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # a client that hangs up cancels its wait, never the insert
        with self._changed:
            if self._closing:
                raise Backpressure(RETRY_AFTER_S, "shutting down")
            batch = self._open.setdefault(export.signal, _Batch(opened=time.monotonic()))
            batch.exports.append(export)
            batch.futures.append(done)
            batch.size += len(export.payload)
            self._changed.notify_all()
        return done

    def flush(self, timeout_s: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: not self._open and not self._inserting, timeout_s):
                raise TimeoutError(f"not everything was stored within {timeout_s:g} s")

    def close(self, timeout_s: float) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while due := self._next():
            for signal, batch in due:
                self._insert(signal, batch)
            with self._changed:
                self._inserting = 0
                self._changed.notify_all()

    def _next(self) -> list[tuple[Signal, _Batch]]:
        with self._changed:
            while True:
                due = [signal for signal, batch in self._open.items() if self._due(batch)]
                if due or (self._closing and not self._open):
                    self._inserting = len(due)
                    return [(signal, self._open.pop(signal)) for signal in due]
                self._changed.wait(self._sleep_s())

    def _due(self, batch: _Batch) -> bool:
        age = time.monotonic() - batch.opened
        return self._closing or age >= self._settings.flush_after_s or batch.size >= self._settings.max_batch_bytes

    def _sleep_s(self) -> float | None:
        if not self._open:
            return None
        oldest = min(batch.opened for batch in self._open.values())
        return max(0.0, oldest + self._settings.flush_after_s - time.monotonic())

    def _insert(self, signal: Signal, batch: _Batch) -> None:
        error = self._try(signal, batch.exports)
        if isinstance(error, InvalidPayload) and len(batch.exports) > 1:
            for export, done in zip(batch.exports, batch.futures, strict=True):  # one is bad; find it
                _resolve(done, self._try(signal, [export]))
            return
        for done in batch.futures:
            _resolve(done, error)

    def _try(self, signal: Signal, exports: list[Export]) -> Exception | None:
        try:
            with instruments.INSERT_SECONDS.labels(signal.name.lower()).time():
                for each in exports:
                    repeated_bytes(signal, each.payload, each.records)
                token = f"{self.token}:{next(self._inserts)}"
                insert_exports(self._store, signal, [each.payload for each in exports], token)
        except InvalidPayload as error:
            return error
        except StoreError as error:
            return Backpressure(RETRY_AFTER_S, str(error)) if error.transient else InvalidPayload(str(error))
        except Exception as error:  # noqa: BLE001 - the loop's edge: the client is told and may come again
            return Backpressure(RETRY_AFTER_S, f"{type(error).__name__}: {error}")
        records = sum(each.records for each in exports)
        self.stored[signal] += records
        instruments.STORED.labels(signal.name.lower()).inc(records)
        return None


def _resolve(done: Future[None], error: Exception | None) -> None:
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
