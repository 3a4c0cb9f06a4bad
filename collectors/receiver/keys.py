"""API keys: who may send, and whose data it then is.

A key is 256 random bits, so what is kept at rest is its plain SHA-256: a slow hash guards secrets that can be guessed,
which such a key cannot, and would be paid on every request.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from tidegauge import instruments
from tidegauge.config import ApiKey, Receiver
from tidegauge.errors import ConfigError, TidegaugeError

log = logging.getLogger(__name__)

HEADERS = ("authorization", "x-api-key", "api-key")
FORM = re.compile(r"tg_[A-Za-z0-9_-]{43}")
LOOK_AGAIN_S = 1.0
NO_HASH = "sha256:" + "0" * 64
_ENTRIES = TypeAdapter(tuple[ApiKey, ...])


class Unauthenticated(TidegaugeError):
    """No key, or nothing that could be one: 401. Final."""


class Forbidden(TidegaugeError):
    """A key that nobody was given: 403. Final."""


def create_key(tenant: str, name: str = "") -> tuple[str, ApiKey]:
    """A new key, and its entry for the configuration. The key is not kept: show it once."""
    key = "tg_" + secrets.token_urlsafe(32)
    return key, ApiKey(tenant=tenant, name=name, hash=_hash(key))


class ApiKeys:
    """The keys of the settings and of their file, which is read again when it changes.

    A changed file that cannot be read changes nothing: the old keys stay in force, one log line says what is wrong, and
    ``tidegauge_reload_failed`` is 1 until the file is right again.

    Raises:
        ConfigError: at the start, when the file cannot be read or there is no key at all.
    """

    def __init__(self, settings: Receiver, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._given, self._file, self._monotonic = settings.api_keys, settings.api_keys_file, monotonic
        self.required = bool(self._given) or self._file is not None
        self._seen, self._looked = _stamp(self._file), monotonic()
        self._tenants = _by_hash(self._given, _read(self._file) if self._file else ())
        if self.required and not self._tenants:
            raise ConfigError(str(self._file), ["holds no key; `tidegauge keys create --tenant NAME` makes one"])

    def tenant(self, headers: Iterable[tuple[str, str]]) -> str:
        """The tenant of the key in ``headers`` (names in lower case), "" where none is required.

        Raises:
            Unauthenticated: there is no key, or nothing of a key's form.
            Forbidden: nobody was given that key.
        """
        if not self.required:
            return ""
        self._refresh()
        hashed = _hash(_presented(headers))
        known = hashed if hashed in self._tenants else NO_HASH
        if not hmac.compare_digest(known, hashed):
            instruments.AUTH_FAILURES.labels("unknown").inc()
            raise Forbidden("this API key is not known here; `tidegauge keys create` makes one")
        return self._tenants[hashed]

    def _refresh(self) -> None:
        if self._file is None or self._monotonic() - self._looked < LOOK_AGAIN_S:
            return
        self._looked, stamp = self._monotonic(), _stamp(self._file)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._tenants = _by_hash(self._given, _read(self._file))
        except ConfigError as error:
            log.error("the API keys stay as they were: %s", error)
            instruments.RELOAD_FAILED.labels("api_keys_file").set(1)
        else:
            log.info("%s: %d API keys are in force", self._file, len(self._tenants))
            instruments.RELOAD_FAILED.labels("api_keys_file").set(0)


def _presented(headers: Iterable[tuple[str, str]]) -> str:
    found = next(((name, text) for name, text in headers if name in HEADERS), None)
    if found is None:
        instruments.AUTH_FAILURES.labels("missing").inc()
        raise Unauthenticated("an API key is required, as `Authorization: Bearer KEY` or `x-api-key: KEY`")
    scheme, _, key = found[1].strip().rpartition(" ")
    wanted = "bearer" if found[0] == "authorization" else ""
    if scheme.strip().lower() != wanted or not FORM.fullmatch(key):
        instruments.AUTH_FAILURES.labels("malformed").inc()
        raise Unauthenticated(f"{found[0]}: no API key; send `Authorization: Bearer KEY` or `x-api-key: KEY`")
    return key


def _hash(key: str) -> str:
    return "sha256:" + sha256(key.encode()).hexdigest()


def _by_hash(*groups: Iterable[ApiKey]) -> dict[str, str]:
    return {each.hash: each.tenant for group in groups for each in group}


def _read(path: Path) -> tuple[ApiKey, ...]:
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not YAML text"
        raise ConfigError(str(path), [f"cannot be read: {reason}"]) from None
    if not isinstance(data, list):
        raise ConfigError(str(path), ["must be a list of keys, each with tenant, name and hash"])
    try:
        return _ENTRIES.validate_python(data)
    except ValidationError as error:
        places = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
        raise ConfigError(str(path), [f"{place}: {message}" for place, message in places]) from None


def _stamp(path: Path | None) -> tuple[int, ...]:
    try:
        found = path.stat() if path else None
    except OSError:
        return (0,)
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else ()
