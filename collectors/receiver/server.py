"""Both protocols on one event loop."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from pathlib import Path
from typing import Any

import grpc

from tidegauge.collectors.masking import Masker
from tidegauge.collectors.receiver.connections import Limits, limited_protocol
from tidegauge.collectors.receiver.grpc import create_server
from tidegauge.collectors.receiver.handover import Handover
from tidegauge.collectors.receiver.http import HttpReceiver
from tidegauge.collectors.receiver.intake import Intake
from tidegauge.collectors.receiver.keys import ApiKeys
from tidegauge.config import Masking, Receiver
from tidegauge.errors import ConfigError, TidegaugeError
from tidegauge.model import Transport
from tidegauge.web import EventLoopThread, WebServer, authority

log = logging.getLogger(__name__)

SHUTDOWN_GRACE_S = 5


class ReceiverServer:
    """Listens for OTLP and hands it to ``transport``; starts on construction.

    Raises:
        ConfigError: it would be open to others without API keys or TLS, or a file of keys or certificates is wrong.
        TidegaugeError: an address is taken.
    """

    def __init__(self, transport: Transport, settings: Receiver, masking: Masking | None = None) -> None:
        _check_exposure(settings)
        _check_certificate(settings)
        self._settings, self._keys = settings, ApiKeys(settings)
        self._intake = Intake(transport, settings.max_pending_bytes, Masker(masking or Masking()).mask)
        self._handover = Handover()
        self._loop = EventLoopThread("tidegauge-receiver")
        try:
            self._http = self._start_http()
            self.grpc_port = self._start_grpc()
        except BaseException:
            self.close()
            raise

    @property
    def http_url(self) -> str:
        """Base address for OTLP/HTTP."""
        return self._http.url

    @property
    def grpc_url(self) -> str:
        """Address for OTLP/gRPC."""
        scheme = "https" if self._settings.tls_cert_file else "http"
        return f"{scheme}://{authority(self._settings.host, self.grpc_port)}"

    def close(self) -> None:
        """Finish the requests under way, then stop listening."""
        self._loop.close()
        self._handover.close()

    def _start_http(self) -> WebServer:
        settings = self._settings
        limits = Limits(
            settings.max_connections, settings.max_body_bytes, settings.header_timeout_s, settings.body_timeout_s
        )
        options: dict[str, Any] = {
            "http": limited_protocol(limits),
            "timeout_keep_alive": settings.idle_timeout_s,
            "server_header": False,
            "ws": "none",
        }
        if settings.tls_cert_file:
            options |= {"ssl_certfile": settings.tls_cert_file, "ssl_keyfile": settings.tls_key_file}
        app = HttpReceiver(self._intake, self._keys, self._handover, settings.max_body_bytes)
        return WebServer(app, settings.host, settings.http_port, "tidegauge-receiver", self._loop, options=options)

    def _start_grpc(self) -> int:
        bound: asyncio.Future[int] = asyncio.run_coroutine_threadsafe(_future(), self._loop.loop).result()

        async def serve(stop: asyncio.Event) -> None:
            server = create_server(self._intake, self._keys, self._handover, self._settings)
            try:
                bound.set_result(self._bind(server))
                await server.start()
            except RuntimeError as error:
                bound.set_exception(TidegaugeError(f"cannot listen for gRPC: {error}"))
                return
            await stop.wait()
            await server.stop(SHUTDOWN_GRACE_S)

        self._loop.serve(serve)
        return asyncio.run_coroutine_threadsafe(_result(bound), self._loop.loop).result(10)

    def _bind(self, server: grpc.aio.Server) -> int:
        settings = self._settings
        address = authority(settings.host, settings.grpc_port)
        if settings.tls_cert_file and settings.tls_key_file:
            pair = (settings.tls_key_file.read_bytes(), settings.tls_cert_file.read_bytes())
            return int(server.add_secure_port(address, grpc.ssl_server_credentials([pair])))
        return int(server.add_insecure_port(address))


def _check_exposure(settings: Receiver) -> None:
    keys = settings.api_keys or settings.api_keys_file
    if keys or settings.tls_cert_file or _is_loopback(settings.host):
        return
    raise ConfigError(
        "receiver.host",
        [
            f"{settings.host} lets other machines in, and nothing asks them who they are: "
            "set receiver.api_keys_file (`tidegauge keys create --tenant NAME` makes keys) "
            "and, better still, receiver.tls_cert_file and receiver.tls_key_file; or listen on 127.0.0.1"
        ],
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_certificate(settings: Receiver) -> None:
    certificate, key = settings.tls_cert_file, settings.tls_key_file
    if certificate is None or key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("receiver.tls_cert_file", [f"{certificate} with {key} cannot be used: {error}"]) from error
    _warn_if_readable_by_others(key)


def _warn_if_readable_by_others(key: Path) -> None:
    mode = key.stat().st_mode & 0o777
    if mode & 0o077:
        log.warning("%s is a private key that others on this machine may read (mode %o): chmod 600 it", key, mode)


async def _future() -> asyncio.Future[int]:
    return asyncio.get_running_loop().create_future()


async def _result(future: asyncio.Future[int]) -> int:
    return await future
