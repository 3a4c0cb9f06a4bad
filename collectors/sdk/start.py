"""The one line to start, and the client that it started."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Literal
from urllib.parse import urlsplit

from tidegauge.clock import Clock, SystemClock
from tidegauge.collectors.sdk.client import Client
from tidegauge.collectors.sdk.post import trust
from tidegauge.collectors.sdk.settings import Given, Protocol, Settings, resolve
from tidegauge.errors import ConfigError

log = logging.getLogger(__name__)
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
SIGTERM_S = 2.0

_started: list[Client] = []  # the last one, which decorators and middleware use


def init(
    service_name: str = "",
    endpoint: str | None = None,
    *,
    protocol: Protocol | None = None,
    headers: Mapping[str, str] | None = None,
    api_key: str | None = None,
    certificate: str | Path | None = None,
    resource: Mapping[str, str] | None = None,
    capture_content: bool = False,
    clock: Clock | None = None,
    strict: bool = False,
    on_full: Literal["drop", "wait"] = "drop",
    flush_on_sigterm: bool = False,
) -> Client:
    """Start sending to a Tidegauge receiver, or to any OpenTelemetry Collector in front of one.

    What is not given comes from the environment: ``TIDEGAUGE_ENDPOINT``, ``TIDEGAUGE_API_KEY`` or ``..._FILE``, and
    OpenTelemetry's ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_SDK_DISABLED`` and
    ``OTEL_EXPORTER_OTLP_{ENDPOINT,PROTOCOL,HEADERS,TIMEOUT,CERTIFICATE,COMPRESSION}``.

    Args:
        service_name: ``service.name`` of everything sent.
        endpoint: Base address: port 4318 for HTTP, 4317 for gRPC. Default: this machine.
        headers: Of every request.
        api_key: From ``tidegauge keys create``.
        certificate: PEM file of the authority that signed the receiver's certificate, where it is a private one.
        resource: Further resource attributes, such as the version tuple (``tidegauge.version.base_model``).
        capture_content: Record prompts, answers and documents. Off, only numbers and names leave the service.
        clock: For replays of past data.
        strict: Raise ConfigError and InvalidRecord instead of logging and counting; for tests and batch jobs.
        on_full: What a full queue does to a record: ``drop`` it (a service), or make its caller ``wait`` (a batch job).
        flush_on_sigterm: Deliver for up to 2 s when SIGTERM would end the process at once; see docs/sdk.md.

    Raises:
        ConfigError: ``strict`` is set, and an argument or a variable is wrong.
    """
    given = Given(service_name, endpoint, protocol, headers, api_key, resource, certificate)
    settings = _settings(given, strict)
    client = Client(settings, capture_content, clock or SystemClock(), strict, on_full)
    _started[:] = [client]
    if flush_on_sigterm:
        _flush_on_sigterm(client)
    return client


def current_client() -> Client | None:
    """What the last :func:`init` returned."""
    return _started[-1] if _started else None


def _settings(given: Given, strict: bool) -> Settings | ConfigError:
    try:
        settings = resolve(given)
        _trusted(settings)
    except ConfigError as error:
        if strict:
            raise
        log.error("nothing will be sent until this is put right: %s", error)
        return error
    address = urlsplit(settings.endpoint)
    if address.scheme == "http" and address.hostname not in LOOPBACK and "authorization" in settings.headers:
        log.warning("the API key goes to %s in clear text; use https", address.hostname)
    return settings


def _trusted(settings: Settings) -> None:
    try:
        trust(settings.endpoint.startswith("https"), settings.certificate)
    except OSError as error:
        raise ConfigError("tidegauge.init", [f"certificate: {settings.certificate}: {error}"]) from error


def _flush_on_sigterm(client: Client) -> None:
    """Only where SIGTERM still does what it does by default: whoever handles it ends the process, and we flush then."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return

    def flush(number: int, frame: FrameType | None) -> None:
        client.shutdown(SIGTERM_S)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, flush)
