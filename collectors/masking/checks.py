"""What tells a number or a token from text that only looks like one: pure functions over the characters found."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Callable

# Issuers by leading digits and the lengths they use (ISO/IEC 7812): Visa, Mastercard, American Express, Discover,
# Diners, JCB, UnionPay, Maestro.
_ISSUERS = re.compile(
    rb"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12,14}|3[47]\d{13}"
    rb"|(?:6011|65\d\d|64[4-9]\d)\d{12,15}|3(?:0[0-5]|[68]\d)\d{11,16}|35(?:2[89]|[3-8]\d)\d{12,15}"
    rb"|62\d{14,17}|(?:50|5[6-9]|6[37])\d{10,17}"
)
# Length of an IBAN by country (SWIFT IBAN registry).
_LENGTHS = """
AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22 DJ:27 DK:18 DO:28
EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HN:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26
IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MN:20 MR:27 MT:31 MU:30 NI:28
NL:18 NO:15 OM:23 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 RU:33 SA:24 SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25
SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20 YE:30
"""
IBAN_LENGTHS = {each[:2].encode(): int(each[3:]) for each in _LENGTHS.split()}
# Country calling codes (ITU-T E.164).
_CALLING = re.compile(
    rb"1|7|20|27|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|2[1-69]\d|3[578]\d|42\d|5[09]\d|6[789]\d|8[0578]\d|96\d|97[0-7]|99[2-68]"
)
_DIGITS = re.compile(rb"\D+")


def digits(text: bytes) -> bytes:
    """The digits alone."""
    return _DIGITS.sub(b"", text)


def luhn(text: bytes) -> bool:
    """Whether the digits of ``text`` pass the Luhn test (ISO/IEC 7812-1, annex B).

    >>> luhn(b"4111 1111 1111 1111"), luhn(b"4111 1111 1111 1112")
    (True, False)
    """
    found = digits(text)
    doubled = sum(sum(divmod(2 * (each - 48), 10)) for each in found[-2::-2])
    return len(found) > 1 and (sum(each - 48 for each in found[-1::-2]) + doubled) % 10 == 0


def card(text: bytes) -> bool:
    """Whether the digits have an issuer's prefix and length and pass the Luhn test."""
    found = digits(text)
    return _ISSUERS.fullmatch(found) is not None and luhn(found)


def iban(text: bytes) -> bool:
    """Whether ``text`` is an IBAN: its country's length, and 1 modulo 97 (ISO 13616).

    >>> iban(b"GB82 WEST 1234 5698 7654 32"), iban(b"GB82 WEST 1234 5698 7654 33")
    (True, False)
    """
    found = text.replace(b" ", b"").upper()
    if not found.isalnum() or IBAN_LENGTHS.get(found[:2]) != len(found):
        return False
    return int("".join(str(int(each, 36)) for each in (found[4:] + found[:4]).decode())) % 97 == 1


def ssn(text: bytes) -> bool:
    """Whether the United States could have issued it: area not 000, 666 or above 899, group not 00, serial not 0000."""
    area, group, serial = text[:3], text[4:6], text[7:]
    return area not in (b"000", b"666") and area < b"900" and group != b"00" and serial != b"0000"


def aba(text: bytes) -> bool:
    """Whether nine digits are a routing number of a bank in the United States (weights 3, 7, 1)."""
    found = digits(text)
    return len(found) == 9 and sum((each - 48) * (3, 7, 1)[at % 3] for at, each in enumerate(found)) % 10 == 0


def phone(text: bytes) -> bool:
    """Whether the digits are a country's calling code and 8 to 15 in all (ITU-T E.164)."""
    found = digits(text)
    return 8 <= len(found) <= 15 and _CALLING.match(found) is not None


def entropy(text: bytes) -> bool:
    """Whether the bytes are as mixed as a random token's: at least 3 bits each."""
    total = len(text)
    return total > 0 and -sum(n / total * math.log2(n / total) for n in Counter(text).values()) >= 3


def jwt(text: bytes) -> bool:
    """Whether the first part is the JSON header of a signed or encrypted token (RFC 7515, 7516)."""
    head = text.partition(b".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header


def basic(text: bytes) -> bool:
    """Whether ``text`` is the base64 of ``user:password`` (RFC 7617)."""
    try:
        return b":" in base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False


def opaque(text: bytes) -> bool:
    """Whether ``text`` is like nothing that people write: 12 characters or more without a space, digits and letters."""
    return len(text) >= 12 and not text.isspace() and b" " not in text and _mixed(text)


def _mixed(text: bytes) -> bool:
    return any(48 <= each <= 57 for each in text) and text.upper() != text.lower()


CHECKS: dict[str, Callable[[bytes], bool]] = {"luhn": luhn, "iban": iban, "aba": aba, "entropy": entropy}
