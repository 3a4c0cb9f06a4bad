"""One attempt to deliver one request, over HTTP or gRPC; what the answer means is in ``retry.py``."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - here, and not by our thread at its first request: see httpcore below
import gzip
import ssl
import time
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import grpc
import httpcore  # noqa: F401 - httpx imports it when first used; a fork meanwhile leaves the child with half a module
import httpx
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tidegauge.clock import Clock, SystemClock
from tidegauge.collectors.sdk.settings import Settings
from tidegauge.retries import retry_after

RETRYABLE_HTTP = {429, 502, 503, 504}
RETRYABLE_GRPC = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
DIVISIBLE_HTTP = {400, 413, 422}  # one record may be at fault, or they are too much together
UNKNOWN_HTTP = {404, 405, 415, 501}  # what a receiver that knows no frames says to one
DIVISIBLE_GRPC = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
MAX_ANSWER_BYTES = 64 * 2**10


class Lane(StrEnum):
    """A kind of request; the value is the last part of its HTTP path."""

    TRACES = "traces"
    LOGS = "logs"
    METRICS = "metrics"
    FRAMES = "frames"


CONTENT_TYPES = {Lane.FRAMES: "application/vnd.apache.arrow.stream"}
METHODS = {
    Lane.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Lane.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    Lane.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """It arrived; ``rejected`` of its records were not accepted, for ``reason``."""

    rejected: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """It may be taken later, and not before ``after_s`` where the receiver said so."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It never will be taken; parts of it may be, where it is ``divisible``; no such request is, where ``unknown``."""

    reason: str
    divisible: bool = False
    unknown: bool = False


Answer = Taken | Later | Refused


class Post(Protocol):
    """One attempt to deliver a request."""

    def __call__(self, lane: Lane, payload: bytes) -> Answer:
        """Send ``payload``; whatever the network does is an answer."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class HttpPost:
    """Attempts over OTLP/HTTP with protobuf. No proxy of the environment is used, and no redirect followed."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._base, self._gzip = settings.endpoint, settings.compression == "gzip"
        self._timeout_s, self._clock = settings.timeout_s, clock or SystemClock()
        headers = {"accept-encoding": "identity", **settings.headers}
        self._client = httpx.Client(
            headers=headers,
            timeout=settings.timeout_s,
            trust_env=False,
            verify=trust(_encrypted(settings), settings.certificate),
        )

    def __call__(self, lane: Lane, payload: bytes) -> Answer:
        headers = {"content-type": CONTENT_TYPES.get(lane, "application/x-protobuf")}
        if self._gzip:
            payload, headers["content-encoding"] = gzip.compress(payload, 1), "gzip"
        try:
            with self._client.stream("POST", f"{self._base}/v1/{lane}", content=payload, headers=headers) as answer:
                body = self._body(answer)
        except (httpx.TransportError, OSError) as error:
            return Later(f"{type(error).__name__}: {error}")
        if answer.status_code in RETRYABLE_HTTP:
            return Later(f"HTTP {answer.status_code}", retry_after(answer.headers, self._clock.now()))
        if not answer.is_success:
            detail = body[:200].decode(errors="replace")
            status = answer.status_code
            return Refused(f"HTTP {status}: {detail}", status in DIVISIBLE_HTTP, status in UNKNOWN_HTTP)
        return partial(lane, body)

    def _body(self, answer: httpx.Response) -> bytes:
        """What came within the bounds of size and time."""
        body, deadline = b"", time.monotonic() + self._timeout_s
        for piece in answer.iter_raw():
            body += piece
            if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                break
        return body

    def close(self) -> None:
        self._client.close()


class GrpcPost:
    """Attempts over OTLP/gRPC. The protocol has no way for frames."""

    def __init__(self, settings: Settings) -> None:
        address = urlsplit(settings.endpoint).netloc
        options = [("grpc.max_send_message_length", -1)]
        compression = grpc.Compression.Gzip if settings.compression == "gzip" else None
        if _encrypted(settings):
            authority = settings.certificate.read_bytes() if settings.certificate else None
            credentials = grpc.ssl_channel_credentials(authority)
            self._channel = grpc.secure_channel(address, credentials, options, compression)
        else:
            self._channel = grpc.insecure_channel(address, options, compression)
        self._methods = {lane: self._channel.unary_unary(name) for lane, name in METHODS.items()}
        self._metadata = [(key.lower(), value) for key, value in settings.headers.items()]
        self._timeout_s = settings.timeout_s

    def __call__(self, lane: Lane, payload: bytes) -> Answer:
        if lane not in self._methods:
            return Refused("OTLP/gRPC has no way for frames", unknown=True)
        try:
            body = self._methods[lane](payload, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            return _refusal(error)
        return partial(lane, body)

    def close(self) -> None:
        self._channel.close()


def post(settings: Settings) -> Post:
    """The way to deliver that the settings ask for."""
    return GrpcPost(settings) if settings.protocol == "grpc" else HttpPost(settings)


@cache
def trust(encrypted: bool, certificate: Path | None) -> ssl.SSLContext:
    """Whom the receiver's certificate must be signed by. Raises OSError for a file that is no certificate.

    Called before the sending thread is: a fork while that thread makes its first context would leave the child without
    OpenSSL.
    """
    if not encrypted:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused, but httpx would make one of its own
    return ssl.create_default_context(cafile=certificate)


def partial(lane: Lane, body: bytes) -> Taken:
    """A success, read for what it rejected. A body that is not OTLP's says nothing."""
    answer = ExportTraceServiceResponse() if lane is Lane.TRACES else ExportLogsServiceResponse()
    try:
        answer.ParseFromString(body)
    except DecodeError:
        return Taken()
    success = answer.partial_success
    counts = {name.name: value for name, value in success.ListFields() if name.name.startswith("rejected")}
    return Taken(max(0, sum(counts.values())), success.error_message[:200])


def _refusal(error: grpc.RpcError) -> Answer:
    code, wait = error.code(), _retry_info(error)
    reason = f"gRPC {code.name}: {(error.details() or '')[:200]}"
    if code in RETRYABLE_GRPC or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and wait is not None):
        return Later(reason, wait)
    return Refused(reason, code in DIVISIBLE_GRPC)


def _retry_info(error: grpc.RpcError) -> float | None:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return _delay(value)
    return None


def _delay(details: bytes) -> float | None:
    info = RetryInfo()
    try:
        for detail in Status.FromString(details).details:
            if detail.Unpack(info):
                return float(info.retry_delay.ToTimedelta().total_seconds())
    except (DecodeError, ValueError):  # no details, or a wait that is no time
        return None
    return None


def _encrypted(settings: Settings) -> bool:
    return settings.endpoint.startswith("https")
