"""OTLP/gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tidegauge.collectors.receiver.intake import Intake
from tidegauge.errors import Backpressure, InvalidPayload, TidegaugeError
from tidegauge.model import Signal

SERVICES = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
EMPTY_RESPONSE = b""
Handler = Callable[[bytes, Any], Awaitable[bytes]]


def create_server(intake: Intake, max_body_bytes: int) -> grpc.aio.Server:
    """A gRPC server with the three export services; bind it and start it."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", max_body_bytes), ("grpc.so_reuseport", 0)])
    for signal, service in SERVICES.items():
        method = grpc.unary_unary_rpc_method_handler(_handler(intake, signal))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
    return server


def _handler(intake: Intake, signal: Signal) -> Handler:
    async def export(payload: bytes, context: Any) -> bytes:
        try:
            await asyncio.wrap_future(intake.accept(signal, payload))
        except InvalidPayload as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Backpressure as error:
            await _unavailable(context, str(error), error.retry_after_s)
        except TidegaugeError as error:
            await _unavailable(context, str(error), 5)
        return EMPTY_RESPONSE

    return export


async def _unavailable(context: Any, message: str, retry_after_s: float) -> None:
    detail = AnyMessage()
    detail.Pack(RetryInfo(retry_delay=Duration(nanos=int(retry_after_s % 1 * 1e9), seconds=int(retry_after_s))))
    status = Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message=message, details=[detail])
    await context.abort(
        grpc.StatusCode.UNAVAILABLE, message, (("grpc-status-details-bin", status.SerializeToString()),)
    )
