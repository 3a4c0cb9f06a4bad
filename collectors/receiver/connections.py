"""HTTP connections that cannot be held open for nothing: bounded in number, in time and in what they may send unasked.

uvicorn's protocol has a timeout for idle connections only. This one adds the others.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tidegauge import instruments

MAX_HEAD_BYTES = 2**16
MAX_PIPELINED = 8  # requests sent before the answer to the first
OVERHEAD = 2**20  # of chunked encoding
UNHEARD = 8  # times the limit of a body, read after the answer: many clients read it only once they have sent all


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one connection but for ``connections``, which is how many there may be; times in seconds."""

    connections: int
    body_bytes: int
    header_timeout_s: float
    body_timeout_s: float


def limited_protocol(limits: Limits) -> type[HttpToolsProtocol]:
    """uvicorn's HTTP protocol with ``limits``."""
    return type("LimitedProtocol", (_LimitedProtocol,), {"limits": limits})


class _LimitedProtocol(HttpToolsProtocol):
    limits: ClassVar[Limits]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._timer: asyncio.TimerHandle | None = None
        self._in_head, self._received = True, 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        instruments.CONNECTIONS.inc()
        if len(self.connections) > self.limits.connections:
            self._refuse(503, "too many connections; retry after 1 s", "retry-after: 1")
        else:
            self._within(self.limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        instruments.CONNECTIONS.dec()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        if self._in_head and self._received > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, "the head of the request is too large")
        elif self._received > self._most():
            self.transport.close()
        elif self._untimed():
            self._within(self.limits.header_timeout_s)  # empty lines, say, which begin no request

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._received = True, 0
        self._within(self.limits.header_timeout_s)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self.transport.close()
            return
        self._in_head = False
        self._within(self.limits.body_timeout_s)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """uvicorn's own, without copying the body twice."""
        if self.cycle.response_complete:
            return
        self.cycle.body = self.cycle.body + body if self.cycle.body else body  # type: ignore[assignment]
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._stop_timer()
        self._in_head, self._received = True, 0
        super().on_message_complete()
        if self.cycle.response_complete and not self.pipeline:  # answered before all of it had come
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _most(self) -> int:
        """Bytes of one request; once it is answered the rest is read and thrown away, within the body's time."""
        answered = self.cycle is not None and self.cycle.response_complete
        return self.limits.body_bytes * (UNHEARD if answered else 1) + OVERHEAD

    def _untimed(self) -> bool:
        """Between requests, with neither their timer nor uvicorn's own for idle connections."""
        timed = self._timer or self.timeout_keep_alive_task or self.transport.is_closing()
        return not timed and (self.cycle is None or self.cycle.response_complete)

    def _within(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        instruments.TIMEOUTS.labels("head" if self._in_head else "body").inc()
        answered = self.cycle is not None and self.cycle.response_started
        if self._in_head and not answered:
            self._refuse(408, "the request came too slowly")
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str, *headers: str) -> None:
        lines = [f"HTTP/1.1 {status} {message.split(';')[0]}", "connection: close", "content-length: 0", *headers]
        self.transport.write("\r\n".join([*lines, "", ""]).encode())
        self.transport.close()
