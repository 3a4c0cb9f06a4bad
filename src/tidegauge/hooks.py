"""Proposals to retrain, roll back or call something else: what was proposed, who decided, what came of it.

Rows are only added. A proposal is decided once: of several decisions the first one stored counts, because all are
inserted under one token, of which the database keeps the first.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from tidegauge.config import Hook
from tidegauge.errors import InvalidRecord
from tidegauge.store import Store

LONGEST_TEXT = 1000
COLUMNS = (
    "written_at", "proposal", "state", "hook", "kind", "rule", "fingerprint", "labels", "scope", "fired_at",
    "expires_at", "tell", "author", "note", "alert",
)  # fmt: skip
READ = f"""SELECT {", ".join(COLUMNS)} FROM hook_events
WHERE startsWith(proposal, {{start:String}}) AND proposal IN (
  SELECT proposal FROM hook_events WHERE written_at >= {{since:DateTime64(6)}})
ORDER BY written_at, state DESC"""  # noqa: S608 - the columns are our own
CALLS = """SELECT dedup_key, count() AS calls,
  argMax(tuple(outcome, detail, timestamp), (outcome != 'retry', timestamp, attempts)) AS last
FROM alert_deliveries WHERE kind = 'hook' AND dedup_key IN {ids:Array(String)} GROUP BY dedup_key"""


class State(StrEnum):
    """Where a proposal stands. The last three follow from what was delivered."""

    PROPOSED = "proposed"
    SUPPRESSED = "suppressed"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CALLED = "called"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


DECISIONS = (State.APPROVED, State.REJECTED, State.EXPIRED)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal and what became of it.

    Attributes:
        proposal: Its id, 32 hex digits, and the key that the hook is called with.
        rule, fingerprint, fired_at: The alert behind it; ``fingerprint`` is empty where a person asked for the call.
        scope: The labels, as text, that the shortest interval counts for.
        tell: Receivers that hear of it.
        author, note: Who proposed it, and why.
        alert: JSON of the alert as it was then.
        decided_at, decided_by, said: Of the decision.
        attempts, result, ended_at: Of the calls; ``ended_at`` is of the last one.
    """

    proposal: str
    state: State
    hook: str
    kind: str
    rule: str
    fingerprint: str
    labels: Mapping[str, str]
    scope: str
    fired_at: datetime
    proposed_at: datetime
    expires_at: datetime
    tell: tuple[str, ...] = ()
    author: str = ""
    note: str = ""
    alert: str = "{}"
    decided_at: datetime | None = None
    decided_by: str = ""
    said: str = ""
    attempts: int = 0
    result: str = ""
    ended_at: datetime | None = None

    @property
    def wanted(self) -> bool:
        """Whether it stands for a call that was or may still be made."""
        return self.state not in (State.SUPPRESSED, State.REJECTED, State.EXPIRED)

    def as_json(self) -> dict[str, Any]:
        """For machines and the page."""
        texts = {name: getattr(self, name) for name in self.__slots__}
        times = {name: each.isoformat() for name, each in texts.items() if isinstance(each, datetime)}
        return texts | times | {"labels": dict(self.labels), "alert": json.loads(self.alert), "tell": list(self.tell)}


def read(store: Store, since: datetime, start: str = "") -> list[Proposal]:
    """Proposals of which something was written at or after ``since``, newest first; ``start`` begins their id."""
    rows = store.rows(READ, {"since": since, "start": start})
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["proposal"], []).append(row)
    calls = {row["dedup_key"]: row for row in store.rows(CALLS, {"ids": list(found)})} if found else {}
    made = [_proposal(events, calls.get(key)) for key, events in found.items()]
    return sorted(made, key=lambda each: each.proposed_at, reverse=True)


def one(store: Store, start: str) -> Proposal:
    """The proposal whose id begins with ``start``. Raises InvalidRecord for none or several."""
    found = read(store, datetime.fromisoformat("1970-01-01T00:00:00+00:00"), start) if len(start) >= 6 else []
    if len(found) != 1:
        told = "several proposals begin" if found else "no proposal begins"
        raise InvalidRecord(f"{told} with {start[:40]!r}; `tidegauge hooks list --all` names them")
    return found[0]


