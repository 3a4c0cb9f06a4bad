"""ASGI applications on loopback or elsewhere, in a thread of their own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from tidegauge.errors import TidegaugeError

SHUTDOWN_GRACE_S = 5  # for requests under way
HANDSHAKE_S = 10  # of TLS
Job = Callable[[asyncio.Event], Awaitable[None]]


class EventLoopThread:
    """An asyncio loop in a daemon thread, running jobs until it is stopped.

    A job is a coroutine function that serves until the event it is given is set.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._tasks: list[tuple[Future[None], asyncio.Event]] = []
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def serve(self, job: Job) -> Future[None]:
        """Start ``job``; the future ends when it does."""
        stop = asyncio.Event()
        future = asyncio.run_coroutine_threadsafe(_awaited(job, stop), self.loop)
        self._tasks.append((future, stop))
        return future

    def close(self, timeout_s: float = 10) -> None:
        """Ask every job to stop, wait for them, end the loop."""
        for _, stop in self._tasks:
            self.loop.call_soon_threadsafe(stop.set)
        for future, _ in self._tasks:
            future.exception(timeout_s)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout_s)
        self.loop.close()


async def _awaited(job: Job, stop: asyncio.Event) -> None:
    await job(stop)


def authority(host: str, port: int) -> str:
    """``host:port`` as an address has it.

    >>> authority("::1", 80)
    '[::1]:80'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn, which lets a client take a minute over its TLS handshake, with an end to that."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if not self.config.is_ssl:
            await super().startup(sockets)
            return
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
            return make(config=self.config, server_state=self.server_state, app_state={}, _loop=loop)

        self.servers = [
            await loop.create_server(protocol, sock=each, ssl=self.config.ssl, ssl_handshake_timeout=HANDSHAKE_S)
            for each in sockets or ()
        ]
        self.started = True


class WebServer:
    """Serves ``app`` with uvicorn on a loop of its own; ``port`` is the bound one even where 0 was asked for.

    Args:
        options: More of ``uvicorn.Config``'s settings, such as its TLS files.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        name: str,
        loop: EventLoopThread | None = None,
        *,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
            **({"timeout_keep_alive": 30} | dict(options or {})),
        )
        self._server = _Server(config)
        self._socket = _bind(config)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._own = loop is None
        self._loop = loop or EventLoopThread(name)
        self._loop.serve(self._run)

    @property
    def url(self) -> str:
        """Base address."""
        return f"{'https' if self._server.config.is_ssl else 'http'}://{authority(self.host, self.port)}"

    def close(self) -> None:
        """Stop a server that has its own loop; one on a shared loop ends with that loop."""
        if self._own:
            self._loop.close()

    async def _run(self, stop: asyncio.Event) -> None:
        serving = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
        await stop.wait()
        self._server.should_exit = True
        await serving


def _bind(config: uvicorn.Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in str(config.host) else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((config.host, config.port))
        bound.listen(config.backlog)  # from here on clients can connect, though the loop has yet to take the socket
    except OSError as error:
        bound.close()
        raise TidegaugeError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror}; is another process there? "
            "Choose another port in the configuration, or 0 for any free one"
        ) from error
    return bound
