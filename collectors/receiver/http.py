"""OTLP/HTTP: protobuf and JSON; gzip, deflate and zstd."""

from __future__ import annotations

import asyncio
import json
import math

from google.rpc.code_pb2 import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE
from google.rpc.status_pb2 import Status
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tidegauge import instruments
from tidegauge.collectors.receiver import body as bodies
from tidegauge.collectors.receiver.intake import Intake
from tidegauge.collectors.receiver.json import to_protobuf
from tidegauge.errors import Backpressure, InvalidPayload, TidegaugeError
from tidegauge.model import Signal

PATHS = {"/v1/traces": Signal.TRACES, "/v1/logs": Signal.LOGS, "/v1/metrics": Signal.METRICS}
PROTOBUF, JSON = "application/x-protobuf", "application/json"


def create_app(intake: Intake, max_body_bytes: int) -> Starlette:
    """The receiver's HTTP side, with ``/healthz`` and ``/metrics`` beside the OTLP paths."""

    async def export(request: Request) -> Response:
        signal = PATHS[request.url.path]
        kind = request.headers.get("content-type", PROTOBUF).partition(";")[0].strip().lower()
        if kind not in (PROTOBUF, JSON):
            intake.refused(signal, "content type")
            return _error(PROTOBUF, 415, INVALID_ARGUMENT, f"Content-Type {kind!r}: send {PROTOBUF} or {JSON}")
        try:
            payload = await _payload(request, intake, signal, kind, max_body_bytes)
            await asyncio.wrap_future(intake.accept(signal, payload))
        except ClientDisconnect:
            return Response(status_code=499)
        except bodies.TooLarge as error:
            intake.refused(signal, "too large")
            return _error(kind, 413, RESOURCE_EXHAUSTED, str(error))
        except InvalidPayload as error:
            return _error(kind, 400, INVALID_ARGUMENT, str(error))
        except Backpressure as error:
            return _error(kind, 503, UNAVAILABLE, str(error), error.retry_after_s)
        except TidegaugeError as error:
            return _error(kind, 503, UNAVAILABLE, str(error), 5)
        return Response(b"" if kind == PROTOBUF else b"{}", media_type=kind)

    routes = [Route(path, export, methods=["POST"]) for path in PATHS]
    return Starlette(routes=[*routes, Route("/healthz", _healthy), Route("/metrics", _metrics)])


async def _payload(request: Request, intake: Intake, signal: Signal, kind: str, limit: int) -> bytes:
    raw = await bodies.read(request.stream(), limit)
    try:
        plain = bodies.decompress(raw, request.headers.get("content-encoding", "").strip().lower(), limit)
        return plain if kind == PROTOBUF else to_protobuf(signal, plain)
    except InvalidPayload:
        intake.refused(signal, "undecodable")
        raise


def _error(kind: str, status: int, code: int, message: str, retry_after_s: float | None = None) -> Response:
    headers = {} if retry_after_s is None else {"retry-after": str(math.ceil(retry_after_s))}
    if kind == JSON:
        text = json.dumps({"code": code, "message": message}).encode()
        return Response(text, status, headers, media_type=JSON)
    return Response(Status(code=code, message=message).SerializeToString(), status, headers, media_type=PROTOBUF)


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _metrics(_: Request) -> Response:
    return Response(instruments.exposition(), media_type="text/plain; version=0.0.4")
