"""The client: what a service calls."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

import polars as pl
import pyarrow as pa
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from tidegauge import __version__
from tidegauge.clock import Clock, SystemClock
from tidegauge.collectors.sdk import exporters, frames, records, wire
from tidegauge.collectors.sdk.sender import Sender
from tidegauge.collectors.sdk.spans import INHERITED, Steps
from tidegauge.collectors.sdk.tracing import Tracing
from tidegauge.errors import InvalidRecord

log = logging.getLogger(__name__)
T = TypeVar("T")
QUEUED = 20_000  # spans, and events
UNLIMITED = LogRecordLimits(max_log_record_attributes=LogRecordLimits.UNSET)  # else features beyond 128 are dropped
UNSENDABLE = (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError, pa.ArrowException)


class Client(Tracing):
    """A service's way to Tidegauge; make one with :func:`init`.

    No method raises into the service unless ``strict`` is set: a record that cannot be sent is counted in ``rejected``
    and the first one is logged. Nothing waits for the network unless ``on_full="wait"``.
    """

    def __init__(
        self,
        service_name: str,
        endpoint: str,
        protocol: Literal["http/protobuf", "grpc"],
        headers: Mapping[str, str],
        resource: Mapping[str, str],
        capture_content: bool,
        clock: Clock,
        strict: bool,
        on_full: Literal["drop", "wait"],
    ) -> None:
        described = Resource.create({"service.name": service_name, **resource})
        self._clock, self._strict = clock, strict
        self._resource = _resource_bytes(described)
        self._sender = Sender(exporters.post(protocol, endpoint, headers), on_full=on_full)
        self._tracers = TracerProvider(resource=described, sampler=ALWAYS_ON)  # whatever another provider samples
        self._tracers.add_span_processor(
            BatchSpanProcessor(exporters.spans(protocol, endpoint, headers, self._sender.drop), max_queue_size=QUEUED)
        )
        self._loggers = LoggerProvider(resource=described, log_record_limits=UNLIMITED)
        self._loggers.add_log_record_processor(
            BatchLogRecordProcessor(
                exporters.logs(protocol, endpoint, headers, self._sender.drop), max_queue_size=QUEUED
            )
        )
        self._logger = self._loggers.get_logger("tidegauge", __version__)
        super().__init__(Steps(self._tracers.get_tracer("tidegauge", __version__), clock, capture_content))
        self.rejected = 0

    @property
    def tracer_provider(self) -> TracerProvider:
        """For instrumentations of others, so that their spans come here too."""
        return self._tracers

    @property
    def dropped(self) -> int:
        """Records that were given up: refused by the receiver, out of time, or of a frame that found the queue full."""
        return self._sender.dropped

    def log_prediction(
        self,
        model: str,
        features: Mapping[str, Any],
        *,
        prediction: Any,
        score: float | None = None,
        prediction_id: str | None = None,
        version: str = "",
        timestamp: datetime | None = None,
        role: str = "",
        slices: Mapping[str, str] | None = None,
        tenant: str = "",
        intent: str = "",
        session: str = "",
        versions: Mapping[str, str] | None = None,
    ) -> str:
        """One prediction; returns its id, which a label or feedback names later.

        Args:
            model: The name that its predictions are watched under.
            features: Numbers, text, bools; None and NaN count as missing.
            prediction: A class, a number, a ranking as text.
            score: Probability, confidence or regression value.
            slices: Dimensions to look at apart, such as ``{"carrier": "AA"}``.
            versions: The version tuple: base_model, fine_tune, tool_schema, training_data_hash ...
        """
        identifier = prediction_id or uuid.uuid4().hex

        def build() -> records.Attributes:
            own = records.prediction(model, identifier, features, prediction, score, version)
            return own | records.context(tenant, intent, session, role, slices, versions)

        self._event(records.PREDICTION, build, timestamp)
        return identifier

    def log_predictions(
        self,
        model: str,
        frame: frames.Frame,
        *,
        features: Sequence[str],
        prediction: str,
        score: str | None = None,
        prediction_id: str | None = None,
        timestamp: str | None = None,
        slices: Sequence[str] = (),
        version: str = "",
        role: str = "",
        versions: Mapping[str, str] | None = None,
    ) -> list[str]:
        """A frame of predictions (pandas, polars or dictionaries); returns their ids.

        Every argument but ``model``, ``version``, ``role`` and ``versions`` names columns. Null counts as missing.
        """

        layout = frames.Layout(features, prediction, score, prediction_id, timestamp, slices)

        def send() -> list[str]:
            data = frames.frame(frame)
            layout.require(data)
            identifiers = frames.identifiers(data, prediction_id)
            same = records.model(model, version) | records.context(role=role, versions=versions)
            self._send(layout.columns(data, identifiers, same, self._clock.now_ns()))
            return identifiers

        return self._guard(send, [])

    def log_label(self, model: str, prediction_id: str, label: Any, *, timestamp: datetime | None = None) -> None:
        """The truth about an earlier prediction, whenever it is known; the last by event time counts."""
        self._event(records.LABEL, lambda: records.label(model, prediction_id, label), timestamp)

    def log_labels(
        self,
        model: str,
        prediction_ids: Sequence[str],
        labels: Sequence[Any],
        *,
        timestamps: Sequence[datetime] | None = None,
    ) -> None:
        """Many labels at once; the sequences are of equal length."""

        def send() -> None:
            self._send(frames.label_columns(model, prediction_ids, labels, timestamps, self._clock.now_ns()))

        self._guard(send, None)

    def log_feedback(
        self,
        kind: Literal["thumbs", "csat", "correction"],
        score: float | None = None,
        *,
        comment: str = "",
        trace_id: str = "",
        span_id: str = "",
        prediction_id: str = "",
        timestamp: datetime | None = None,
    ) -> None:
        """What a person said: thumbs -1 or 1, csat 1 to 5, or a correction in ``comment``."""
        self._event(
            records.FEEDBACK,
            lambda: records.feedback(kind, score, comment, prediction_id),
            timestamp,
            trace_id,
            span_id,
        )

    def log_outcome(
        self,
        name: str,
        value: float = 1.0,
        *,
        trace_id: str = "",
        prediction_id: str = "",
        timestamp: datetime | None = None,
    ) -> None:
        """What came of it: click, conversion, deflection ..."""
        self._event(records.OUTCOME, lambda: records.outcome(name, value, prediction_id), timestamp, trace_id)

    def flush(self, timeout_s: float = 30) -> bool:
        """Wait until all that was logged is delivered or given up; False after ``timeout_s``."""
        milliseconds = int(timeout_s * 1000)
        spans = self._tracers.force_flush(milliseconds)
        logs = self._loggers.force_flush(milliseconds)
        return self._sender.flush(timeout_s) and spans and logs

    def shutdown(self) -> None:
        """Flush and stop."""
        self.flush()
        self._tracers.shutdown()
        self._loggers.shutdown()
        self._sender.close(1)

    def _send(self, columns: Sequence[frames.Column]) -> None:
        for payload, rows in frames.requests(self._resource, columns):
            self._sender.offer(payload, rows)

    def _event(
        self,
        name: str,
        build: Callable[[], records.Attributes],
        timestamp: datetime | None,
        trace_id: str = "",
        span_id: str = "",
    ) -> None:
        def emit() -> None:
            self._logger.emit(
                timestamp=records.nanoseconds(timestamp) if timestamp else self._clock.now_ns(),
                context=_span_context(trace_id, span_id),
                severity_number=SeverityNumber.INFO,
                attributes=(INHERITED.get() or {}) | build(),
                event_name=name,
            )

        self._guard(emit, None)

    def _guard(self, work: Callable[[], T], otherwise: T) -> T:
        try:
            return work()
        except InvalidRecord as error:
            return self._reject(error, otherwise)
        except UNSENDABLE as error:
            return self._reject(InvalidRecord(f"{type(error).__name__}: {error}"), otherwise)

    def _reject(self, error: InvalidRecord, otherwise: T) -> T:
        if self._strict:
            raise error
        if not self.rejected:
            log.warning("a record was not sent: %s; further ones are only counted", error)
        self.rejected += 1
        return otherwise


def _resource_bytes(described: Resource) -> bytes:
    scalars = {key: value for key, value in described.attributes.items() if isinstance(value, str | bool | int | float)}
    return ResourceMessage(attributes=wire.key_values(scalars)).SerializeToString()


def _span_context(trace_id: str, span_id: str) -> Any:
    if not trace_id:
        return None
    try:
        trace_number, span_number = int(trace_id, 16), int(span_id or "0", 16)
    except ValueError as error:
        raise InvalidRecord(f"trace_id {trace_id!r} or span_id {span_id!r} is not hexadecimal") from error
    remote = SpanContext(trace_number, span_number, is_remote=True, trace_flags=TraceFlags(1))
    return trace.set_span_in_context(NonRecordingSpan(remote))


def init(
    service_name: str,
    endpoint: str = "http://127.0.0.1:4318",
    *,
    protocol: Literal["http/protobuf", "grpc"] = "http/protobuf",
    headers: Mapping[str, str] | None = None,
    resource: Mapping[str, str] | None = None,
    capture_content: bool = False,
    clock: Clock | None = None,
    strict: bool = False,
    on_full: Literal["drop", "wait"] = "drop",
) -> Client:
    """Start sending to a Tidegauge receiver, or to any OpenTelemetry Collector in front of one.

    Args:
        service_name: ``service.name`` of everything sent.
        endpoint: Base address: port 4318 for HTTP, 4317 for gRPC.
        headers: For authentication.
        resource: Further resource attributes, such as the version tuple (``tidegauge.version.base_model``).
        capture_content: Record prompts, answers and documents. Off, only numbers and names leave the service.
        clock: For replays of past data.
        strict: Raise InvalidRecord instead of counting; for tests and batch jobs.
        on_full: What a full queue does to a frame: ``drop`` it (a service), or ``wait`` (a batch job).
    """
    return Client(
        service_name,
        endpoint.rstrip("/"),
        protocol,
        headers or {},
        resource or {},
        capture_content,
        clock or SystemClock(),
        strict,
        on_full,
    )
