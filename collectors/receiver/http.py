"""OTLP/HTTP: protobuf and JSON; gzip, deflate and zstd. Frames as Arrow IPC streams beside it."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from google.rpc.code_pb2 import INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAUTHENTICATED, UNAVAILABLE
from google.rpc.status_pb2 import Status
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tidegauge import instruments
from tidegauge.collectors.receiver import body as bodies
from tidegauge.collectors.receiver.handover import LARGE, Handover
from tidegauge.collectors.receiver.intake import Intake
from tidegauge.collectors.receiver.json import to_protobuf
from tidegauge.collectors.receiver.keys import ApiKeys, Forbidden, Unauthenticated
from tidegauge.collectors.receiver.room import Lease
from tidegauge.errors import Backpressure, InvalidPayload, TidegaugeError
from tidegauge.model import Signal

log = logging.getLogger(__name__)

PROTOBUF, JSON, ARROW = "application/x-protobuf", "application/json", "application/vnd.apache.arrow.stream"
PATHS = {
    "/v1/traces": Signal.TRACES,
    "/v1/logs": Signal.LOGS,
    "/v1/metrics": Signal.METRICS,
    "/v1/frames": Signal.FRAMES,
}
FIRST_LEASE = 2**16  # bytes, of a body that does not say its length
RETRY_AFTER_S = 5.0  # when something failed that nobody foresaw


class HttpReceiver:
    """The ASGI application: the export paths, and ``/healthz`` and ``/metrics`` beside them."""

    def __init__(self, intake: Intake, keys: ApiKeys, handover: Handover, max_body_bytes: int) -> None:
        self._intake, self._keys, self._handover, self._limit = intake, keys, handover, max_body_bytes
        self._others: ASGIApp = Starlette(routes=[Route("/healthz", _healthy), Route("/metrics", _metrics)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        signal = PATHS.get(scope["path"])
        if signal is None:
            await self._others(scope, receive, send)
            return
        with instruments.REQUESTS.labels("http").track_inprogress():
            answer = await self._answer(signal, scope, receive)
        await answer(scope, receive, send)

    async def _answer(self, signal: Signal, scope: Scope, receive: Receive) -> Response:
        headers = dict(_headers(scope))
        kind = headers.get("content-type", PROTOBUF).partition(";")[0].strip().lower()
        lease: Lease | None = None
        try:
            tenant = self._keys.tenant(headers.items())  # before a byte of the body is asked for
            if refusal := self._refusal(signal, scope["method"], kind):
                return refusal
            with self._intake.counting(signal):
                lease = self._intake.room.lease(self._announced(headers))
                raw = await bodies.read(receive, self._limit, lease)
            instruments.RECEIVED_BYTES.labels("http").inc(len(raw))
            done = self._hand_over(_Body(signal, kind, headers.get("content-encoding", ""), raw, tenant), lease)
            lease = None  # the intake's from here on
            del raw
            await asyncio.wrap_future(done)
        except Exception as error:  # noqa: BLE001 - the request's edge: every error has an answer
            return self._failure(kind, error)
        finally:
            if lease:
                lease.release()
        return Response(b"{}" if kind == JSON else b"", media_type=kind)

    def _refusal(self, signal: Signal, method: str, kind: str) -> Response | None:
        if method != "POST":
            return Response(status_code=405, headers={"allow": "POST"})
        known = (ARROW,) if signal is Signal.FRAMES else (PROTOBUF, JSON)
        if kind in known:
            return None
        self._intake.refused(signal, "content type")
        return _error(PROTOBUF, 415, INVALID_ARGUMENT, f"Content-Type {kind!r}: send {' or '.join(known)}")

    def _announced(self, headers: Mapping[str, str]) -> int:
        """How many bytes to make room for; raises TooLarge where the client itself says that they are too many."""
        length = headers.get("content-length", "")
        size = int(length) if length.isdecimal() else FIRST_LEASE
        if size > self._limit and length:
            raise bodies.TooLarge(f"the request is larger than {self._limit} bytes; send smaller batches")
        return min(size, self._limit)

    def _hand_over(self, body: _Body, lease: Lease) -> Future[None]:
        def work() -> Future[None]:
            try:
                with self._intake.counting(body.signal):
                    payload = body.payload(self._limit, lease)
            except BaseException:
                lease.release()
                raise
            return self._intake.accept(body.signal, payload, body.tenant, lease)

        slow = len(body.raw) > LARGE or body.kind != PROTOBUF
        return self._handover(work, slow=slow)

    def _failure(self, kind: str, error: Exception) -> Response:
        match error:
            case Unauthenticated():
                return _error(kind, 401, UNAUTHENTICATED, str(error), {"www-authenticate": "Bearer"})
            case Forbidden():
                return _error(kind, 403, PERMISSION_DENIED, str(error))
            case bodies.Disconnected():
                return Response(status_code=408)
            case bodies.TooLarge():
                return _error(kind, 413, RESOURCE_EXHAUSTED, str(error))
            case InvalidPayload():
                return _error(kind, 400, INVALID_ARGUMENT, str(error))
            case _:
                if not isinstance(error, TidegaugeError):
                    log.exception("a request failed in a way that nobody foresaw")
                seconds = error.retry_after_s if isinstance(error, Backpressure) else RETRY_AFTER_S
                return _error(kind, 503, UNAVAILABLE, str(error), {"retry-after": str(math.ceil(seconds))})


@dataclass(slots=True)
class _Body:
    """A request as it came."""

    signal: Signal
    kind: str
    encoding: str
    raw: bytes
    tenant: str

    def payload(self, limit: int, lease: Lease) -> bytes:
        """The serialized request in it. Raises InvalidPayload, TooLarge or Backpressure."""
        plain = bodies.decompress(self.raw, self.encoding.strip().lower(), limit, lease)
        self.raw = b""
        return to_protobuf(self.signal, plain) if self.kind == JSON else plain


def _headers(scope: Scope) -> Iterator[tuple[str, str]]:
    return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])


def _error(kind: str, status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    if kind == JSON:
        text = json.dumps({"code": code, "message": message}).encode()
        return Response(text, status, headers, media_type=JSON)
    return Response(Status(code=code, message=message).SerializeToString(), status, headers, media_type=PROTOBUF)


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _metrics(_: Request) -> Response:
    return Response(instruments.exposition(), media_type="text/plain; version=0.0.4")
