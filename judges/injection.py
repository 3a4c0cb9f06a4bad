"""Text that talks to the judge instead of answering: made visible, fenced, and its suspicion recorded.

The search is a signal for a person, not a defence; what defends is the random fence, the strict parser and the range.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterable

MAX_CHARS = 12_000  # of one judged text; beyond it the middle is left out, and the judge is told so
FENCE_BYTES = 8

_PATTERNS = {
    "orders_the_judge": re.compile(
        r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:rubric|instruction|above|previous|prior|system|rule|criteria)s?\b",
        re.IGNORECASE | re.DOTALL,
    ),
    "asks_for_a_score": re.compile(
        r"\b(?:give|assign|award|output|return|respond with|set)\b.{0,40}\b(?:scores?|ratings?|marks?|verdicts?)\b"
        r"|\b(?:scores?|rating)\b\W{0,4}(?:of|is|=|:|to)?\W{0,4}\d",
        re.IGNORECASE | re.DOTALL,
    ),
    "speaks_as_the_system": re.compile(
        r"<\|?\s*(?:im_start|im_end|system|assistant|endoftext)\b|\[/?INST\]|^\s*(?:system|assistant|evaluator|judge)\s*:",
        re.IGNORECASE | re.MULTILINE,
    ),
    "closes_the_fence": re.compile(r"<<+\s*/?\s*end\b|</\s*(?:answer|context|question)\s*>", re.IGNORECASE),
    "writes_a_verdict": re.compile(r"[{,]\s*\\?[\"']score\\?[\"']\s*:", re.IGNORECASE),
}
_HIDDEN = frozenset({"Cf", "Co", "Cn", "Cc"})
_PLAIN = frozenset("\n\t\r")
_WITHOUT_BREAKS = str.maketrans("", "", "\n\t\r")


def suspicions(text: str) -> tuple[str, ...]:
    """Names of the ways in which ``text`` looks like an attempt on the judge; empty for nearly all honest text."""
    shown = text[: 4 * MAX_CHARS]
    visible = shown if _all_visible(shown) else "".join(each for each in shown if not _is_hidden(each))
    found = [name for name, pattern in _PATTERNS.items() if pattern.search(visible)]
    return (*found, *(["hidden_characters"] if len(visible) != len(shown) else []))


def presentable(text: str, limit: int = MAX_CHARS) -> str:
    """``text`` with invisible characters as ``\\u{hex}`` and, when longer than ``limit``, without its middle.

    >>> presentable("a\\u200bb")
    'a\\\\u{200b}b'
    """
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    if _all_visible(text):
        return text
    return "".join(f"\\u{{{ord(each):x}}}" if _is_hidden(each) else each for each in text)


def fence(texts: Iterable[str]) -> str:
    """A random delimiter that occurs in none of ``texts`` and that their author could not know."""
    everything = "\n".join(texts)
    token = secrets.token_hex(FENCE_BYTES)
    while token in everything:
        token = secrets.token_hex(FENCE_BYTES)
    return token


def _all_visible(text: str) -> bool:
    """A quick yes for nearly every text; no may still mean yes."""
    return text.translate(_WITHOUT_BREAKS).isprintable()


def _is_hidden(character: str) -> bool:
    return character not in _PLAIN and unicodedata.category(character) in _HIDDEN
