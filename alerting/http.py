"""One POST under guard: to the very address that was checked, in a bounded time, reading a bounded answer.

httpx bounds each read, not their sum, and resolves the name itself; slack_sdk's client follows redirects besides. Hence
a network backend under httpcore, the engine of httpx: it resolves, checks, connects to what it checked, and gives every
socket operation only what is left of one deadline. There is no redirect, no proxy and no cookie, and the answer is not
decompressed.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpcore
import httpx

from tidegauge.addresses import Refused, Unresolved, check_url, resolve
from tidegauge.retries import retry_after

MAX_ANSWER_BYTES = 64 * 1024
_PIECE = 16 * 1024


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver took it."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Not now. ``seconds`` is what the receiver asked for, None when it did not say."""

    seconds: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It will never be taken."""

    detail: str


Outcome = Delivered | RetryAfter | Failed


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers in lower case, and the body up to its bound, usually 64 KiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Poster:
    """Posts to one receiver.

    Args:
        url: Its address; a secret, never shown in a detail.
        timeout_s: For one attempt, from resolving the name to the last byte read.
        allow_internal: Let it be on loopback or in a private network.
        context: TLS settings; the system's trust by default.
        most_bytes: Of an answer, the rest is not read.

    Raises:
        Refused: the URL could never be allowed.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        *,
        allow_internal: bool = False,
        context: ssl.SSLContext | None = None,
        most_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        check_url(url, allow_internal=allow_internal)
        self._url = httpx.URL(url)
        self._timeout_s = timeout_s
        self._allow_internal = allow_internal
        self._context = context or httpx.create_ssl_context()
        self._most_bytes = most_bytes

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> Reply | RetryAfter | Failed:
        """Send ``body`` once; whatever goes wrong on the way comes back as RetryAfter or Failed."""
        backend = _Guard(time.monotonic() + self._timeout_s, self._allow_internal)
        try:
            with httpcore.ConnectionPool(self._context, network_backend=backend, max_keepalive_connections=0) as pool:
                return self._exchange(pool, body, headers or {})
        except Refused as error:
            return Failed(str(error))
        except (httpcore.TimeoutException, TimeoutError):
            return RetryAfter(None, f"no answer within {self._timeout_s:g} s")
        except (Unresolved, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            return RetryAfter(None, f"{type(error).__name__}: {str(error)[:200]}")

    def _exchange(self, pool: httpcore.ConnectionPool, body: bytes, headers: Mapping[str, str]) -> Reply:
        sent = {"Host": self._url.netloc.decode(), "Content-Type": "application/json", "User-Agent": "tidegauge"}
        target = httpcore.URL(
            scheme=self._url.raw_scheme, host=self._url.raw_host, port=self._url.port, target=self._url.raw_path
        )
        pairs = list((sent | {"Content-Length": str(len(body))} | dict(headers)).items())
        with pool.stream("POST", target, headers=pairs, content=_pieces(body)) as response:
            found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            return Reply(response.status, found, _read(response.iter_stream(), self._most_bytes))


def outcome(reply: Reply | RetryAfter | Failed) -> Outcome:
    """What a status means: 2xx delivered; 408, 429 and 5xx come again; all else, redirects too, is final."""
    if not isinstance(reply, Reply):
        return reply
    said = f"HTTP {reply.status}"
    if 200 <= reply.status < 300:
        return Delivered(said)
    if reply.status in (408, 425, 429) or reply.status >= 500:
        return RetryAfter(retry_after(reply.headers, datetime.now(UTC)), said)
    return Failed(f"{said}, a redirect, which is not followed" if 300 <= reply.status < 400 else said)


def _pieces(body: bytes) -> Iterator[bytes]:
    return (body[start : start + _PIECE] for start in range(0, len(body), _PIECE))


def _read(stream: Iterable[bytes], most_bytes: int) -> bytes:
    body = b""
    for part in stream:
        body += part
        if len(body) >= most_bytes:
            break
    return body[:most_bytes]


@dataclass
class _Guard(httpcore.NetworkBackend):
    """Resolves, checks, and connects to what it checked."""

    deadline: float
    allow_internal: bool

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = resolve(host.strip("[]"), port, _left(self.deadline), allow_internal=self.allow_internal)
        for last, address in enumerate(addresses, 1 - len(addresses)):
            try:
                return _Stream(socket.create_connection((address, port), timeout=_left(self.deadline)), self.deadline)
            except OSError as error:
                if last == 0 or isinstance(error, TimeoutError):
                    raise
        raise AssertionError("resolve gives at least one address")


@dataclass
class _Stream(httpcore.NetworkStream):
    """A socket whose every operation ends by the deadline."""

    sock: socket.socket
    deadline: float

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.sock.settimeout(_left(self.deadline))
        return self.sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.sock.settimeout(_left(self.deadline))
        self.sock.sendall(buffer)

    def close(self) -> None:
        self.sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self.sock.settimeout(_left(self.deadline))
        try:
            return _Stream(ssl_context.wrap_socket(self.sock, server_hostname=server_hostname), self.deadline)
        except BaseException:
            self.sock.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self.sock if isinstance(self.sock, ssl.SSLSocket) else None
        return None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline of the attempt has passed")
    return left
