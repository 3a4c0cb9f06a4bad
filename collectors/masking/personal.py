"""Built-in rules: personal data."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from tidegauge.collectors.masking import checks
from tidegauge.collectors.masking.rules import BEGIN, Rule, Span, checked

_FILES = re.compile(rb"\.(?:png|jpe?g|gif|svg|webp|pdf|js|ts|css|html?|py|json|ya?ml|txt|md|so|dll)\Z", re.IGNORECASE)
_EIGHT = re.compile(rb"[1-9](?:[ .()\-]{0,4}[0-9]){7}")
_THIRTEEN = re.compile(rb"(?:[0-9][ \-]?){12}[0-9]\Z")
# A letter that is no escape's last one and no text's length, which stands in front of a text, after a tag.
_IN_WORD = re.compile(rb"[^\\%\[]*[0-9A-Zac-z_][A-Za-z_]")
_USERINFO = re.compile(rb"(?::\\?/\\?/|%3[Aa]%2[Ff]%2[Ff])[^\s/\"'<>?#&=]*\Z")
_AT = r"(?:@|%40|\\+u0040|\\+x40|&#64;)"
_LETTER = r"\p{Latin}\p{Cyrillic}\p{Greek}\p{Arabic}\p{Hebrew}"


def _email(text: bytes, match: Any) -> Span | None:
    start, end = match.span(1)
    found = text[start:end]
    if _FILES.search(found) or _USERINFO.search(text, max(0, start - 256), start):
        return None  # logo@2x.png; the userinfo of a URL, which has a rule of its own
    if found.startswith(b"git@") and text[end : end + 1] in (b":", b"/"):
        return None
    return start, end


def _standing_alone(text: bytes, start: int, end: int) -> bool:
    """Whether the digits between are neither a part of a decimal fraction nor of a longer identifier with hyphens."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    fraction = (before[-1:] == b"." and before[:1].isdigit()) or (after[:1] == b"." and after[1:].isdigit())
    grouped = b"-" in text[start:end]
    longer = (before[-1:] == b"-" and before[:1].isalnum()) or (after[:1] == b"-" and after[1:].isalnum())
    return not fraction and not (grouped and longer)


def _card(text: bytes, match: Any) -> Span | None:
    start, end = match.span(1)
    return (start, end) if _standing_alone(text, start, end) and checks.card(text[start:end]) else None


def _plausible_card(data: bytes, at: int) -> bool:
    """Whether a card number may begin 13 digits before ``at``: one run of digits in 60 of a hexadecimal identifier."""
    begin = max(0, at - 24)
    begun = begin + len(data[begin : at + 1].rstrip(b"0123456789"))
    if begun < at - 11 and _IN_WORD.fullmatch(data, max(0, begun - 12), begun):
        return False  # 13 digits in a row and no word begins with them
    first = _THIRTEEN.search(data, begin, at + 1)
    found = checks.digits(data[first.start() if first else begin : at + 8])
    return any(checks.card(found[:length]) for length in range(13, 20))


def _ssn(text: bytes, match: Any) -> Span | None:
    start, end = match.span(1)
    return (start, end) if _standing_alone(text, start, end) and checks.ssn(text[start:end]) else None


def _iban(text: bytes, match: Any) -> Span | None:
    """As many characters as the country's IBANs have: what follows may be words in capital letters."""
    start, end = match.span(1)
    wanted = checks.IBAN_LENGTHS.get(text[start : start + 2], 99)
    places = [at for at in range(start, end) if text[at] != 0x20]
    if len(places) < wanted:
        return None
    end = places[wanted - 1] + 1
    return (start, end) if checks.iban(text[start:end]) and not text[end : end + 1].isalnum() else None


def _phone(text: bytes, match: Any) -> Span | None:
    start, end = match.span(1)
    if text[max(0, start - 1) : start].isalnum() or text[end : end + 1].isalnum() or text[start:end].count(b".") == 1:
        return None
    return (start, end) if checks.phone(text[start:end]) else None


