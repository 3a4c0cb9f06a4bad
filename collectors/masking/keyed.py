"""Secrets that the name before them tells: ``password=...``, ``"api_key": "..."``, ``Authorization: ...``."""

from __future__ import annotations

import re
from typing import Any

from tidegauge.collectors.masking import checks
from tidegauge.collectors.masking.rules import Rule, Span

NAME = "secret"
_HEADERS = "authorization|cookie|api[_.-]?key|auth[_.-]?token|csrf[_.-]?token|security[_.-]?token"
_STRONG = (
    "pass(?:word|wd|phrase|code)|pwd|secret|credentials?|connection[_. -]?string|"
    "(?:api|access|private|secret|account|signing|encryption|master|subscription)[_. -]?key|"
    r"(?:access|refresh|\bid|session|bearer|oauth)[_. -]?token"
)
_WEAK = r"token|auth|signature|\bsig"
WORDS = f"{_HEADERS}|{_STRONG}|{_WEAK}"
_PLACEHOLDER = re.compile(
    rb"(?i)(?:\*+|x{3,}|\.{3,}|[\[<({$%].*|null|none|nil|true|false|undefined|redacted|masked|str|string|include|omit|same-origin|"
    rb"self\..*|os\..*|env\..*|process\..*|getenv.*|settings\..*|config\..*)?",
    re.DOTALL,
)
_IS_HEADER = re.compile(f"(?i)(?:{_HEADERS})".encode())
_IS_WEAK = re.compile(f"(?i)(?:{_WEAK})".encode())
_LINE = re.compile(rb"[^\r\n\"'\\<>]*")
_BARE = re.compile(rb"(?:[^\s\"'&;<>\\)\]}]|\\[^nrtu\"'\\])*")
_QUOTE = re.compile(rb"(?<!\\)(\\*+)([\"'])")
_HEADER = re.compile(rb"(?i)(?:basic|bearer|digest|token|apikey|negotiate|hawk|aws4-\S+)\s.+|.*=.*|\S+", re.DOTALL)
_ASKED = re.compile(rb"[^\s]*[0-9!@#$%^*][^\s]*")
_REACH = 64 * 2**10


def keyed() -> Rule:
    """The rule."""
    return Rule(
        NAME,
        f"(?i)(?:{WORDS})".replace(r"\b", "").encode()
        + rb"(?:\x12|\\{0,4}[\"'][ \t]{0,3}[:=,]|[ \t]{0,3}(?:[:=]|%3[aAdD]|\\u003[aAdD]))"
        + rb"|(?i)(?:cookies|passwords|secrets)\x12",
        rf"(?i)({WORDS})(\\*[\"'])?[ \t]{{0,3}}(=>|[:=,]|%3[ad]|\\+u003[ad])"
        r"(?:[ \t]|%20){0,3}(\[[ \t]{0,3})?(?:[bu]?(\\*[\"']))?",
        _value,
    )


def placeholder(value: bytes) -> bool:
    """Whether ``value`` stands for a secret that is not there: ``***``, ``${VAR}``, ``[REDACTED]``, or is empty."""
    return _PLACEHOLDER.fullmatch(value.strip()) is not None


def _value(text: bytes, match: Any) -> Span | None:
    word, quoted, sign, many, quote = match.groups()
    start = match.end()
    if sign == b",":  # ("authorization", "..."): headers as pairs
        if not (quoted and quote and _IS_HEADER.fullmatch(word)):
            return None
    elif many and not quote:
        return None
    end = _closing(text, start, quote) if quote else _bare_end(text, start, word, sign, quoted)
    if many and quote and _IS_HEADER.fullmatch(word):
        end = _last_closing(text, end, quote)
    return (start, end) if _secret(text[start:end], word, bool(quote), sign == b":" and not quoted) else None


def _bare_end(text: bytes, start: int, word: bytes, sign: bytes, quoted: bytes | None) -> int:
    line = sign == b":" and not quoted and _IS_HEADER.fullmatch(word)
    match = (_LINE if line else _BARE).match(text, start, start + _REACH)
    end = match.end() if match else start
    return start + len(text[start:end].rstrip(b",").rstrip())


def _secret(value: bytes, word: bytes, quoted: bool, prose: bool) -> bool:
    """Whether ``value`` is worth masking; ``prose``: after a colon in running text, where a word may follow."""
    if placeholder(value) or value.lower() == word.lower():
        return False
    if _IS_WEAK.fullmatch(word):
        return checks.opaque(value)
    if prose and _IS_HEADER.fullmatch(word):
        return _HEADER.fullmatch(value) is not None
    if prose:
        return len(value) >= 6 and _ASKED.fullmatch(value) is not None
    return quoted or len(value) >= 3


def _closing(text: bytes, start: int, quote: bytes) -> int:
    """Where the quotation that begins at ``start`` ends; ``quote`` has as many backslashes as JSON in JSON gave it."""
    level = len(quote) - 1
    for found in _QUOTE.finditer(text, start, start + _REACH):
        slashes = len(found.group(1))
        if found.group(2) != quote[-1:]:
            continue
        if slashes < level or (slashes - level) % (2 * (level + 1)) == 0:
            return found.end() - 1 - min(slashes, level)
    return min(len(text), start + _REACH)


def _last_closing(text: bytes, end: int, quote: bytes) -> int:
    """The end of the last of several quotations in one pair of brackets."""
    rest = re.compile(rb"%s\s{0,3},\s{0,3}%s" % (re.escape(quote), re.escape(quote)))
    while more := rest.match(text, end):
        end = _closing(text, more.end(), quote)
    return end
