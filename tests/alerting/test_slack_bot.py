"""A Slack app against a small Slack on loopback: threads, their first message, and what happens when it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_slack import CHANNEL, TOKEN, FakeSlack
from genai_calls import insert_calls

from tidegauge.alerting import AlertLoop, Rule, history
from tidegauge.alerting.http import Delivered, Failed, RetryAfter
from tidegauge.alerting.notifiers import SlackBot, Surroundings, slack_bot
from tidegauge.alerting.states import Notice, State, Transition
from tidegauge.alerting.worker import Patience
from tidegauge.clock import ReplayClock
from tidegauge.config import Alerting, SlackBotReceiver
from tidegauge.instruments import REGISTRY
from tidegauge.responses import Action, respond
from tidegauge.silences import Silence, write
from tidegauge.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WHO = {"severity": "page", "owner": "team", "runbook": "r", "action": "a"}
RULE = {"alert": "Refusals", "metric": "refusal_rate", "by": ["service"], "window": "30m", "above": 0.05, **WHO}
HOSTILE = "<!channel> <@U1> <http://evil|click> & *b* :tada:\n\x1b[31mred"
GOLDEN = Path(__file__).parent / "golden" / "slack_thread.json"
TICKS = count()
Tell = Callable[..., Any]


def receiver(slack: FakeSlack, **changes: Any) -> dict[str, Any]:
    values = {"kind": "slack_bot", "name": "ops", "token": TOKEN, "channel": CHANNEL, "url": slack.url}
    return values | {"signing_secret": "signed"} | changes


def bot(store: Store, slack: FakeSlack, group: Callable[[Transition], str] = lambda _: "", **changes: Any) -> SlackBot:
    values = {"allow_internal_addresses": True, "timeout_s": 5, "page_url": "https://gauge.example"}
    made = SlackBotReceiver.model_validate(receiver(slack, **changes))
    ticks = NOW + next(TICKS) * timedelta(milliseconds=1)  # the database drops rows that it has already
    around = Surroundings(store, lambda: ticks, lambda name, alert: group(alert))
    return slack_bot(made, Alerting.model_validate(values), around)


@pytest.fixture
def tell(store: Store, slack: FakeSlack) -> Tell:
    """Stores alerts as the loop does, and tells them by a bot of its own each time, as after a restart."""

    def told(*alerts: Transition, **changes: Any) -> Any:
        history.append(store, alerts)
        return bot(store, slack, **changes).send(alerts)

    return told


def texts(data: Any) -> list[str]:
    if isinstance(data, dict):
        return [each for value in data.values() for each in texts(value)]
    if isinstance(data, list):
        return [each for value in data for each in texts(value)]
    return [data] if isinstance(data, str) else []


def buttons(message: dict[str, Any]) -> list[str]:
    found = [each for block in message["blocks"] if block["type"] == "actions" for each in block["elements"]]
    return [each["text"]["text"] for each in found]


def header(message: dict[str, Any]) -> str:
    return str(message["blocks"][0]["text"]["text"])


def test_an_alert_has_one_thread_whose_first_message_follows_it_to_its_end(
    store: Store, slack: FakeSlack, tell: Tell, make_alert: Any
) -> None:
    fire = make_alert(at=NOW)
    tell(fire)
    respond(store, fire.fingerprint, Action.ACK, "slack:ann", "looking", NOW + MINUTE)
    steps = []
    for i, (notice, reason) in enumerate(
        [(Notice.ESCALATE, "nobody has it"), (Notice.ACKNOWLEDGE, "acknowledged by slack:ann"), (Notice.RESOLVE, "3 %")]
    ):
        over = notice is Notice.RESOLVE
        state = State.RESOLVED if over else State.FIRING
        tell(make_alert(at=NOW + (2 + i) * MINUTE, notice=notice, reason=reason, open=not over, state=state))
        steps.append((header(slack.roots[0]), buttons(slack.roots[0])))

    (first,) = slack.roots
    always = ["True alarm", "False alarm"]
    while_open = ["I have it", "Silence 1 h", "Silence 4 h", *always]
    assert steps == [
        ("NOBODY HAS IT: High refusal rate", while_open),
        ("ACKNOWLEDGED: High refusal rate", while_open),
        ("RESOLVED: High refusal rate", always),
    ]
    said = [each["text"] for each in slack.replies(first)]
    assert said == [
        "NOBODY HAS IT: High refusal rate: nobody has it",
        "ACKNOWLEDGED: High refusal rate: acknowledged by slack:ann",
        "RESOLVED: High refusal rate: 3 %",
    ]
    assert any("slack:ann has it at 12:01 UTC: looking" in each for each in texts(first))
    assert len(slack.called("chat.postMessage")) == 4


def test_the_words_of_a_thread_are_those_of_the_golden_file(
    store: Store, slack: FakeSlack, tell: Tell, make_alert: Any
) -> None:
    both = [make_alert(at=NOW), make_alert(at=NOW, labels={"service": "support", "note": HOSTILE}, note=HOSTILE)]
    tell(*both)
    respond(store, both[0].fingerprint, Action.FALSE, "slack:ann", "a test", NOW)
    write(store, Silence({"service": "support"}, NOW, NOW + timedelta(hours=4), "ben", "deploying"), NOW)
    tell(make_alert(at=NOW + MINUTE, notice=Notice.RESOLVE, open=False, state=State.RESOLVED))

    shown = json.dumps(slack.posts, indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    assert shown == GOLDEN.read_text(), f"if the change is wanted, write this to {GOLDEN.name}:\n{shown}"


def test_text_from_a_model_is_text_in_every_message(slack: FakeSlack, tell: Tell, make_alert: Any) -> None:
    wild = {"labels": {"intent": HOSTILE}, "note": HOSTILE, "reason": HOSTILE, "rule": HOSTILE, "owner": HOSTILE}
    tell(make_alert(at=NOW, **wild))
    tell(make_alert(at=NOW + MINUTE, notice=Notice.ACKNOWLEDGE, **wild))

    ours = ("<https://example.org/runbook|Runbook>", "<https://gauge.example/alerts|Page>")
    for text in texts(slack.posts):
        for each in ours:
            text = text.replace(each, "")
        assert "<" not in text and "\x1b" not in text and "\n\x1b" not in text


def test_alerts_of_a_group_join_its_thread_while_another_is_open_and_begin_a_new_one_after(
    slack: FakeSlack, tell: Tell, make_alert: Any
) -> None:
    def group(_: Transition) -> str:
        return "shop"

    one, two = make_alert(at=NOW), make_alert(at=NOW + MINUTE, rule="Errors", labels={"service": "shop", "model": "m"})
    tell(one, group=group)
    tell(two, group=group)
    joined = len(slack.roots), [each["text"] for each in slack.replies(slack.roots[0])]
    for each in (one, two):
        end = {"at": NOW + 5 * MINUTE, "notice": Notice.RESOLVE, "open": False, "state": State.RESOLVED}
        tell(make_alert(rule=each.rule, labels=each.labels, **end), group=group)
    tell(make_alert(at=NOW + 9 * MINUTE), group=group)

    assert joined == (1, ["FIRING: Errors: 8 % of 1,000 (6 % to 10 %): above 5 %"])
    assert [header(each) for each in slack.roots] == ["RESOLVED: Errors", "FIRING: High refusal rate"]
    assert len(slack.replies(slack.roots[0])) == 3


def test_what_waited_and_goes_out_at_once_comes_to_the_right_threads(
    slack: FakeSlack, tell: Tell, make_alert: Any
) -> None:
    end = {"at": NOW + MINUTE, "notice": Notice.RESOLVE, "open": False, "state": State.RESOLVED}
    one, two = make_alert(at=NOW), make_alert(at=NOW, rule="Errors")

    tell(one, make_alert(**end), make_alert(rule="From before", **end), two, make_alert(rule="Errors", **end))

    assert [(header(each), len(slack.replies(each))) for each in slack.roots] == [
        ("RESOLVED: High refusal rate", 1), ("RESOLVED: From before", 0), ("RESOLVED: Errors", 1),
    ]  # fmt: skip


def test_what_slack_has_is_not_said_again_though_it_was_never_noted(
    store: Store, slack: FakeSlack, tell: Tell, make_alert: Any
) -> None:
    """A process that dies after Slack took a message leaves a row without ts; whoever follows finds it in Slack."""
    fire, ack = make_alert(at=NOW), make_alert(at=NOW + MINUTE, notice=Notice.ACKNOWLEDGE)
    tell(fire)
    tell(ack)
    store.execute("ALTER TABLE slack_messages DELETE WHERE ts != '' SETTINGS mutations_sync = 2")

    again = bot(store, slack).send([fire, ack])

    assert isinstance(again, Delivered)
    assert (len(slack.roots), len(slack.posts)) == (1, 2)
    assert store.value("SELECT count() FROM slack_messages WHERE ts != ''") == 2


def test_where_it_may_not_look_it_says_it_again_with_the_same_key_and_counts_that(
    store: Store, slack: FakeSlack, tell: Tell, make_alert: Any
) -> None:
    fire = make_alert(at=NOW)
    tell(fire)
    store.execute("ALTER TABLE slack_messages DELETE WHERE ts != '' SETTINGS mutations_sync = 2")
    slack.troubles["conversations.history"] = [(200, {}, {"ok": False, "error": "missing_scope"})]
    before = REGISTRY.get_sample_value("tidegauge_slack_repeats_total", {"receiver": "ops"}) or 0

    again = bot(store, slack).send([fire])

    assert isinstance(again, Delivered)
    assert len({each["metadata"]["event_payload"]["key"] for each in slack.roots}) == 1
    assert len(slack.roots) == 2
    assert REGISTRY.get_sample_value("tidegauge_slack_repeats_total", {"receiver": "ops"}) == before + 1


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        ((429, {"Retry-After": "7"}, {"ok": False, "error": "ratelimited"}), RetryAfter(7.0, "")),
        ((503, {}, {}), RetryAfter(None, "")),
        ((200, {}, {}), RetryAfter(None, "")),
        ((302, {"Location": "http://127.0.0.1:1/"}, {}), Failed("")),
        ((200, {}, {"ok": False, "error": "channel_not_found"}), Failed("")),
    ],
)
def test_a_refusal_decides_between_again_and_never_and_what_waits_is_said_once(
    store: Store, slack: FakeSlack, tell: Tell, make_alert: Any, trouble: Any, expected: Any
) -> None:
    slack.troubles["chat.postMessage"] = [trouble]
    fire = make_alert(at=NOW)

    first = tell(fire)
    second = bot(store, slack).send([fire])

    assert type(first) is type(expected)
    assert getattr(first, "seconds", None) == getattr(expected, "seconds", None)
    assert TOKEN not in first.detail
    assert isinstance(second, Delivered) and len(slack.roots) == 1


def test_a_wrong_token_is_said_without_the_token(store: Store, slack: FakeSlack, tell: Tell, make_alert: Any) -> None:
    outcome = tell(make_alert(at=NOW), token="xoxb-wrong-one")

    assert outcome == Failed("chat.postMessage: HTTP 200, invalid_auth")


def test_without_a_signing_secret_there_are_no_buttons(slack: FakeSlack, tell: Tell, make_alert: Any) -> None:
    tell(make_alert(at=NOW), signing_secret="")

    assert buttons(slack.roots[0]) == []


def test_a_first_message_that_somebody_deleted_stops_nothing(slack: FakeSlack, tell: Tell, make_alert: Any) -> None:
    tell(make_alert(at=NOW))
    slack.troubles["chat.update"] = [(200, {}, {"ok": False, "error": "message_not_found"})]

    outcome = tell(make_alert(at=NOW + MINUTE, notice=Notice.ACKNOWLEDGE))

    assert isinstance(outcome, Delivered)


def test_a_loop_tells_a_breach_and_its_end_in_one_thread(
    store: Store, slack: FakeSlack, rng: np.random.Generator
) -> None:
    settings = Alerting.model_validate({"receivers": [receiver(slack)], "allow_internal_addresses": True})
    quick = Patience(give_up_after_s=30, first_s=0.01, longest_s=0.05)
    clock = ReplayClock(NOW, frozen=True)
    loop = AlertLoop(store, settings, rules=[Rule.model_validate(RULE)], rng=rng, clock=clock, patience=quick)
    rows = [{"timestamp": NOW - MINUTE, "trace_id": f"{i}", "service": "s", "kind": "llm"} for i in range(100)]
    insert_calls(store, [row | {"refused": True} for row in rows])
    try:
        loop.run(NOW)
        assert loop.flush(10)
        insert_calls(store, [row | {"timestamp": NOW + 39 * MINUTE, "trace_id": f"b{i}"} for i, row in enumerate(rows)])
        loop.run(NOW + 40 * MINUTE)
        assert loop.flush(10)
    finally:
        loop.close()

    (first,) = slack.roots
    assert header(first) == "RESOLVED: Refusals"
    assert len(slack.replies(first)) == 1