def _plausible_phone(data: bytes, at: int) -> bool:
    """Whether 8 digits begin 7 bytes before ``at``, and no more stands between two of them than the pattern takes."""
    return _EIGHT.match(data, max(0, at - 7)) is not None


def _ipv4(text: bytes, match: Any) -> Span | None:
    start, end = match.span(1)
    longer = text[max(0, start - 1) : start] in (b".", b"v") or re.match(rb"\.\d", text[end : end + 2])
    return None if longer or any(int(each) > 255 for each in text[start:end].split(b".")) else (start, end)


def _is_ipv6(found: bytes) -> bool:
    try:
        return ipaddress.ip_address(found.decode()).version == 6
    except ValueError:
        return False


PERSONAL = (
    Rule(
        "email",
        rb"[A-Za-z0-9_%+\-\x80-\xff](?:@|%40|\\u0040|\\x40|&#64;)[A-Za-z0-9\-\x80-\xff]+\.[A-Za-z0-9\-\x80-\xff]",
        rf"{BEGIN}?([{_LETTER}0-9._%+\-]+{_AT}(?:[{_LETTER}0-9\-]+\.)+[{_LETTER}][{_LETTER}0-9\-]+)",
        _email,
    ),
    Rule(
        "card",
        # 13 digits; before them no number but a text's length, after its tag, or an escape that ends in a digit.
        rb"(?:^|[^0-9.]|[^0-9]\.|[%ux][0-9A-Fa-f]{1,3}[0-9]|[\x0a\x12\x1a\x22\x2a\x3a\x62\x80-\xff][0-9.])"
        rb"(?:[2-6][0-9]{12}|[2-6][0-9]{3}[ \-][0-9]{4}[ \-][0-9]{4}[ \-][0-9]|3[0-9]{3}[ \-][0-9]{6}[ \-][0-9]{3})",
        rf"{BEGIN}([2-6][0-9]{{12,18}}|[2-6][0-9]{{3}}[ \-][0-9]{{4}}[ \-][0-9]{{4}}[ \-][0-9]{{1,7}}"
        r"|3[0-9]{3}[ \-][0-9]{6}[ \-][0-9]{4,5})\b",
        _card,
        number=True,
        retry=True,
        run=True,
        plausible=_plausible_card,
    ),
    Rule(
        "iban",
        rb"[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4} ?[0-9]{2}",
        rf"{BEGIN}([A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?)",
        _iban,
        number=True,
        retry=True,
        run=True,
    ),
    Rule(
        "ssn",
        rb"[0-9]{3}-[0-9]{2}-[0-9]{4}",
        rf"{BEGIN}([0-9]{{3}}-[0-9]{{2}}-[0-9]{{4}})\b",
        _ssn,
        number=True,
        retry=True,
        run=True,
    ),
    Rule(
        "phone",
        rb"(?:\+|%2[Bb]|\\u002[bB])[1-9][0-9 .()\-]{7}",
        r"((?:\+|%2[Bb]|\\+u002[bB])[1-9][0-9]{0,2}(?:[ .\-]{0,2}\(?[0-9]{1,14}\)?){1,6})",
        _phone,
        number=True,
        retry=True,
        plausible=_plausible_phone,
    ),
    Rule(
        "us_phone",
        rb"[0-9]{3}[ \-.)]{1,2}[0-9]{3}[ \-.][0-9]{4}",
        r"((?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[ .\-])[2-9][0-9]{2}[ .\-][0-9]{4})\b",
        number=True,
        run=True,
        on=False,
    ),
    Rule(
        "ipv4",
        rb"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
        rf"{BEGIN}([0-9]{{1,3}}\.[0-9]{{1,3}}\.[0-9]{{1,3}}\.[0-9]{{1,3}})\b",
        _ipv4,
        number=True,
        retry=True,
        scan=2,
        on=False,
    ),
    Rule(
        "ipv6",
        rb"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]",
        r"((?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,7}|::(?:[0-9A-Fa-f]{1,4}:){0,6}[0-9A-Fa-f]{1,4})",
        checked(_is_ipv6),
        number=True,
        scan=2,
        on=False,
    ),
)
