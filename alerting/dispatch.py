"""What receivers are still to be told, and when each of it may go: grouped, after quiet hours, or at once.

When an entry may go follows from the alert, its route and the time alone, so a restart finds the same again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from tidegauge.alerting.durations import format_duration
from tidegauge.alerting.routes import Leaf
from tidegauge.alerting.states import Notice, Transition

_WAITING = (Notice.FIRE, Notice.REMIND)


@dataclass(slots=True)
class Entry:
    """One notice for one receiver."""

    receiver: str
    alert: Transition
    leaf: Leaf
    group: str
    waited: str = ""


class Why(NamedTuple):
    """An entry that is not told now, and the reason: its kind and words."""

    entry: Entry
    reason: str
    detail: str


@dataclass(slots=True)
class Released:
    """What one look brought.

    Attributes:
        now: To be sent.
        held: Not yet; only those of which it was not said before.
        dropped: Never: over before it was told.
    """

    now: list[Entry] = field(default_factory=list)
    held: list[Why] = field(default_factory=list)
    dropped: list[Why] = field(default_factory=list)


class Dispatcher:
    """Holds entries until they are due."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], list[Entry]] = {}
        self._next: dict[tuple[str, str], datetime] = {}
        self._known: set[tuple[object, ...]] = set()

    def add(self, entries: Iterable[Entry]) -> None:
        """Take ``entries``, oldest first, without those that wait already."""
        for each in entries:
            if (name := _name(each)) not in self._known:
                self._known.add(name)
                self._groups.setdefault((each.receiver, each.group), []).append(each)

    def clear(self) -> None:
        """Forget everything; it is in the tables."""
        self._groups.clear()
        self._known.clear()

    def release(self, now: datetime) -> Released:
        """Everything that is due at ``now``."""
        found = Released()
        self._next = {key: due for key, due in self._next.items() if now < due}
        for key in list(self._groups):
            entries = self._without_ended(self._groups.pop(key), found)
            first = next((each for each in entries if each.alert.notice in _WAITING), None)
            reason, detail = self._wait(key, first, now) if first else ("", "")
            held = self._held(entries) if reason else []
            gone = [each for each in entries if not any(each is other for other in held)]
            found.held += [Why(each, reason, detail) for each in held if each.waited != reason]
            for each in held:
                each.waited = reason
            if held:
                self._groups[key] = held
            elif gone and gone[0].leaf.group_interval:
                self._next[key] = now + gone[0].leaf.group_interval
            found.now += gone
        self._known = {_name(each) for entries in self._groups.values() for each in entries}
        return found

    def _without_ended(self, entries: list[Entry], found: Released) -> list[Entry]:
        """Those that waited and ended meanwhile are not told: neither that they began nor that they ended."""
        ended = {each.alert.fingerprint for each in entries if each.alert.notice is Notice.RESOLVE}
        over = {each.alert.fingerprint for each in entries if each.waited and each.alert.fingerprint in ended}
        found.dropped += [
            Why(each, "over", f"over before it was told; it waited for: {each.waited or 'the end'}")
            for each in entries
            if each.alert.fingerprint in over
        ]
        return [each for each in entries if each.alert.fingerprint not in over]

    def _wait(self, key: tuple[str, str], first: Entry, now: datetime) -> tuple[str, str]:
        leaf = first.leaf
        if quiet := leaf.quiet_words(now):
            return "quiet_hours", quiet
        due = self._next.get(key, first.alert.at + leaf.group_wait)
        if now >= due:
            return "", ""
        length = format_duration(leaf.group_interval if key in self._next else leaf.group_wait)
        return "grouped", f"waits for others of its group, {length}, until {due:%Y-%m-%d %H:%M:%S} UTC"

    def _held(self, entries: list[Entry]) -> list[Entry]:
        """What rings, and whatever follows it of the same alert, so that the order stays."""
        waiting: set[str] = set()
        held = []
        for each in entries:
            if each.alert.notice in _WAITING or each.alert.fingerprint in waiting:
                waiting.add(each.alert.fingerprint)
                held.append(each)
        return held


def _name(entry: Entry) -> tuple[object, ...]:
    return entry.receiver, entry.alert.fingerprint, entry.alert.at, entry.alert.notice
