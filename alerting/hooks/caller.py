"""Calls one hook, as a receiver among the others: a queue and thread of its own, retries, and a ledger after the send.

So a call that was agreed to is made at least once, and always with the same ``Idempotency-Key``: the proposal's id.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from tidegauge import hooks
from tidegauge.alerting.http import Outcome, Poster, outcome
from tidegauge.alerting.notifiers.webhook import signature
from tidegauge.alerting.states import Transition
from tidegauge.store import Store


def receiver_name(hook: str) -> str:
    """What the ledger calls it; no configured receiver is routed to by it."""
    return f"hook:{hook}"


def build(proposal: hooks.Proposal) -> dict[str, Any]:
    """The body: what is wanted, who agreed, and the alert behind it; texts as they are, escaping is the reader's."""
    return {
        "source": "tidegauge",
        "version": 1,
        "hook": proposal.hook,
        "kind": proposal.kind,
        "proposal": proposal.proposal,
        "labels": dict(proposal.labels),
        "proposed_at": proposal.proposed_at.isoformat(),
        "reason": proposal.note,
        "approved_by": proposal.decided_by,
        "approved_at": proposal.decided_at.isoformat() if proposal.decided_at else "",
        "note": proposal.said,
        "alert": json.loads(proposal.alert),
    }


class HookCaller:
    """Posts to one hook's address; any 2xx means that it was taken."""

    kind = "hook"
    max_groups = 1
    max_alerts = 1
    spacing_s = 0.0
    refresh_s = 0.0

    def __init__(self, hook: str, poster: Poster, secret: str, store: Store) -> None:
        self.name = receiver_name(hook)
        self._poster, self._secret, self._store = poster, secret, store

    def send(self, alerts: Sequence[Transition]) -> Outcome:
        """Call it for the one proposal that ``alerts`` holds."""
        (call,) = alerts
        body = json.dumps(build(hooks.one(self._store, call.fingerprint))).encode()
        signed = signature(self._secret, body, int(time.time())) if self._secret else {}
        return outcome(self._poster.post(body, {"Idempotency-Key": call.fingerprint} | signed))
