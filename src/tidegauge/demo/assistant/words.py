"""Words of questions and docstrings; all the language that the demo's models know."""

from __future__ import annotations

import re
from functools import lru_cache

TOKEN = re.compile(r"\w+|[^\w\s]")
WORD = re.compile(r"[a-z][a-z0-9]+")
SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n\s*\n|\n(?=\[\d+\])|\n\s*[-*>]+\s*")
_COMMON = """
a about all also an and any are as at be been but by can could did do does doing each for from get give given go
has have how if in into is it its itself just like make many may me mean means more most must my need no not now
of off on one only or other our out over own please question same say see self should show so some such tell
than that the their them then there these they this those to too up us use used uses using very want was way we
what when where which while who why will with work works would you your
"""
COMMON = frozenset(_COMMON.split())


def tokens(text: str) -> int:
    """How many tokens the demo's models count in ``text``: words and punctuation marks."""
    return len(TOKEN.findall(text))


@lru_cache(maxsize=20_000)
def keywords(text: str) -> frozenset[str]:
    """The words that carry meaning, in lower case, without a plural s; a dotted or underscored name gives its parts.

    >>> sorted(keywords("How do I use os.path.join() with lists?"))
    ['join', 'list', 'os', 'path']
    """
    return frozenset(_stem(word) for word in WORD.findall(text.lower().replace("_", " ")) if word not in COMMON)


def sentences(text: str) -> list[str]:
    """``text`` in sentences, white space evened out."""
    return [" ".join(part.split()) for part in SENTENCE_END.split(text) if part.strip()]


def coverage(part: frozenset[str], whole: frozenset[str]) -> float:
    """The share of ``part`` that is in ``whole``, 0..1; 1 when there is nothing to cover."""
    return len(part & whole) / len(part) if part else 1.0


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
