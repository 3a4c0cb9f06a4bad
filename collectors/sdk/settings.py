"""Where records go and who sends them, from arguments and the OpenTelemetry environment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import unquote, urlsplit

from tidegauge import __version__
from tidegauge.errors import ConfigError

Protocol = Literal["http/protobuf", "grpc"]
COMPRESSIONS = ("none", "gzip")
SDK = {
    "telemetry.sdk.name": "tidegauge",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.version": __version__,
}
DEFAULT_PORTS = {"http/protobuf": 4318, "grpc": 4317}
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """One client's. ``endpoint`` has a scheme and no slash at its end; ``headers`` hold secrets and are not shown."""

    service: str
    endpoint: str
    protocol: Protocol = "http/protobuf"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    resource: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 10.0
    certificate: Path | None = None
    compression: str = "none"
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """The arguments of ``init``; what is None or empty comes from the environment."""

    service: str = ""
    endpoint: str | None = None
    protocol: str | None = None
    headers: Mapping[str, str] | None = None
    api_key: str | None = field(default=None, repr=False)
    resource: Mapping[str, str] | None = None
    certificate: str | Path | None = None


class _Reader:
    """Reads one variable after the other and keeps what is wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, *names: str) -> str:
        """The first that is set and not empty."""
        return next((found for name in names if (found := self._environ.get(name, "").strip())), "")

    def read(self, name: str, parse: Callable[[str], T], otherwise: T) -> T:
        written = self.text(name)
        try:
            return parse(written) if written else otherwise
        except (ValueError, OSError) as error:
            self.problems.append(f"{name}: {error}")
            return otherwise

    def problem(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}")


def resolve(given: Given, environ: Mapping[str, str] | None = None) -> Settings:
    """Arguments first, then ``TIDEGAUGE_*``, then OpenTelemetry's variables, then defaults.

    Raises:
        ConfigError: lists every problem.
    """
    reader = _Reader(os.environ if environ is None else environ)
    protocol = _protocol(given, reader)
    nothing: dict[str, str] = {}
    described = reader.read("OTEL_RESOURCE_ATTRIBUTES", pairs, nothing) | dict(given.resource or {})
    service = given.service or reader.text("OTEL_SERVICE_NAME") or described.get("service.name", "unknown_service")
    settings = Settings(
        service=service,
        endpoint=_endpoint(given, reader, protocol),
        protocol=protocol,
        headers=_headers(given, reader),
        resource=SDK | described | {"service.name": service},
        timeout_s=reader.read("OTEL_EXPORTER_OTLP_TIMEOUT", seconds, 10.0),
        certificate=_certificate(given, reader),
        compression=reader.read("OTEL_EXPORTER_OTLP_COMPRESSION", _compression, "none"),
        disabled=reader.text("OTEL_SDK_DISABLED").lower() == "true",
    )
    if reader.problems and not settings.disabled:
        raise ConfigError("tidegauge.init", reader.problems)
    return settings


def pairs(written: str) -> dict[str, str]:
    """``a=1,b=two%20words`` as a mapping. Raises ValueError naming a part without ``=``; not its value, a secret.

    >>> pairs("a=1, b=two%20words")
    {'a': '1', 'b': 'two words'}
    """
    found = {}
    for number, part in enumerate(written.split(","), 1):
        key, equals, value = part.partition("=")
        if not part.strip():
            continue
        if not equals or not key.strip():
            raise ValueError(f"part {number} is not name=value; separate parts by commas, write a comma as %2C")
        found[unquote(key.strip())] = unquote(value.strip())
    return found


def seconds(written: str) -> float:
    """A time limit: seconds as opentelemetry-python reads it; 1000 and more are the specification's milliseconds.

    >>> seconds("10"), seconds("10000")
    (10.0, 10.0)
    """
    number = float(written)
    if not 0 < number < 1e7:
        raise ValueError(f"{written!r} is no time limit; give seconds, such as 10")
    return number / 1000 if number >= 1000 else number


def _protocol(given: Given, reader: _Reader) -> Protocol:
    asked = given.protocol or reader.text("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if asked == "grpc":
        return "grpc"
    if asked != "http/protobuf":
        where = "protocol" if given.protocol else "OTEL_EXPORTER_OTLP_PROTOCOL"
        reader.problem(where, f"{asked!r} is neither http/protobuf nor grpc")
    return "http/protobuf"


def _endpoint(given: Given, reader: _Reader, protocol: Protocol) -> str:
    default = f"http://127.0.0.1:{DEFAULT_PORTS[protocol]}"
    asked = given.endpoint or reader.text("TIDEGAUGE_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") or default
    address = asked if "://" in asked else f"http://{asked}"
    try:
        parts = urlsplit(address)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if wrong:
        reader.problem("endpoint", f"{asked!r} is no address such as http://127.0.0.1:4318 or https://gauge:4318")
    return address.rstrip("/")


def _headers(given: Given, reader: _Reader) -> dict[str, str]:
    nothing: dict[str, str] = {}
    in_environment = reader.read("OTEL_EXPORTER_OTLP_HEADERS", pairs, nothing)
    headers = in_environment if given.headers is None else dict(given.headers)
    key = given.api_key or reader.text("TIDEGAUGE_API_KEY") or reader.read("TIDEGAUGE_API_KEY_FILE", _secret, "")
    if key:
        headers = {name: each for name, each in headers.items() if name.lower() != "authorization"}
        headers["authorization"] = f"Bearer {key}"
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            reader.problem("headers", f"{name!r} is no header's name, or its value (not shown) is none that HTTP has")
    return headers


def _certificate(given: Given, reader: _Reader) -> Path | None:
    asked = given.certificate or reader.text("OTEL_EXPORTER_OTLP_CERTIFICATE")
    if not asked:
        return None
    try:
        if b"-----BEGIN" not in Path(asked).read_bytes():
            reader.problem("certificate", f"{asked} holds no PEM certificate")
    except OSError as error:
        reader.problem("certificate", f"{asked}: {error.strerror}")
    return Path(asked)


def _secret(path: str) -> str:
    found = Path(path).read_text().strip()
    if not found:
        raise ValueError(f"{path} is empty; write the API key into it")
    return found


def _compression(written: str) -> str:
    if written not in COMPRESSIONS:
        raise ValueError(f"{written!r} is none of {', '.join(COMPRESSIONS)}")
    return written
