"""Failures proposed for the golden set, and what people decide about them. Rows are only added; the last one holds."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Literal

from tidegauge.errors import InvalidRecord
from tidegauge.instruments import GOLDEN
from tidegauge.model import Window
from tidegauge.store import Store

LONGEST_NOTE, LONGEST_TEXT = 1000, 20_000
LEAST_ID, MOST_SHOWN = 6, 1000
READ = """SELECT * EXCEPT (stored_at) FROM golden_candidates FINAL
WHERE startsWith(candidate_id, {start:String}) AND ({state:String} = '' OR state = {state:String})
  AND ({subject:String} = '' OR subject = {subject:String})
ORDER BY window_end DESC, subject, strength DESC, candidate_id LIMIT {most:UInt32}"""
COUNTS = "SELECT state, count() AS n FROM golden_candidates FINAL GROUP BY state"
ROUNDS = """SELECT evaluated_at, subject, weekly, window_start, window_end, failures, different, proposed, reasons
FROM golden_rounds WHERE subject != '' ORDER BY evaluated_at DESC, subject LIMIT {most:UInt32}"""


class State(StrEnum):
    """Where a candidate stands."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One failure that was proposed. Times are aware and in UTC.

    Attributes:
        window: Where failures were looked for.
        subject: The service or model.
        record_id: Its trace id or prediction id, as ``kind`` says.
        reasons: What was wrong -> by what it was seen.
        strength: 0 to 1, how sure it is that this is a failure.
        alike: How many failures say the same, this one included.
        versions: The version tuple.
        input, output, context: Masked; empty where content was not captured, or is not kept.
        expected: A label, a correction, or what a person gave with the decision; empty: nobody has said.
        digest: Of the normalised input.
    """

    candidate_id: str
    written_at: datetime
    state: State
    proposed_at: datetime
    window: Window
    subject: str
    kind: Literal["trace", "prediction"]
    record_id: str
    trace_id: str
    timestamp: datetime
    reasons: Mapping[str, str]
    strength: float
    alike: int = 1
    tenant: str = ""
    slices: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    input: str = ""
    output: str = ""
    expected: str = ""
    context: tuple[str, ...] = ()
    digest: str = ""
    author: str = ""
    note: str = ""
    decided_at: datetime | None = None

    def row(self) -> dict[str, Any]:
        """As ``golden_candidates`` has it."""
        found = {name: getattr(self, name) for name in _NAMES if name != "window"}
        plain = {"state": self.state.value, "context": list(self.context)}
        maps = {name: dict(found[name]) for name in ("reasons", "slices", "versions")}
        return found | plain | maps | {"window_start": self.window.start, "window_end": self.window.end}

    def as_json(self) -> dict[str, Any]:
        """For machines and the page."""
        return {name: each.isoformat() if isinstance(each, datetime) else each for name, each in self.row().items()}


_NAMES = tuple(each.name for each in fields(Candidate))
_TIMES = ("written_at", "proposed_at", "window_start", "window_end", "timestamp", "decided_at")


@dataclass(frozen=True, slots=True)
class Round:
    """What one round saw of one subject. ``different``: said each in its own way, and not proposed before."""

    evaluated_at: datetime
    subject: str
    weekly: bool
    window: Window
    failures: int
    different: int
    proposed: int
    reasons: Mapping[str, int]

    def row(self) -> dict[str, Any]:
        """As ``golden_rounds`` has it."""
        found = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "window"}
        found["reasons"] = dict(self.reasons)
        return found | {"window_start": self.window.start, "window_end": self.window.end}

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {name: each.isoformat() if isinstance(each, datetime) else each for name, each in self.row().items()}


def identity(subject: str, kind: str, record_id: str) -> str:
    """The id of the candidate that a record would be: 16 hexadecimal digits.

    >>> identity("shop", "trace", "ab") == identity("shop", "trace", "ab") != identity("shop", "prediction", "ab")
    True
    """
    return blake2b("\x1f".join([subject, kind, record_id]).encode(), digest_size=8).hexdigest()


def normalised(text: str) -> str:
    """``text`` without what makes no difference: case, spaces, width and composition of characters.

    >>> normalised("  What\\n IS this? ")
    'what is this?'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def digest(text: str) -> str:
    """Of the normalised text; empty for no text."""
    plain = normalised(text)
    return blake2b(plain.encode(errors="surrogatepass"), digest_size=16).hexdigest() if plain else ""


