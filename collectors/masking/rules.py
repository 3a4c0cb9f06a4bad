"""What a rule is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import re2

Span = tuple[int, int]
Take = Callable[[bytes, Any], Span | None]

# Where a word may begin: after an escape of JSON, of a URL or of a terminal, whose last letter is no part of it, too.
BEGIN = r"(?:\\+(?:[nrtbf0]|[ux][0-9a-fA-F]{2,4})|%[0-9a-fA-F]{2}|\[[0-9;]{0,8}m|\b)"


def whole(text: bytes, match: Any) -> Span | None:
    """All that group 1 found, or the pattern where it has no group."""
    found: Span = match.span(1 if match.re.groups else 0)
    return found


def checked(check: Callable[[bytes], bool]) -> Take:
    """All that was found, where ``check`` says so."""

    def take(text: bytes, match: Any) -> Span | None:
        found = whole(text, match)
        return found if found and check(text[found[0] : found[1]]) else None

    return take


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to find.

    Attributes:
        name: Of the marker, and of the label in the metrics.
        hint: A hyperscan expression over the bytes of a whole request. It ends inside of everything that ``pattern``
            finds, and may find more; it must not rely on the bytes before and after the text, which belong to the
            message around it.
        pattern: An RE2 expression over one text; what ``take`` makes of a match is masked.
        number: Shaped like a number, as identifiers are: not looked for in the values of identifiers.
        retry: After a match that ``take`` refuses, search on from its second byte. Only for bounded patterns.
        scan: Which of the databases the hint stands in: those together that are fast together.
        run: All that is masked stands in one run of 11 bytes or more from space to underscore, so that the hint is
            looked for in such runs alone; of what stands before a run it may ask for five bytes.
        plausible: Whether a hint's match that ends at a byte of the request may be one; cheaper than to open it.
    """

    name: str
    hint: bytes
    pattern: str
    take: Take = whole
    number: bool = False
    retry: bool = False
    scan: int = 0
    run: bool = False
    on: bool = True
    plausible: Callable[[bytes, int], bool] | None = None


class Finder:
    """A rule with its pattern compiled."""

    def __init__(self, rule: Rule) -> None:
        options = re2.Options()
        options.log_errors = False
        self.rule, self._pattern = rule, re2.compile(rule.pattern, options)

    def find(self, text: bytes) -> Iterator[Span]:
        """The parts of ``text`` to mask, in order; none overlaps the one before."""
        at = 0
        while match := self._pattern.search(text, at):
            span = self.rule.take(text, match)
            if span is not None and span[0] < span[1]:
                yield span
                at = max(span[1], match.start() + 1)
            else:
                at = match.start() + 1 if self.rule.retry else max(match.end(), match.start() + 1)
