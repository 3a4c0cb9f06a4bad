"""Both protocols on one event loop."""

from __future__ import annotations

import asyncio

from tidegauge.collectors.receiver import grpc, http
from tidegauge.collectors.receiver.intake import Intake
from tidegauge.config import Receiver
from tidegauge.errors import TidegaugeError
from tidegauge.model import Transport
from tidegauge.web import EventLoopThread, WebServer, authority

SHUTDOWN_GRACE_S = 5


class ReceiverServer:
    """Listens for OTLP and hands it to ``transport``; starts on construction."""

    def __init__(self, transport: Transport, settings: Receiver) -> None:
        self._intake = Intake(transport, settings.max_pending_bytes)
        self._settings = settings
        self._loop = EventLoopThread("tidegauge-receiver")
        try:
            app = http.create_app(self._intake, settings.max_body_bytes)
            self._http = WebServer(app, settings.host, settings.http_port, "tidegauge-receiver", self._loop)
            self.grpc_port = self._start_grpc()
        except BaseException:
            self._loop.close()
            raise

    @property
    def http_url(self) -> str:
        """Base address for OTLP/HTTP."""
        return self._http.url

    @property
    def grpc_url(self) -> str:
        """Address for OTLP/gRPC."""
        return f"http://{authority(self._settings.host, self.grpc_port)}"

    def close(self) -> None:
        """Finish the requests under way, then stop listening."""
        self._loop.close()

    def _start_grpc(self) -> int:
        bound: asyncio.Future[int] = asyncio.run_coroutine_threadsafe(_future(), self._loop.loop).result()

        async def serve(stop: asyncio.Event) -> None:
            server = grpc.create_server(self._intake, self._settings.max_body_bytes)
            try:
                bound.set_result(server.add_insecure_port(authority(self._settings.host, self._settings.grpc_port)))
                await server.start()
            except RuntimeError as error:
                bound.set_exception(TidegaugeError(f"cannot listen for gRPC: {error}"))
                return
            await stop.wait()
            await server.stop(SHUTDOWN_GRACE_S)

        self._loop.serve(serve)
        return asyncio.run_coroutine_threadsafe(_result(bound), self._loop.loop).result(10)


async def _future() -> asyncio.Future[int]:
    return asyncio.get_running_loop().create_future()


async def _result(future: asyncio.Future[int]) -> int:
    return await future
