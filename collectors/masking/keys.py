"""What the name of an attribute, a header or a column says of its value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from tidegauge.collectors.masking.keyed import WORDS
from tidegauge.config import Masking

_SECRET = re.compile(f"(?i).*(?:{WORDS})s?")
_WEAK = re.compile("(?i)(?:.*[^A-Za-z])?(?:token|auth|sig|signature)")
_WEAK_ENDING = re.compile("(?i).*(?:token|auth|sig|signature)s?")
_STRONGER = re.compile("(?i).*(?:auth|csrf|security|access|refresh|id|session|bearer|oauth)[_. -]?token")
IDENTIFIERS = frozenset(
    {
        "gen_ai.conversation.id",
        "gen_ai.request.previous_response.id",
        "gen_ai.response.id",
        "gen_ai.tool.call.id",
        "mcp.session.id",
        "messaging.message.id",
        "service.instance.id",
        "session.id",
        "span_id",
        "tidegauge.prediction.id",
        "tidegauge.session.id",
        "tidegauge.span_id",
        "tidegauge.trace_id",
        "trace_id",
    }
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a key says.

    Attributes:
        exempt: The value is left as it is.
        secret: All of the value is to be masked; ``opaque``: where it looks like a token, for names such as ``token``.
        identifier: Others join on the value, so what is only shaped like a number is left in it.
    """

    exempt: bool = False
    secret: bool = False
    opaque: bool = False
    identifier: bool = False


class Keys:
    """The settings' and the built-in names."""

    def __init__(self, settings: Masking) -> None:
        self._exempt, self._own = _any_of(settings.exempt_keys), _any_of(settings.secret_keys)
        self._by_name = "secret" not in settings.disable
        self.meaning = lru_cache(maxsize=4096)(self._meaning)

    def _meaning(self, key: bytes) -> Meaning:
        name = key.decode("utf-8", "replace")[:1000]
        if self._exempt.fullmatch(name):
            return Meaning(exempt=True)
        if self._own.fullmatch(name):
            return Meaning(secret=True)
        if name.startswith("tidegauge."):  # features and columns of ours: has_password = 1.0 is no password
            return Meaning(identifier=name in IDENTIFIERS)
        weak = bool(_WEAK_ENDING.fullmatch(name)) and not _STRONGER.fullmatch(name)
        secret = self._by_name and bool(_WEAK.fullmatch(name) if weak else _SECRET.fullmatch(name))
        return Meaning(secret=secret, opaque=weak, identifier=name in IDENTIFIERS)


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(translate(each) for each in patterns) or r"(?!)")
