"""What people say to alerts: I have it, it is over, it was right, it was a false alarm. Rows are only added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tidegauge.errors import InvalidRecord
from tidegauge.store import Store

LONGEST_TEXT = 1000
FOUND = """SELECT fingerprint, any(rule) AS rule, argMax(labels, timestamp) AS labels,
  maxIf(timestamp, notice = 'fire') AS fired_at, countIf(notice = 'fire') AS fires, argMax(open, timestamp) AS open
FROM alert_events WHERE startsWith(fingerprint, {start:String}) GROUP BY fingerprint LIMIT 3"""
READ = """SELECT written_at, rule, fingerprint, labels, fired_at, action, author, note FROM alert_responses
WHERE written_at >= {since:DateTime64(6)} ORDER BY written_at, fingerprint"""


class Action(StrEnum):
    """What somebody says to an alert."""

    ACK = "ack"
    RESOLVE = "resolve"
    TRUE = "true"
    FALSE = "false"
    ASSIGN = "assign"


@dataclass(frozen=True, slots=True)
class Response:
    """One answer to one alert, which ``fingerprint`` and ``fired_at`` name. ``note`` may be empty."""

    written_at: datetime
    rule: str
    fingerprint: str
    labels: Mapping[str, str]
    fired_at: datetime
    action: Action
    author: str
    note: str = ""


def respond(store: Store, alert: str, action: Action, author: str, note: str, now: datetime) -> Response:
    """Store an answer to the last time that ``alert`` fired.

    Args:
        alert: Its fingerprint, or the beginning of it, at least six characters.

    Raises:
        InvalidRecord: no or no single alert has it, it never fired, is over and to be acknowledged, or there is no
            author.
    """
    if not author.strip() or max(len(author), len(note)) > LONGEST_TEXT:
        raise InvalidRecord(f"an answer needs an author, and texts of at most {LONGEST_TEXT} characters")
    if len(alert) < 6:
        raise InvalidRecord(f"{alert!r} is too short: give six characters or more of the alert's id")
    found = store.rows(FOUND, {"start": alert})
    if len(found) != 1:
        told = "several alerts begin" if found else "no alert begins"
        raise InvalidRecord(f"{told} with {alert[:40]!r}; `tidegauge alerts list --all` names them")
    (row,) = found
    if not row["fires"]:
        raise InvalidRecord(f"{row['rule']} was never told of, so there is nothing to answer")
    if not row["open"] and action in (Action.ACK, Action.RESOLVE, Action.ASSIGN):
        raise InvalidRecord(f"{row['rule']} is over already; it can still be called true or false")
    answer = Response(now, row["rule"], row["fingerprint"], row["labels"], row["fired_at"], action, author, note)
    write(store, answer)
    return answer


def write(store: Store, response: Response) -> None:
    """Store ``response``."""
    row = {name: getattr(response, name) for name in Response.__slots__}
    store.insert("alert_responses", [row | {"action": response.action.value, "labels": dict(response.labels)}])


def read(store: Store, since: datetime) -> list[Response]:
    """Answers written at or after ``since``, oldest first."""
    return [Response(**row | {"action": Action(row["action"])}) for row in store.rows(READ, {"since": since})]


def marks(responses: Sequence[Response]) -> dict[tuple[str, datetime], bool]:
    """By fingerprint and time of firing, whether it was right; of several answers the last one counts."""
    said = [each for each in responses if each.action in (Action.TRUE, Action.FALSE)]
    return {(each.fingerprint, each.fired_at): each.action is Action.TRUE for each in said}
