"""OTLP/gRPC.

Each export is handled as a stream of one message, which is the same on the wire: so the key is looked at before a byte
of the message is asked for, and how many messages are being received at a time is ours to say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tidegauge import instruments
from tidegauge.collectors.receiver.handover import LARGE, Handover
from tidegauge.collectors.receiver.intake import Intake
from tidegauge.collectors.receiver.keys import ApiKeys, Forbidden, Unauthenticated
from tidegauge.config import Receiver
from tidegauge.errors import Backpressure, InvalidPayload, TidegaugeError
from tidegauge.model import Signal

log = logging.getLogger(__name__)

SERVICES = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
EMPTY_RESPONSE = b""
STREAMS_PER_CONNECTION = 32
MAX_WAITING = 256  # exports that wait to be read; each has at most some 64 KiB here already
RETRY_AFTER_S = 5.0  # when something failed that nobody foresaw
WAIT_TO_BE_READ_S = 5.0
READS = 16  # messages received at a time, as far as max_pending_bytes allows
Handler = Callable[[Any, Any], Awaitable[bytes]]


def create_server(intake: Intake, keys: ApiKeys, handover: Handover, settings: Receiver) -> grpc.aio.Server:
    """A gRPC server with the three export services; bind it and start it."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes),  # holds after decompression too
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
            ("grpc.max_allowed_incoming_connections", settings.max_connections),
            ("grpc.server_handshake_timeout_ms", int(settings.header_timeout_s * 1000)),
            ("grpc.max_connection_idle_ms", int(settings.idle_timeout_s * 1000)),
        ]
    )
    receiver = _GrpcReceiver(intake, keys, handover, settings)
    for signal, service in SERVICES.items():
        method = grpc.stream_unary_rpc_method_handler(receiver.handler(signal))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
    return server


class _GrpcReceiver:
    def __init__(self, intake: Intake, keys: ApiKeys, handover: Handover, settings: Receiver) -> None:
        self._intake, self._keys, self._handover = intake, keys, handover
        self._timeout_s = settings.body_timeout_s
        self._waiting = 0
        # A message's size is not known before it is there: so many that the largest ones fit.
        self._reads = asyncio.Semaphore(max(1, min(READS, settings.max_pending_bytes // settings.max_body_bytes)))

    def handler(self, signal: Signal) -> Handler:
        """What answers the exports of ``signal``."""

        async def export(_: Any, context: Any) -> bytes:
            with instruments.REQUESTS.labels("grpc").track_inprogress():
                try:
                    tenant = self._keys.tenant(_text(context.invocation_metadata()))
                    payload = await self._read(signal, context)
                    if payload is not None:
                        await self._store(signal, payload, tenant)
                except Exception as error:  # noqa: BLE001 - the request's edge: every error has an answer
                    await _fail(context, error)
            return EMPTY_RESPONSE

        return export

    async def _read(self, signal: Signal, context: Any) -> bytes | None:
        """The message; None when the library has refused it, as too large, or its client has gone."""
        with self._intake.counting(signal):
            await self._turn()
            try:
                async with _within(self._timeout_s, "the message came too slowly"):
                    message = await context.read()
            finally:
                self._reads.release()
        if isinstance(message, bytes):
            instruments.RECEIVED_BYTES.labels("grpc").inc(len(message))
            return message
        self._intake.refused(signal, "too large or cut off")  # which of them, only the library knows
        return None

    async def _turn(self) -> None:
        if self._waiting >= MAX_WAITING:
            raise Backpressure(1, f"{self._waiting} exports are waiting")
        self._waiting += 1
        try:
            async with _within(WAIT_TO_BE_READ_S, "others are being received"):
                await self._reads.acquire()
        finally:
            self._waiting -= 1

    async def _store(self, signal: Signal, payload: bytes, tenant: str) -> None:
        with self._intake.counting(signal):
            lease = self._intake.room.lease(len(payload))
        slow = len(payload) > LARGE
        done = self._handover(lambda: self._intake.accept(signal, payload, tenant, lease), slow=slow)
        await asyncio.wrap_future(done)


@asynccontextmanager
async def _within(seconds: float, otherwise: str) -> AsyncIterator[None]:
    """Raise Backpressure where what is inside takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Backpressure(1, f"{otherwise}, waited {seconds:g} s") from None


def _text(metadata: Iterable[tuple[str, str | bytes]]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in metadata if isinstance(value, str))


async def _fail(context: Any, error: Exception) -> None:
    match error:
        case Unauthenticated():
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        case Forbidden():
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        case InvalidPayload():
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    if not isinstance(error, TidegaugeError):
        log.error("a request failed in a way that nobody foresaw", exc_info=error)
    seconds = error.retry_after_s if isinstance(error, Backpressure) else RETRY_AFTER_S
    message, detail = str(error), AnyMessage()
    detail.Pack(RetryInfo(retry_delay=Duration(nanos=int(seconds % 1 * 1e9), seconds=int(seconds))))
    status = Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message=message, details=[detail])
    await context.abort(
        grpc.StatusCode.UNAVAILABLE, message, (("grpc-status-details-bin", status.SerializeToString()),)
    )
