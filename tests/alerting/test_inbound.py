"""What Slack and PagerDuty post back, against the page's own application."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from fake_slack import CHANNEL, TOKEN, FakeSlack
from starlette.testclient import TestClient

from tidegauge import hooks, responses, silences
from tidegauge.alerting import history
from tidegauge.alerting.inbound import inbound
from tidegauge.alerting.notifiers import Surroundings, slack_bot
from tidegauge.alerting.states import Notice, State, Transition
from tidegauge.clock import ReplayClock
from tidegauge.config import Settings, SlackBotReceiver
from tidegauge.dashboards.page import create_app
from tidegauge.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET, PAGER_SECRET = "8f742231b10e8888abcd99yyyzzz85a5", "pd-secret"


class Page:
    """The page over a store, with one Slack app and one PagerDuty subscription."""

    def __init__(self, store: Store, slack: FakeSlack, **page: Any) -> None:
        bot = {"kind": "slack_bot", "name": "ops", "token": TOKEN, "channel": CHANNEL, "url": slack.url}
        pager = {"kind": "pagerduty", "name": "pd", "routing_key": "k", "webhook_secret": PAGER_SECRET}
        alerting = {"receivers": [bot | {"signing_secret": SECRET}, pager], "allow_internal_addresses": True}
        self.settings = Settings.model_validate({"alerting": alerting, "page": page})
        self.clock, self.store, self.slack = ReplayClock(NOW, frozen=True), store, slack
        app = create_app(store, self.settings, self.clock, taking=inbound(store, self.settings.alerting, self.clock))
        self.client = TestClient(app, base_url="http://tidegauge.test", client=("34.1.2.3", 1))

    def tell(self, *alerts: Transition) -> str:
        """Store ``alerts`` and tell Slack; the key that the buttons carry."""
        receiver = self.settings.alerting.receivers[0]
        assert isinstance(receiver, SlackBotReceiver)
        history.append(self.store, alerts)
        slack_bot(receiver, self.settings.alerting, Surroundings(self.store, self.clock.now)).send(alerts)
        return str(self.slack.roots[-1]["metadata"]["event_payload"]["thread"])

    def press(self, action: str, value: str, *, secret: str = SECRET, at: datetime = NOW) -> Any:
        pressed = {
            "type": "block_actions", "user": {"id": "U1", "username": "ann<b>"}, "channel": {"id": CHANNEL},
            "actions": [{"action_id": action, "value": value}],
        }  # fmt: skip
        return self.post(urlencode({"payload": json.dumps(pressed)}).encode(), secret=secret, at=at)

    def post(self, body: bytes, *, secret: str = SECRET, at: datetime = NOW, **headers: str) -> Any:
        time = str(int(at.timestamp()))
        digest = hmac.new(secret.encode(), f"v0:{time}:".encode() + body, hashlib.sha256).hexdigest()
        signed = {"X-Slack-Request-Timestamp": time, "X-Slack-Signature": f"v0={digest}"}
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.client.post("/slack/interactions", content=body, headers=kind | signed | headers)

    def incident(self, kind: str, key: str, *, secret: str = PAGER_SECRET, **changes: Any) -> Any:
        event = {
            "event_type": kind, "occurred_at": "2026-03-01T12:05:00Z",
            "agent": {"id": "P1", "type": "user_reference", "summary": "Ann Lee"},
            "data": {"incident_key": key, "assignees": [{"summary": "Ben"}]},
        }  # fmt: skip
        body = json.dumps({"event": event | changes}).encode()
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return self.client.post(
            "/pagerduty/webhook", content=body, headers={"X-PagerDuty-Signature": f"v1=00,v1={digest}"}
        )

    def said(self) -> list[tuple[str, str, str]]:
        found = responses.read(self.store, NOW - timedelta(days=1))
        return [(each.action.value, each.author, each.note) for each in found]


@pytest.fixture
def page(store: Store, slack: FakeSlack) -> Page:
    return Page(store, slack)


@pytest.mark.parametrize(
    ("action", "stored"), [("tidegauge_ack", "ack"), ("tidegauge_true", "true"), ("tidegauge_false", "false")]
)
def test_a_button_stores_the_answer_of_who_pressed_it_and_the_thread_shows_it(
    page: Page, make_alert: Any, action: str, stored: str
) -> None:
    thread = page.tell(make_alert(at=NOW))

    answer = page.press(action, thread)

    assert (answer.status_code, answer.content) == (200, b"")
    assert page.said() == [(stored, "slack:ann<b>", "")]
    (root,) = page.slack.roots
    steps = [each["text"] for each in page.slack.replies(root)]
    assert steps == ([] if stored == "ack" else [f"slack:ann&lt;b&gt; calls it a {stored} alarm"])
    assert "slack:ann&lt;b&gt;" in json.dumps(root["blocks"])


def test_silence_is_about_what_the_alerts_of_the_thread_have_in_common(
    page: Page, store: Store, make_alert: Any
) -> None:
    labels = {"service": "shop*", "tenant": "x" * 3000}
    thread = page.tell(make_alert(at=NOW, labels=labels), make_alert(at=NOW, labels=labels | {"model": "m"}))

    page.press("tidegauge_silence_4h", thread)

    (silence,) = silences.read(store, NOW)
    named = labels | {"alert": "High refusal rate"}
    assert (silence.author, silence.ends_at) == ("slack:ann<b>", NOW + timedelta(hours=4))
    assert set(silence.matchers) == {"alert", "service", "tenant"}
    assert silence.matches(named) and silence.matches(named | {"model": "m"})
    assert not silence.matches(named | {"service": "shopping"})


def test_approve_and_reject_decide_once_and_the_second_one_is_told_alone(page: Page, store: Store) -> None:
    made = hooks.Proposal(
        "a" * 32, hooks.State.PROPOSED, "h", "rollback", "x", "f", {}, "[]", NOW, NOW, NOW + timedelta(hours=1)
    )
    hooks.propose(store, made)

    first, second = page.press("tidegauge_reject", made.proposal), page.press("tidegauge_approve", made.proposal)

    assert (first.status_code, second.status_code) == (200, 200)
    done = hooks.one(store, made.proposal)
    assert (done.state, done.decided_by) == (hooks.State.REJECTED, "slack:ann<b>")
    (whispered,) = page.slack.called("chat.postEphemeral")
    assert whispered["user"] == "U1" and "rejected already by slack:ann&lt;b&gt;" in whispered["text"]


@pytest.mark.parametrize("minutes", [-6, 6])
def test_an_old_or_early_signature_and_a_wrong_one_are_401(page: Page, make_alert: Any, minutes: int) -> None:
    thread = page.tell(make_alert(at=NOW))

    assert page.press("tidegauge_ack", thread, at=NOW + timedelta(minutes=minutes)).status_code == 401
    assert page.press("tidegauge_ack", thread, secret="other").status_code == 401
    for name in ("X-Slack-Signature", "X-Slack-Request-Timestamp"):
        for wrong in ("", "ü", "v0=", "9" * 400):
            assert page.post(b"payload=%7B%7D", **{name: wrong.encode()}).status_code == 401  # type: ignore[arg-type]
    assert page.said() == []


def test_what_is_no_button_of_ours_is_400_and_too_much_is_413(page: Page, make_alert: Any) -> None:
    thread = page.tell(make_alert(at=NOW))

    assert page.press("somebody_elses", thread).status_code == 400
    assert page.press("tidegauge_ack", "nobody").status_code == 400
    for body in (b"", b"payload=", b"payload=[]", b"payload=%7B%22actions%22:[]%7D", b"payload=" + b"[" * 9999):
        assert page.post(body).status_code == 400
    assert page.post(b"payload=" + b"x" * 600_000).status_code == 413
    assert page.said() == []


def test_an_alert_that_is_over_cannot_be_taken_and_who_pressed_hears_why(page: Page, make_alert: Any) -> None:
    thread = page.tell(make_alert(at=NOW))
    page.tell(make_alert(at=NOW + timedelta(minutes=1), notice=Notice.RESOLVE, open=False, state=State.RESOLVED))

    answer = page.press("tidegauge_ack", thread)

    assert answer.status_code == 200
    assert page.said() == []
    assert "over already" in page.slack.called("chat.postEphemeral")[0]["text"]


def test_slack_being_away_loses_no_answer(page: Page, make_alert: Any) -> None:
    thread = page.tell(make_alert(at=NOW))
    page.slack.troubles = {"chat.update": [(500, {}, {})]}

    assert page.press("tidegauge_ack", thread).status_code == 200
    assert page.said() == [("ack", "slack:ann<b>", "")]


def test_where_the_page_never_writes_neither_does_it_here(store: Store, slack: FakeSlack) -> None:
    page = Page(store, slack, writes="never")

    assert page.press("tidegauge_ack", "x").status_code == 403
    assert page.incident("incident.acknowledged", "x").status_code == 403


def test_an_incident_that_is_taken_given_away_or_closed_answers_its_alert_once(
    page: Page, store: Store, make_alert: Any
) -> None:
    alert = make_alert(at=NOW)
    history.append(store, [alert])

    for kind in ("incident.acknowledged", "incident.acknowledged", "incident.reassigned", "incident.resolved"):
        assert page.incident(kind, alert.fingerprint).status_code == 200
        page.clock.advance(timedelta(minutes=1))

    assert page.said() == [
        ("ack", "pagerduty:Ann Lee", ""), ("assign", "pagerduty:Ann Lee", "to Ben"),
        ("resolve", "pagerduty:Ann Lee", ""),
    ]  # fmt: skip


def test_echoes_other_incidents_and_earlier_firings_change_nothing(page: Page, store: Store, make_alert: Any) -> None:
    alert = make_alert(at=NOW)
    history.append(store, [alert])

    echo = page.incident("incident.acknowledged", alert.fingerprint, agent={"type": "service_reference", "id": "S"})
    other = page.incident("incident.acknowledged", "somebody else's")
    old = page.incident("incident.resolved", alert.fingerprint, occurred_at="2026-03-01T11:59:00Z")
    ping = page.incident("pagey.ping", "")

    assert [each.status_code for each in (echo, other, old, ping)] == [200] * 4
    assert page.said() == []


def test_pagerduty_is_401_without_its_signature_and_400_for_what_is_no_event(page: Page) -> None:
    assert page.incident("incident.acknowledged", "x", secret="other").status_code == 401
    assert page.client.post("/pagerduty/webhook", content=b"{}").status_code == 401
    assert page.incident("incident.acknowledged", "x", data=[]).status_code == 400
    assert page.incident("incident.acknowledged", "x", occurred_at="soon").status_code == 400
