"""One text: what the rules find in it, replaced by markers that leave JSON as valid as it was."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Sequence
from hashlib import blake2b

from tidegauge.collectors.masking.rules import Finder, Span

_SCALAR = re.compile(rb"[-+0-9.eE]+")
_BEFORE = re.compile(rb"[\[:,]\s{0,64}\Z")
_AFTER = re.compile(rb"\s{0,64}[\],}]")
_QUOTES = re.compile(rb"(?<!\\)(\\*+)\"")


class Marker:
    """What stands in place of a value: ``[email]``, or with a key ``[email:3f2a9c417be0]``."""

    def __init__(self, key: str = "") -> None:
        self._key = blake2b(key.encode()).digest() if key else b""

    def __call__(self, name: str, value: bytes) -> bytes:
        """The marker of rule ``name`` for ``value``; with a key the same for the same value, however it is written."""
        if not self._key:
            return b"[%s]" % name.encode()
        plain = re.sub(rb"[\s\-.()]", b"", value).lower().replace(b"%40", b"@").replace(b"\\u0040", b"@")
        return b"[%s:%s]" % (name.encode(), blake2b(plain, key=self._key, digest_size=6).hexdigest().encode())


class Texts:
    """The rules, applied to one text at a time."""

    def __init__(self, finders: Sequence[Finder], marker: Marker) -> None:
        self._finders, self.marker = finders, marker

    def mask(self, text: bytes, rules: Collection[int], identifier: bool = False) -> tuple[bytes, list[str]]:
        """``text`` with what ``rules`` find replaced, and the names of those that did, once for each finding.

        Args:
            text: UTF-8.
            rules: Numbers of the rules to try, in their order of precedence.
            identifier: Leave out the rules for what is shaped like a number.
        """
        spans = self.spans(text, rules, identifier)
        if not spans:
            return text, []
        quotes, parts, at = _Quotes(text), [], 0
        for (start, end), rule in spans:
            name, value = self.name(rule), text[start:end]
            quote = quotes.around(start, end) if _SCALAR.fullmatch(value) else b""
            parts += [text[at:start], quote, self.marker(name, value), quote]
            at = end
        return b"".join((*parts, text[at:])), [self.name(rule) for _, rule in spans]

    def name(self, rule: int) -> str:
        """Of the rule with this number."""
        return self._finders[rule].rule.name

    def spans(self, text: bytes, rules: Collection[int], identifier: bool = False) -> list[tuple[Span, int]]:
        """What to mask, in order, none overlapping: findings that overlap are one, named for the first rule."""
        tried = [(n, each) for n, each in enumerate(self._finders) if n in rules]
        tried = [(n, each) for n, each in tried if not (identifier and each.rule.number)]
        found = sorted((span, n) for n, each in tried for span in each.find(text))
        joined: list[tuple[Span, int]] = []
        for (start, end), rule in found:
            if joined and start < joined[-1][0][1]:
                (first, last), other = joined.pop()
                start, end, rule = first, max(last, end), min(rule, other)
            joined.append(((start, end), rule))
        return joined


class _Quotes:
    """Tells whether a number in a text is a bare one in JSON, which a marker would break without quotation marks."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._known: dict[tuple[int, int], list[int]] = {}

    def around(self, start: int, end: int) -> bytes:
        """The quotation mark that a marker in place of ``text[start:end]`` needs, mostly none."""
        text = self._text
        if not (_BEFORE.search(text, max(0, start - 66), start) and _AFTER.match(text, end)):
            return b""
        begin, stop, level = 0, len(text), 0
        while level < 8 and text[begin : begin + 64].lstrip()[:1] in (b"[", b"{"):
            marks = self._marks(begin, stop, level)
            before = bisect_left(marks, start)
            if before % 2 == 0:
                return b"\\" * level + b'"'
            begin, stop = marks[before - 1] + 1, marks[before] if before < len(marks) else stop
            level = 2 * level + 1
        return b""

    def _marks(self, begin: int, stop: int, level: int) -> list[int]:
        """The quotation marks of JSON that is written inside ``level`` backslashes' worth of other JSON."""
        if (begin, level) not in self._known:
            found = ((each.end() - 1, len(each.group(1))) for each in _QUOTES.finditer(self._text, begin, stop))
            self._known[begin, level] = [
                at for at, slashes in found if slashes >= level and (slashes - level) % (2 * (level + 1)) == 0
            ]
        return self._known[begin, level]
