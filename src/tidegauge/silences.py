"""Silences: who asked for quiet about which alerts, until when, and why. Rows are only added, so history stays."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from tidegauge.errors import InvalidRecord
from tidegauge.store import Store

LONGEST_TEXT = 1000
MOST_MATCHERS = 20
LATEST = """SELECT silence_id, s FROM (
  SELECT silence_id, argMax(tuple(matchers, starts_at, ends_at, author, reason), written_at) AS s
  FROM silences GROUP BY silence_id)
WHERE s.3 > {since:DateTime64(6)} ORDER BY s.3, silence_id"""


@dataclass(frozen=True, slots=True)
class Silence:
    """Quiet about the alerts that match, from ``starts_at`` until ``ends_at``.

    Attributes:
        matchers: Label -> value, all of which must fit; ``*`` and ``?`` stand for any text and any character. The names
            ``alert``, ``severity`` and ``owner`` are those of the rule.

    Raises:
        InvalidRecord: it matches everything by having no matcher, has no length, no author or no reason.
    """

    matchers: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime
    author: str
    reason: str
    silence_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise InvalidRecord(f"a silence {problem}")

    def _problem(self) -> str:
        if not 0 < len(self.matchers) <= MOST_MATCHERS:
            return f"needs 1 to {MOST_MATCHERS} matchers, such as service=shop; to silence all name alert=*"
        if self.starts_at.tzinfo is None or self.ends_at.tzinfo is None or self.ends_at <= self.starts_at:
            return f"must end after it starts, got {self.starts_at} to {self.ends_at}"
        if not self.author.strip() or not self.reason.strip():
            return "needs an author and a reason: whoever is on call next will ask"
        texts = (self.author, self.reason, *self.matchers, *self.matchers.values())
        return f"holds a text of more than {LONGEST_TEXT} characters" if max(map(len, texts)) > LONGEST_TEXT else ""

    def holds(self, now: datetime) -> bool:
        """Whether it is in force."""
        return self.starts_at <= now < self.ends_at

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether every matcher fits; a label that is not there is the empty text."""
        return all(fnmatchcase(labels.get(name, ""), value) for name, value in self.matchers.items())

    def as_json(self) -> dict[str, Any]:
        """For machines and the page."""
        return {
            "silence_id": self.silence_id,
            "matchers": dict(self.matchers),
            "starts_at": self.starts_at.isoformat(),
            "ends_at": self.ends_at.isoformat(),
            "author": self.author,
            "reason": self.reason,
        }


def from_json(data: Any) -> Silence:
    """The inverse of ``as_json``; without an id it gets one. Raises InvalidRecord for anything else."""
    try:
        matchers = {str(name): str(value) for name, value in data["matchers"].items()}
        starts_at, ends_at = (datetime.fromisoformat(data[name]) for name in ("starts_at", "ends_at"))
        silence = Silence(matchers, starts_at, ends_at, str(data["author"]), str(data["reason"]))
        return replace(silence, silence_id=str(data["silence_id"])) if "silence_id" in data else silence
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRecord(f"not a silence: {type(error).__name__}: {str(error)[:200]}") from error


def parse_matchers(texts: Sequence[str]) -> dict[str, str]:
    """``service=shop`` and so on. Raises InvalidRecord for what is no such pair.

    >>> parse_matchers(["service=shop", "alert=High*"])
    {'service': 'shop', 'alert': 'High*'}
    """
    pairs = [each.partition("=") for each in texts]
    wrong = [name for name, equals, _ in pairs if not (name and equals)]
    if wrong:
        raise InvalidRecord(f"{wrong[0]!r} is no matcher: write label=value, such as service=shop")
    return {name: value for name, _, value in pairs}


def read(store: Store, since: datetime) -> list[Silence]:
    """Silences that end after ``since``; those that end first come first."""
    return [_silence(row["silence_id"], row["s"]) for row in store.rows(LATEST, {"since": since})]


def write(store: Store, silence: Silence, now: datetime) -> None:
    """Store ``silence``; one with the same id replaces the one before."""
    store.insert(
        "silences",
        [
            {
                "written_at": now,
                "silence_id": silence.silence_id,
                "matchers": dict(silence.matchers),
                "starts_at": silence.starts_at,
                "ends_at": silence.ends_at,
                "author": silence.author,
                "reason": silence.reason,
            }
        ],
    )


def end(store: Store, silence_id: str, now: datetime) -> Silence:
    """End a silence now. Raises InvalidRecord when none with this id is in force or still to come."""
    found = next((each for each in read(store, now) if each.silence_id == silence_id), None)
    if found is None:
        raise InvalidRecord(f"there is no silence {silence_id!r} in force; `tidegauge silences list` names them")
    ended = replace(found, starts_at=min(found.starts_at, now - timedelta(seconds=1)), ends_at=now)
    write(store, ended, now)
    return ended


def muting(silences: Sequence[Silence], labels: Mapping[str, str], now: datetime) -> Silence | None:
    """The first of ``silences`` that is in force and matches."""
    return next((each for each in silences if each.holds(now) and each.matches(labels)), None)


def _silence(silence_id: str, values: Sequence[Any]) -> Silence:
    matchers, starts_at, ends_at, author, reason = values
    return Silence(matchers, starts_at, ends_at, author, reason, silence_id)
