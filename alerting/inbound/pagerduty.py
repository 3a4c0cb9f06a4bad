"""Incidents that somebody took, gave away or closed in PagerDuty, as answers to our alerts.

PagerDuty's v3 webhooks are signed with HMAC-SHA256 of the body, ``v1=`` in ``X-PagerDuty-Signature``; during a change
of secrets there are several (https://developer.pagerduty.com/docs/verifying-webhook-signatures). The incident's
``incident_key`` is the ``dedup_key`` that we sent: the alert's fingerprint.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tidegauge import responses
from tidegauge.alerting.history import last_told
from tidegauge.alerting.inbound.contract import Answered
from tidegauge.alerting.states import Notice
from tidegauge.alerting.text import plain
from tidegauge.clock import Clock
from tidegauge.config import Alerting, PagerDutyReceiver
from tidegauge.errors import InvalidRecord
from tidegauge.responses import Action
from tidegauge.store import Store

ACTIONS = {
    "incident.acknowledged": Action.ACK,
    "incident.resolved": Action.RESOLVE,
    "incident.reassigned": Action.ASSIGN,
}


class Event(NamedTuple):
    """What a webhook says: ``key`` is the incident's, ``person`` empty where a service did it, such as we ourselves."""

    kind: str
    key: str
    person: str
    at: datetime
    note: str


class PagerDutyAnswers:
    """Takes what PagerDuty posts for the receivers that are configured with a webhook secret."""

    def __init__(self, store: Store, settings: Alerting, clock: Clock) -> None:
        self._store, self._clock = store, clock
        receivers = [each for each in settings.receivers if isinstance(each, PagerDutyReceiver)]
        self._secrets = [each.webhook_secret.get_secret_value() for each in receivers]

    def take(self, body: bytes, headers: Mapping[str, str]) -> Answered:
        """401 for a bad signature, 400 for what is no event, else 200: PagerDuty stops sending after refusals."""
        given = next((value for name, value in headers.items() if name.lower() == "x-pagerduty-signature"), "")
        if not any(secret and _signed(secret, body, given) for secret in self._secrets):
            return Answered(401, "the signature is missing or not of a configured PagerDuty subscription")
        try:
            event = _event(body)
        except InvalidRecord as error:
            return Answered(400, str(error))
        if event is None:
            return Answered(200, "nothing to do with an alert")
        return Answered(200, self._store_answer(event))

    def _store_answer(self, event: Event) -> str:
        """Store it once; a repetition, an echo of what we sent and news of an earlier firing change nothing."""
        action, told = ACTIONS[event.kind], last_told(self._store, [event.key])
        if not told or told[0][1] is None:
            return "no alert of ours has this incident key"
        last, fired_at = told[0]
        if not event.person:
            return "done by a service and not by a person"
        if fired_at and event.at < fired_at:
            return "about an earlier firing"
        author, note = f"pagerduty:{event.person}", event.note
        known = [each for each in responses.read(self._store, fired_at or event.at) if each.fingerprint == event.key]
        if any((each.action, each.author, each.note) == (action, author, note) for each in known):
            return "known already"
        if action is Action.ACK and last.notice is Notice.ACKNOWLEDGE:
            return "somebody has it already"
        try:
            responses.respond(self._store, event.key, action, author, note, self._clock.now())
        except InvalidRecord as error:
            return str(error)
        return "stored"


def _signed(secret: str, body: bytes, given: str) -> bool:
    expected = "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return any(hmac.compare_digest(expected.encode(), each.strip().encode()) for each in given.split(",")[:10])


def _event(body: bytes) -> Event | None:
    """The event, None for one of a kind that says nothing of an alert. Raises InvalidRecord."""
    try:
        event = json.loads(body)["event"]
        kind, data = str(event["event_type"]), event["data"]
        if kind not in ACTIONS:
            return None
        at = datetime.fromisoformat(str(event["occurred_at"]))
        agent = event.get("agent") or {}
        person = plain(_name(agent), 80) if str(agent.get("type", "")).startswith("user") else ""
        to = ", ".join(_name(each) for each in data.get("assignees") or ())
        note = plain(f"to {to}", 300) if kind == "incident.reassigned" and to else ""
        return Event(kind, str(data["incident_key"]), person, at if at.tzinfo else at.replace(tzinfo=UTC), note)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRecord(f"this is no PagerDuty event: {type(error).__name__}") from error


def _name(who: Mapping[str, Any]) -> str:
    return str(who.get("summary") or who.get("id") or "somebody")
