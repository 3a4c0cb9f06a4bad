"""Serialized OTLP requests into ClickHouse, which decodes them itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tidegauge.collectors.otlp import normalise
from tidegauge.model import Signal
from tidegauge.store import Store

TABLES = {Signal.TRACES: "otlp_spans_in", Signal.LOGS: "otlp_logs_in", Signal.METRICS: "otlp_metrics_in"}
MESSAGES = {Signal.TRACES: "Traces", Signal.LOGS: "Logs", Signal.METRICS: "Metrics"}
PROTOBUF = Path(__file__).with_name("otlp.proto")


def insert_exports(store: Store, signal: Signal, payloads: Sequence[bytes], token: str | None = None) -> None:
    """Insert serialized Export*ServiceRequests as one batch, all or nothing.

    With a ``token`` the same batch sent again changes no table and no rollup.

    Raises:
        StoreError: ClickHouse refused the batch; nothing of it is stored.
        InvalidPayload: a payload is not what ``signal`` says.
    """
    if payloads:
        bodies = [normalise(signal, payload) for payload in payloads]
        store.insert_protobuf(TABLES[signal], bodies, PROTOBUF, MESSAGES[signal], token)
