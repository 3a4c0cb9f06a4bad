"""The fast search: every rule's hint over the bytes of a whole request at once, by hyperscan."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import hyperscan

from tidegauge.collectors.masking.rules import Rule
from tidegauge.collectors.masking.runs import excerpts

SMALL = 2**14  # bytes that are searched sooner than looked over
MAX_HITS = 50_000  # of one scan; beyond it each text is looked at by itself, so that memory stays bounded
Hit = tuple[int, int]  # the place of a match's last byte; the rule's number


class _TooMany(Exception):
    """More than MAX_HITS."""


class Scanner:
    """The compiled hints of ``rules``; thread-safe."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        numbers = sorted({(rule.scan, rule.run) for rule in rules})
        groups = [[(n, each) for n, each in enumerate(rules) if (each.scan, each.run) == key] for key in numbers]
        self._databases = [_compiled(each) for each in groups]
        self._in_runs = [run for _, run in numbers]
        self._plausible = {n: each.plausible for n, each in enumerate(rules) if each.plausible}
        self._own = threading.local()

    def hits(self, data: bytes) -> list[Hit] | None:
        """Where the hints match, in order; None where there are more than MAX_HITS matches."""
        found: list[Hit] = []
        try:
            for database, scratch, in_runs in zip(self._databases, self._scratch(), self._in_runs, strict=True):
                if in_runs and len(data) > SMALL:
                    _scan_runs(database, scratch, data, found)
                else:
                    _scan(database, scratch, data, found)
        except (hyperscan.ScanTerminated, _TooMany):
            return None
        if self._plausible and found:
            found = [(at, n) for at, n in found if n not in self._plausible or self._plausible[n](data, at)]
        return sorted(set(found))

    def rules(self, text: bytes) -> frozenset[int]:
        """The numbers of the rules that may find something in ``text``."""
        found: set[int] = set()

        def note(rule: int, start: int, end: int, flags: int, context: object) -> None:
            found.add(rule)

        for database, scratch in zip(self._databases, self._scratch(), strict=True):
            database.scan(text, match_event_handler=note, scratch=scratch)
        return frozenset(found)

    def _scratch(self) -> list[hyperscan.Scratch]:
        """This thread's own; hyperscan writes into it while it scans."""
        found: list[hyperscan.Scratch] | None = getattr(self._own, "scratch", None)
        if found is None:
            found = self._own.scratch = [hyperscan.Scratch(database) for database in self._databases]
        return found


def _scan(database: hyperscan.Database, scratch: hyperscan.Scratch, data: bytes, found: list[Hit]) -> None:
    """Add to ``found``. Raises hyperscan.ScanTerminated where that becomes too much."""

    def note(rule: int, start: int, end: int, flags: int, context: object) -> bool | None:
        found.append((end - 1, rule))
        return len(found) > MAX_HITS or None

    database.scan(data, match_event_handler=note, scratch=scratch)


def _scan_runs(database: hyperscan.Database, scratch: hyperscan.Scratch, data: bytes, found: list[Hit]) -> None:
    for each in excerpts(data):
        here: list[Hit] = []
        _scan(database, scratch, each.text, here)
        if here:
            found += zip(each.places([at for at, _ in here]), [rule for _, rule in here], strict=True)
        if len(found) > MAX_HITS:
            raise _TooMany


def _compiled(rules: list[tuple[int, Rule]]) -> hyperscan.Database:
    database = hyperscan.Database()
    try:
        database.compile(
            expressions=[each.hint for _, each in rules],
            ids=[number for number, _ in rules],
            elements=len(rules),
            flags=[hyperscan.HS_FLAG_DOTALL] * len(rules),
        )
    except hyperscan.error:
        for number, each in rules if len(rules) > 1 else []:
            _compiled([(number, each)])  # names the one that is at fault
        raise
    return database