def read(
    store: Store, state: str = "", subject: str = "", *, start: str = "", most: int = MOST_SHOWN
) -> list[Candidate]:
    """Candidates of the newest window first; all states and subjects where those are empty.

    Args:
        start: The beginning of their ids.

    Raises:
        InvalidRecord: there is no such state.
    """
    if state not in {"", *State}:
        raise InvalidRecord(f"there is no state {state[:40]!r}; use one of {', '.join(State)}")
    rows = store.rows(READ, {"start": start, "state": state, "subject": subject, "most": most})
    return [_candidate(row) for row in rows]


def one(store: Store, start: str) -> Candidate:
    """The candidate whose id begins with ``start``. Raises InvalidRecord when no or no single one does."""
    found = read(store, start=start, most=2) if len(start) >= LEAST_ID else []
    if len(found) != 1:
        told = "several candidates begin" if found else "no candidate begins"
        raise InvalidRecord(f"{told} with {start[:40]!r}; `tidegauge golden list` names them")
    return found[0]


def counts(store: Store) -> dict[str, int]:
    """How many candidates are in each state."""
    found = {row["state"]: row["n"] for row in store.rows(COUNTS)}
    return {state.value: found.get(state.value, 0) for state in State}


def rounds(store: Store, most: int = 20) -> list[Round]:
    """The newest rounds, by subject."""
    return [_round(row) for row in store.rows(ROUNDS, {"most": most})]


def write(store: Store, candidates: Sequence[Candidate], token: str | None = None) -> None:
    """Store ``candidates``; of two inserts with one token ClickHouse keeps the first."""
    store.insert("golden_candidates", [each.row() for each in candidates], token)


def decide(
    store: Store, start: str, state: str, author: str, now: datetime, *, note: str = "", expected: str = ""
) -> Candidate:
    """Accept or reject a candidate. What was accepted can be rejected later.

    A rejected one keeps its masked input, so that nothing that says the same is proposed again, and loses output,
    expected output and context.

    Args:
        start: The beginning of its id, at least six characters.
        expected: What the answer should have been; empty leaves what is known.

    Raises:
        InvalidRecord: no single candidate has the id, it was rejected before, there is no author or no such decision,
            or a text is too long.
    """
    if state not in (State.ACCEPTED, State.REJECTED):
        raise InvalidRecord(f"there is no decision {state[:40]!r}; use {State.ACCEPTED} or {State.REJECTED}")
    if not author.strip() or max(len(author), len(note)) > LONGEST_NOTE or len(expected) > LONGEST_TEXT:
        limits = f"author and note of at most {LONGEST_NOTE} characters, an expected output of {LONGEST_TEXT}"
        raise InvalidRecord(f"a decision needs an author; {limits}")
    found = one(store, start)
    if found.state is State.REJECTED:
        raise InvalidRecord(f"{found.candidate_id} was rejected by {found.author}; its output is gone")
    decided = decision(found, State(state), author, now, note=note, expected=expected)
    write(store, [decided])
    GOLDEN.labels(decided.state.value).inc()
    return decided


def decision(
    found: Candidate, state: State, author: str, now: datetime, *, note: str = "", expected: str = ""
) -> Candidate:
    """``found`` as it is once ``state`` is decided."""
    said = replace(found, state=state, written_at=now, decided_at=now, author=author, note=note)
    if state is State.REJECTED:
        return replace(said, output="", expected="", context=())
    return replace(said, expected=expected or found.expected)


def from_json(data: Any) -> Candidate:
    """The inverse of ``as_json``. Raises InvalidRecord for anything else."""
    try:
        times = {name: datetime.fromisoformat(data[name]) if data[name] else None for name in _TIMES}
        return _candidate({**data, **times})
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRecord(f"not a candidate: {type(error).__name__}: {str(error)[:200]}") from error


def _candidate(row: Mapping[str, Any]) -> Candidate:
    named = {name: row[name] for name in _NAMES if name != "window"}
    typed = {"state": State(row["state"]), "context": tuple(row["context"])}
    return Candidate(**named | typed, window=Window(row["window_start"], row["window_end"]))


def _round(row: Mapping[str, Any]) -> Round:
    named = {name: row[name] for name in row if not name.startswith("window_")}
    return Round(**named, window=Window(row["window_start"], row["window_end"]))
