"""Why an alert did or did not reach anybody: every change, delivery, answer and suppression in one order of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidegauge.errors import InvalidRecord
from tidegauge.model import Window
from tidegauge.store import Store

MOST = 2000
_IN = "timestamp >= {start:DateTime64(6)} AND timestamp <= {end:DateTime64(6)}"
EVENTS = f"""SELECT timestamp, fingerprint, labels, '' AS receiver,
  multiIf(notice != '', notice, muted != '', 'muted', state) AS kind, reason AS detail, receivers
FROM alert_events WHERE rule = {{rule:String}} AND {_IN} ORDER BY timestamp LIMIT {{most:UInt32}}"""  # noqa: S608
DECISIONS = f"""SELECT timestamp, fingerprint, labels, receiver, reason AS kind, detail, [] AS receivers
FROM alert_decisions WHERE rule IN ({{rule:String}}, '') AND {_IN} ORDER BY timestamp LIMIT {{most:UInt32}}"""  # noqa: S608
DELIVERIES = f"""SELECT timestamp, dedup_key AS fingerprint, receiver, outcome AS kind,
  concat(if(attempts > 1, concat('attempt ', toString(attempts), ': '), ''), detail) AS detail, [] AS receivers
FROM alert_deliveries WHERE rule = {{rule:String}} AND outcome != 'withheld' AND {_IN}
ORDER BY timestamp LIMIT {{most:UInt32}}"""  # noqa: S608
RESPONSES = """SELECT written_at AS timestamp, fingerprint, labels, '' AS receiver, action AS kind,
  concat('by ', author, if(note = '', '', concat(': ', note))) AS detail, [] AS receivers
FROM alert_responses WHERE rule = {rule:String} AND written_at >= {start:DateTime64(6)}
  AND written_at <= {end:DateTime64(6)} ORDER BY timestamp LIMIT {most:UInt32}"""
HOOKS = """SELECT written_at AS timestamp, fingerprint, labels, concat('hook:', hook) AS receiver,
  concat('hook_', state) AS kind, concat(if(author IN ('', 'tidegauge'), '', concat('by ', author, '; ')), note,
    '; proposal ', substring(proposal, 1, 12)) AS detail, [] AS receivers
FROM hook_events WHERE rule = {rule:String} AND written_at >= {start:DateTime64(6)}
  AND written_at <= {end:DateTime64(6)} ORDER BY timestamp LIMIT {most:UInt32}
UNION ALL
SELECT d.timestamp, h.fingerprint, h.labels, d.receiver, d.outcome, d.detail, [] FROM alert_deliveries AS d
INNER JOIN (SELECT proposal, any(fingerprint) AS fingerprint, any(labels) AS labels FROM hook_events
  WHERE rule = {rule:String} GROUP BY proposal) AS h ON d.dedup_key = h.proposal
WHERE d.kind = 'hook' AND d.timestamp >= {start:DateTime64(6)} AND d.timestamp <= {end:DateTime64(6)}
LIMIT {most:UInt32}"""
WORDS = {
    "fire": "told that it fires",
    "resolve": "told that it is over",
    "remind": "told that it still fires",
    "escalate": "told that nobody has it",
    "diagnose": "told the likely cause",
    "acknowledge": "told that somebody has it",
    "muted": "not told",
    "inactive": "not told: the condition does not hold",
    "pending": "not told: it has not lasted long enough",
    "firing": "nobody told anew: it fires already",
    "resolved": "over",
    "no_data": "not told: no data",
    "insufficient": "not told: too few samples to be sure",
    "quiet_hours": "not told yet: quiet hours",
    "grouped": "not told yet: grouped with others",
    "over": "never told: over before its time came",
    "lease": "evaluated by another process",
    "delivered": "delivered",
    "retry": "delivery failed, tried again",
    "failed": "delivery failed for good",
    "ack": "acknowledged",
    "true": "called a true alarm",
    "false": "called a false alarm",
    "assign": "given to somebody else",
    "hook_proposed": "proposed to a hook",
    "hook_suppressed": "not proposed to a hook again yet",
    "hook_approved": "the hook's call was approved",
    "hook_rejected": "the hook's call was rejected",
    "hook_expired": "the hook's call expired: nobody decided",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of the answer.

    Attributes:
        kind: A key of ``WORDS``.
        receiver: Whom it is about, empty for nobody in particular.
        detail: The reason, with its numbers.
    """

    at: datetime
    fingerprint: str
    labels: Mapping[str, str]
    receiver: str
    kind: str
    detail: str

    @property
    def words(self) -> str:
        """What happened, for people."""
        return WORDS.get(self.kind, self.kind)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "at": self.at.isoformat(),
            "fingerprint": self.fingerprint,
            "labels": dict(self.labels),
            "receiver": self.receiver,
            "kind": self.kind,
            "what": self.words,
            "detail": self.detail,
        }


def from_json(data: Mapping[str, Any]) -> Decision:
    """The inverse of ``as_json``. Raises InvalidRecord for anything else."""
    try:
        names = ("fingerprint", "labels", "receiver", "kind", "detail")
        return Decision(datetime.fromisoformat(data["at"]), *(data[name] for name in names))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRecord(f"not a decision: {type(error).__name__}: {str(error)[:200]}") from error


def write(store: Store, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store suppressions: rows of ``alert_decisions``."""
    store.insert("alert_decisions", rows)


def why(store: Store, rule: str, span: Window, labels: Mapping[str, str] | None = None) -> list[Decision]:
    """What was decided about ``rule`` in ``span``, oldest first, at most 2,000 lines of each kind.

    Args:
        labels: Only slices that have these.
    """
    params = {"rule": rule, "start": span.start, "end": span.end, "most": MOST}
    rows = [row for sql in (EVENTS, DECISIONS, DELIVERIES, RESPONSES, HOOKS) for row in store.rows(sql, params)]
    known = {row["fingerprint"]: row["labels"] for row in rows if row.get("labels")}
    found = [_decision(row, known) for row in sorted(rows, key=lambda row: row["timestamp"])]
    wanted = (labels or {}).items()
    return [each for each in found if each.kind == "lease" or wanted <= dict(each.labels).items()]


def _decision(row: Mapping[str, Any], known: Mapping[str, Mapping[str, str]]) -> Decision:
    labels = row.get("labels") or known.get(row["fingerprint"], {})
    receiver = row["receiver"] or ", ".join(row["receivers"])
    return Decision(row["timestamp"], row["fingerprint"], labels, receiver, row["kind"], row["detail"])