def propose(store: Store, proposal: Proposal) -> None:
    """Store a new proposal, or that one was suppressed; the same id again changes nothing."""
    row = _row(proposal, proposal.state, proposal.proposed_at, proposal.author, proposal.note)
    store.insert("hook_events", [row], token=f"hook:{proposal.proposal}:proposed")


def decide(store: Store, start: str, decision: State, author: str, note: str, now: datetime) -> Proposal:
    """Approve, reject or expire a proposal, once.

    Raises:
        InvalidRecord: there is no single one, it is decided or over, somebody else was faster, or there is no author.
    """
    if not author.strip() or max(len(author), len(note)) > LONGEST_TEXT:
        raise InvalidRecord(f"a decision needs an author, and texts of at most {LONGEST_TEXT} characters")
    known = one(store, start)
    _check_undecided(known)
    if decision is not State.EXPIRED and now >= known.expires_at:
        raise InvalidRecord(f"{known.hook} was proposed until {known.expires_at:%Y-%m-%d %H:%M} UTC; it is over")
    mine = _row(known, decision, now, author, note)
    store.insert("hook_events", [mine], token=f"hook:{known.proposal}:decided")
    stored = one(store, known.proposal)
    if (stored.decided_by, stored.said, stored.decided_at) != (author, note, now):
        _check_undecided(stored)
    return stored


def ask(store: Store, hook: Hook, labels: Mapping[str, str], author: str, note: str, now: datetime) -> Proposal:
    """Have ``hook`` called because a person wants it: a proposal that is approved at once, whatever the interval.

    Raises:
        InvalidRecord: there is no author or no reason.
    """
    if not author.strip() or not note.strip():
        raise InvalidRecord("a call by hand needs an author and a reason: whoever reads the record will ask")
    ends = now + timedelta(seconds=hook.expires_s)
    made = Proposal(
        uuid.uuid4().hex, State.PROPOSED, hook.name, hook.kind, "", "", labels, scope(hook, labels), now, now, ends,
        hook.tell, author, note,
    )  # fmt: skip
    propose(store, made)
    return decide(store, made.proposal, State.APPROVED, author, note, now)


def scope(hook: Hook, labels: Mapping[str, str]) -> str:
    """What the shortest interval of ``hook`` counts for, as text."""
    return json.dumps([[name, labels.get(name, "")] for name in hook.by])


def _check_undecided(known: Proposal) -> None:
    if known.decided_at or known.state is not State.PROPOSED:
        by = f" by {known.decided_by} at {known.decided_at:%Y-%m-%d %H:%M} UTC" if known.decided_at else ""
        raise InvalidRecord(f"the proposal to {known.hook} is {known.state.value} already{by}")


def _row(known: Proposal, state: State, at: datetime, author: str, note: str) -> dict[str, Any]:
    row = {name: getattr(known, name) for name in COLUMNS if name not in ("written_at", "state")}
    changed = {"written_at": at, "state": state.value, "author": author, "note": note}
    return row | changed | {"labels": dict(known.labels), "tell": list(known.tell)}


def _proposal(events: Sequence[Mapping[str, Any]], call: Mapping[str, Any] | None) -> Proposal:
    first = next((row for row in events if row["state"] not in DECISIONS), events[0])
    decision = next((row for row in events if row["state"] in DECISIONS), None)
    state = State((decision or first)["state"])
    outcome, detail, ended = call["last"] if call else ("", "", None)
    if state is State.APPROVED and call:
        state = {"delivered": State.SUCCEEDED, "failed": State.FAILED}.get(outcome, State.CALLED)
    values = {name: first[name] for name in COLUMNS if name not in ("written_at", "state", "tell")}
    return Proposal(
        **values,
        state=state,
        tell=tuple(first["tell"]),
        proposed_at=first["written_at"],
        decided_at=decision["written_at"] if decision else None,
        decided_by=decision["author"] if decision else "",
        said=decision["note"] if decision else "",
        attempts=call["calls"] if call else 0,
        result=detail,
        ended_at=ended,
    )


def named(configured: Sequence[Hook], name: str) -> Hook:
    """The configured hook of this name. Raises InvalidRecord, which names those that there are."""
    found = next((each for each in configured if each.name == name), None)
    if found is None:
        names = ", ".join(each.name for each in configured) or "none"
        raise InvalidRecord(f"there is no hook {name[:60]!r}; alerting.hooks has {names}")
    return found
