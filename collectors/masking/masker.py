"""The rules at work on whole requests."""

from __future__ import annotations

from functools import lru_cache

from tidegauge import instruments
from tidegauge.collectors.masking.keys import Keys
from tidegauge.collectors.masking.own import chosen
from tidegauge.collectors.masking.scanner import Scanner
from tidegauge.collectors.masking.texts import Marker, Texts
from tidegauge.collectors.masking.walk import Found, Walk
from tidegauge.collectors.masking.wire import Malformed
from tidegauge.config import Masking
from tidegauge.model import Signal


class Masker:
    """Replaces personal data and secrets, and cuts what is too long; thread-safe.

    Raises:
        ConfigError: a rule of the settings that cannot be used; says which and why.
    """

    def __init__(self, settings: Masking) -> None:
        self._settings = settings
        self._scanner, self._texts, self._keys = _compiled(settings)

    def mask(self, signal: Signal, payload: bytes) -> bytes:
        """The request with what the rules find replaced; the same object where they find nothing.

        Bytes that are no request of ``signal`` come back with as many asterisks in place of what was found: they are
        going to be refused or put aside, and must not be a way around.
        """
        if not self._settings.enabled:
            return payload
        name = signal.name.lower()
        instruments.MASK_SCANNED.labels(name).inc(len(payload))
        if signal is Signal.FRAMES:
            masked, found = self._frame(payload)
        else:
            masked, found = self._request(signal, payload)
        _count(name, found)
        return masked

    def mask_text(self, text: str) -> str:
        """``text`` with what the rules find replaced; for messages, logs and prompts."""
        raw = text.encode("utf-8", "surrogatepass")
        rules = self._scanner.rules(raw) if self._settings.enabled else frozenset()
        return self._texts.mask(raw, rules)[0].decode("utf-8", "surrogatepass") if rules else text

    def _request(self, signal: Signal, payload: bytes) -> tuple[bytes, Found]:
        limit = self._settings.max_attribute_bytes
        hits = self._scanner.hits(payload)
        if hits == [] and len(payload) <= limit:
            return payload, Found()
        walk = Walk(payload, hits, self._scanner, self._texts, self._keys, limit)
        try:
            return walk.run(signal), walk.found
        except Malformed:
            return self._blotted(payload)

    def _frame(self, payload: bytes) -> tuple[bytes, Found]:
        from tidegauge.collectors.masking.frames import mask_frame  # pyarrow is large, and few receivers need it
        from tidegauge.errors import InvalidPayload

        try:
            return mask_frame(payload, self._scanner, self._texts, self._keys, self._settings.max_attribute_bytes)
        except InvalidPayload:
            return self._blotted(payload)

    def _blotted(self, payload: bytes) -> tuple[bytes, Found]:
        found, masked, at = Found(), [], 0
        for (start, end), rule in self._texts.spans(payload, self._scanner.rules(payload)):
            masked += [payload[at:start], b"*" * (end - start)]
            found.rules[self._texts.name(rule)] += 1
            at = end
        return (b"".join((*masked, payload[at:])) if masked else payload), found


@lru_cache(maxsize=4)
def _compiled(settings: Masking) -> tuple[Scanner, Texts, Keys]:
    """Shared by all of a process that use the same settings: it takes a fifth of a second and 15 MB."""
    finders = chosen(settings)
    marker = Marker(settings.hash_key.get_secret_value() if settings.mode == "hash" else "")
    return Scanner([each.rule for each in finders]), Texts(finders, marker), Keys(settings)


def _count(signal: str, found: Found) -> None:
    for rule, times in found.rules.items():
        instruments.MASKED.labels(rule, signal).inc(times)
    if found.cut:
        instruments.TRUNCATED.labels(signal).inc(len(found.cut))
