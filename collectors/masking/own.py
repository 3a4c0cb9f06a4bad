"""Rules of the users' own, checked when the process starts."""

from __future__ import annotations

import re

import hyperscan
import re2

from tidegauge.collectors.masking.checks import CHECKS
from tidegauge.collectors.masking.personal import PERSONAL
from tidegauge.collectors.masking.rules import Finder, Rule, checked, whole
from tidegauge.collectors.masking.secrets import SECRETS
from tidegauge.config import Masking, MaskingRule
from tidegauge.errors import ConfigError

BUILT_IN = (*SECRETS, *PERSONAL)
OWN_SCAN = 9
# One element of an expression: an escape, a class, or any character.
_ELEMENT = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|.", re.DOTALL)
_ZERO_WIDTH = {r"\b", r"\B", r"\A", r"\z", "^", "$"}
_ANY_CHARACTER = {".", r"\D", r"\W", r"\S"}


def chosen(settings: Masking) -> list[Finder]:
    """The rules that ``settings`` ask for, in order of precedence.

    Raises:
        ConfigError: a name that no rule has, or a rule that cannot be searched for in linear time; lists every problem.
    """
    problems = _misnamed(settings)
    finders = [
        Finder(each)
        for each in BUILT_IN
        if (each.on or each.name in settings.enable) and each.name not in settings.disable
    ]
    for number, each in enumerate(settings.rules):
        try:
            finders.append(Finder(_rule(each)))
        except _Unusable as error:
            problems.append(f"rules.{number} ({each.name}): {error}")
    if problems:
        raise ConfigError("masking", problems)
    return finders + ([Finder(_keys(settings.secret_keys))] if settings.secret_keys else [])


class _Unusable(Exception):
    """Why a rule cannot be used."""


def _keys(names: tuple[str, ...]) -> Rule:
    """Opens requests with these attribute keys in them; it finds nothing in texts. 0x12 begins an attribute's value."""
    any_character = r"[\x20-\xff]{0,200}"
    escaped = [re.escape(re.sub(r"\[[^\]]+\]|[?]", "*", each)).replace(r"\*", any_character) for each in names]
    return Rule("secret_keys", rf"(?:{'|'.join(escaped)})\x12".encode(), r"[^\x{0}-\x{10FFFF}]", scan=OWN_SCAN)


def _misnamed(settings: Masking) -> list[str]:
    known = {each.name for each in BUILT_IN}
    named = [("disable", each) for each in settings.disable] + [("enable", each) for each in settings.enable]
    problems = [
        f"{place}: there is no rule {name!r}; there are {', '.join(sorted(known))}"
        for place, name in named
        if name not in known
    ]
    names = [each.name for each in settings.rules]
    taken = sorted({name for name in names if name in known or names.count(name) > 1})
    return problems + [f"rules: the name {name!r} is taken; give the rule another" for name in taken]


def _rule(given: MaskingRule) -> Rule:
    _check_pattern(given.pattern)
    hint = re.escape(given.keyword.encode()) if given.keyword else hint_of(given.pattern)
    if given.keyword:
        hint = b"(?i)" + hint
    _check_hint(hint, bool(given.keyword))
    take = checked(CHECKS[given.validator]) if given.validator else whole
    return Rule(given.name, hint, f"({given.pattern})", take, number=given.shape == "number", scan=OWN_SCAN)


def _check_pattern(pattern: str) -> None:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise _Unusable(
            f"RE2 refuses the pattern: {reason}. It has neither lookaround nor back-references, for these cannot be "
            "searched for in linear time"
        ) from None
    if compiled.match(b""):
        raise _Unusable("the pattern matches the empty text; make it require at least one character")


def _check_hint(hint: bytes, literal: bool) -> None:
    try:
        hyperscan.Database().compile(expressions=[hint], ids=[0], elements=1, flags=[hyperscan.HS_FLAG_DOTALL])
    except hyperscan.error as error:
        reason = str(error).rstrip(".")
        advice = "" if literal else "; give the rule a keyword, a text that stands in each match"
        raise _Unusable(f"hyperscan refuses the pattern: {reason}{advice}") from None


def hint_of(pattern: str) -> bytes:
    r"""An expression over bytes that ends inside of all that ``pattern`` finds in UTF-8 text.

    What is zero-width is left out, because a text's neighbours in a request are no text; a place for any character
    takes as many bytes as one can have.

    >>> hint_of(r"^EMP-\d{6}\b")
    b'EMP-\\d{6}'
    """
    if not pattern.isascii() or re.search(r"\\[pP]", pattern):
        raise _Unusable("a pattern with characters beyond ASCII needs a keyword: a text that stands in each match")
    return "".join(_over_bytes(each) for each in _ELEMENT.findall(pattern)).encode()


def _over_bytes(element: str) -> str:
    if element in _ZERO_WIDTH:
        return ""
    if element in _ANY_CHARACTER or element.startswith("[^"):
        return rf"(?:{element}|[\x80-\xff]{{2,4}})"
    return element
