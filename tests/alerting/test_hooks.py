"""Hooks: proposed by an open alert, decided by a person, called at least once under one key."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_slack import CHANNEL, TOKEN, FakeSlack
from genai_calls import insert_calls

from tidegauge import hooks
from tidegauge.alerting import AlertLoop, Rule
from tidegauge.alerting.worker import Patience
from tidegauge.clock import ReplayClock
from tidegauge.config import Alerting, Hook
from tidegauge.decisions import why
from tidegauge.errors import ConfigError, InvalidRecord
from tidegauge.hooks import State
from tidegauge.model import Window
from tidegauge.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WHO = {"severity": "page", "owner": "team", "runbook": "r", "action": "a"}
RULE = {"alert": "Refusals", "metric": "refusal_rate", "by": ["service"], "window": "30m", "above": 0.05, **WHO}
QUICK = Patience(give_up_after_s=30, first_s=0.01, longest_s=0.05)
Start = Callable[..., AlertLoop]


def hook(url: str, **changes: Any) -> dict[str, Any]:
    values = {"name": "retrain-shop", "kind": "retrain", "match": {"alert": "Refus*"}, "url": url, "secret": "s"}
    return values | {"by": ["service"], "minimum_interval_s": 3600, "expires_s": 1800} | changes


@pytest.fixture
def start(store: Store, rng: np.random.Generator) -> Iterator[Start]:
    loops: list[AlertLoop] = []

    def build(
        *configured: dict[str, Any], receivers: Any = (), routes: Path | None = None, rules: Any = None
    ) -> AlertLoop:
        values = {"hooks": configured, "receivers": receivers, "allow_internal_addresses": True, "timeout_s": 5}
        values |= {"routes": routes} if routes else {}
        rules = rules or [Rule.model_validate(RULE)]
        clock = ReplayClock(NOW, frozen=True)
        settings = Alerting.model_validate(values)
        loops.append(AlertLoop(store, settings, rules=rules, rng=rng, clock=clock, patience=QUICK))
        return loops[-1]

    yield build
    for each in loops:
        each.close()


def refuse(store: Store, at: datetime, share: float = 0.5, service: str = "shop") -> None:
    rows = [
        {"timestamp": at - MINUTE, "trace_id": f"{at}{service}{i}", "service": service, "kind": "llm"}
        for i in range(100)
    ]
    insert_calls(store, [row | {"refused": i < share * 100} for i, row in enumerate(rows)])


def look(loop: AlertLoop, at: datetime) -> None:
    loop.run(at)
    assert loop.flush(10)


def states(store: Store) -> list[str]:
    return [each.state.value for each in hooks.read(store, NOW - timedelta(days=1))]


def test_a_proposal_is_called_only_once_a_person_has_approved_it_and_everything_is_on_record(
    store: Store, start: Start, receiver: Any
) -> None:
    refuse(store, NOW)
    loop = start(hook(receiver.url))
    look(loop, NOW)
    (proposed,) = hooks.read(store, NOW)
    look(loop, NOW + MINUTE)
    before = list(receiver.got)
    hooks.decide(store, proposed.proposal[:12], State.APPROVED, "ann", "labels are fine", NOW + 2 * MINUTE)
    for i in range(3, 6):
        look(loop, NOW + i * MINUTE)

    (got,) = receiver.got
    (done,) = hooks.read(store, NOW)
    assert (proposed.state, before, done.state) == (State.PROPOSED, [], State.SUCCEEDED)
    assert (got.headers["Idempotency-Key"], got.json["proposal"]) == (done.proposal, done.proposal)
    assert (got.json["kind"], got.json["labels"], got.json["approved_by"]) == ("retrain", {"service": "shop"}, "ann")
    assert (got.json["alert"]["rule"], got.json["alert"]["value"]) == ("Refusals", 0.5)
    signed = hmac.new(b"s", got.headers["Tidegauge-Timestamp"].encode() + b"." + got.body, hashlib.sha256).hexdigest()
    assert got.headers["Tidegauge-Signature"] == f"v1={signed}"
    log = [(each.words, each.detail) for each in why(store, "Refusals", Window(NOW, NOW + timedelta(hours=1)))]
    assert ("the hook's call was approved", f"by ann; labels are fine; proposal {done.proposal[:12]}") in log
    assert ("delivered", "HTTP 200") in log


def test_where_no_approval_is_asked_it_is_called_at_once_and_never_twice(
    store: Store, start: Start, receiver: Any
) -> None:
    refuse(store, NOW)
    for i in range(3):  # each time by another process
        loop = start(hook(receiver.url, approval="none"))
        look(loop, NOW + i * MINUTE)
        loop.close()

    assert len(receiver.got) == 1
    assert states(store) == ["succeeded"]


def test_a_rejected_one_is_not_called_and_one_that_nobody_decides_on_expires(
    store: Store, start: Start, receiver: Any
) -> None:
    refuse(store, NOW)
    refuse(store, NOW, service="support")
    loop = start(hook(receiver.url))
    look(loop, NOW)
    shop = next(each for each in hooks.read(store, NOW) if each.labels == {"service": "shop"})
    hooks.decide(store, shop.proposal, State.REJECTED, "ann", "", NOW + MINUTE)
    look(loop, NOW + 30 * MINUTE)
    with pytest.raises(InvalidRecord, match="is rejected already by ann at 2026-03-01 12:01 UTC"):
        hooks.decide(store, shop.proposal, State.APPROVED, "ben", "", NOW + 2 * MINUTE)

    assert sorted(states(store)) == ["expired", "rejected"]
    assert receiver.got == []


def test_of_two_who_decide_at_the_same_moment_the_first_one_counts(
    store: Store, start: Start, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(store, NOW)
    look(start(hook(receiver.url)), NOW)
    (proposed,) = hooks.read(store, NOW)
    read, before = hooks.one, [proposed]  # the second one looked before the first one had decided
    hooks.decide(store, proposed.proposal, State.REJECTED, "ann", "", NOW + MINUTE)
    monkeypatch.setattr(hooks, "one", lambda *asked: before.pop() if before else read(*asked))

    with pytest.raises(InvalidRecord, match="rejected already by ann"):
        hooks.decide(store, proposed.proposal, State.APPROVED, "ben", "", NOW + MINUTE)

    monkeypatch.undo()
    assert states(store) == ["rejected"]


def test_it_waits_for_the_debounce_and_keeps_its_interval_for_each_slice(
    store: Store, start: Start, receiver: Any
) -> None:
    loop = start(hook(receiver.url, approval="none", debounce_s=600, minimum_interval_s=7200))
    for minutes in (0, 10, 40, 80, 90, 100, 110, 130):
        at = NOW + minutes * MINUTE
        refuse(store, at, share=0.0 if 40 <= minutes < 80 else 0.5)
        if minutes >= 100:
            refuse(store, at, service="support")
        look(loop, at)
    called = [(got.json["labels"]["service"], got.json["proposed_at"][11:16]) for got in receiver.got]
    suppressed = [each for each in hooks.read(store, NOW) if each.state is State.SUPPRESSED]

    # shop fires at 12:00 and anew after its end; the second time is too soon until two hours after 12:10
    assert called == [("shop", "12:10"), ("support", "13:50"), ("shop", "14:10")]
    assert len(suppressed) == 1
    assert suppressed[0].note == "the last one was at 2026-03-01 12:10 UTC, the next may be at 2026-03-01 14:10 UTC"


def test_a_receiver_that_fails_is_asked_again_with_the_same_key_and_a_refusal_is_final(
    store: Store, start: Start, receiver: Any, respond: Any
) -> None:
    refuse(store, NOW)
    receiver.answers = [respond(503), respond(429, Retry_After="0"), respond(400)]
    loop = start(hook(receiver.url, approval="none"))
    for i in range(3):
        look(loop, NOW + i * MINUTE)

    (done,) = hooks.read(store, NOW)
    assert (done.state, done.attempts, done.result) == (State.FAILED, 3, "HTTP 400")
    assert {got.headers["Idempotency-Key"] for got in receiver.got} == {done.proposal}


def test_a_silenced_alert_proposes_nothing_and_a_person_may_call_it_all_the_same(
    store: Store, start: Start, receiver: Any
) -> None:
    from tidegauge.silences import Silence, write

    write(store, Silence({"service": "shop"}, NOW - MINUTE, NOW + 60 * MINUTE, "ben", "deploying"), NOW - MINUTE)
    refuse(store, NOW)
    loop = start(hook(receiver.url))
    look(loop, NOW)
    silent = states(store)

    asked = hooks.ask(store, Hook.model_validate(hook(receiver.url)), {"service": "x"}, "ann", "new data", NOW)
    look(loop, NOW + MINUTE)

    assert silent == []
    assert [got.json["proposal"] for got in receiver.got] == [asked.proposal]
    assert (receiver.got[0].json["approved_by"], receiver.got[0].json["alert"]) == ("ann", {})


def test_those_who_are_told_hear_of_the_proposal_the_decision_and_the_outcome(
    store: Store, start: Start, receiver: Any, other_receiver: Any, slack: FakeSlack
) -> None:
    refuse(store, NOW)
    bot = {"kind": "slack_bot", "name": "ops", "token": TOKEN, "channel": CHANNEL, "url": slack.url}
    receivers = [bot | {"signing_secret": "x"}, {"kind": "webhook", "name": "w", "url": other_receiver.url}]
    loop = start(hook(receiver.url), receivers=receivers)
    look(loop, NOW)
    (proposed,) = hooks.read(store, NOW)
    asked = next(each for each in slack.roots if "PROPOSED" in each["text"])
    elements = asked["blocks"][-1]["elements"]
    hooks.decide(store, proposed.proposal, State.APPROVED, "ann", "", NOW + MINUTE)
    for i in (2, 3):
        look(loop, NOW + i * MINUTE)

    assert [(each["action_id"], each["value"]) for each in elements] == [
        ("tidegauge_approve", proposed.proposal), ("tidegauge_reject", proposed.proposal),
    ]  # fmt: skip
    assert [each["text"] for each in slack.replies(asked)] == [
        "HOOK: Retrain: retrain-shop: approved by ann",
        "HOOK: Retrain: retrain-shop: the call succeeded after 1 attempt(s): HTTP 200",
    ]
    assert "actions" not in {each["type"] for each in asked["blocks"]}
    notices = [each["notice"] for got in other_receiver.got for each in got.json["alerts"]]
    assert notices == ["fire", "propose", "hook", "hook"]


QUIET = """
route:
  receiver: w
  routes:
    - match: {priority: p3}
      receiver: w
      quiet: [noon]
quiet_hours:
  noon: {from: "11:00", to: "14:00"}
"""
P3 = [Rule.model_validate(RULE | {"labels": {"priority": "p3"}})]


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(QUIET)
    return path


def told(receiver: Any) -> list[str]:
    return [each["notice"] for got in receiver.got for each in got.json["alerts"]]


def test_a_proposal_waits_in_the_quiet_hours_of_its_alert_and_expires_only_after_them(
    store: Store, start: Start, receiver: Any, other_receiver: Any, quiet: Path
) -> None:
    heard = [{"kind": "webhook", "name": "w", "url": other_receiver.url}]
    refuse(store, NOW)
    for minutes in (0, 30, 119):  # each time by another process
        loop = start(hook(receiver.url), receivers=heard, routes=quiet, rules=P3)
        look(loop, NOW + minutes * MINUTE)
        loop.close()
    (proposed,) = hooks.read(store, NOW)
    before = told(other_receiver)
    loop = start(hook(receiver.url), receivers=heard, routes=quiet, rules=P3)
    for minutes in (121, 122, 151):
        look(loop, NOW + minutes * MINUTE)

    assert before == []
    assert told(other_receiver).count("propose") == 1
    assert told(other_receiver)[-1] == "hook"
    assert proposed.expires_at == NOW + 150 * MINUTE
    log = [each for each in why(store, "Refusals", Window(NOW, NOW + timedelta(hours=3))) if "proposal" in each.detail]
    waits = [each for each in log if each.kind == "quiet_hours"]
    assert {(each.words, each.receiver) for each in waits} == {("not told yet: quiet hours", "w")}
    assert "quiet hours noon until 2026-03-01 14:00 UTC; proposal" in waits[0].detail


def test_what_a_person_decides_in_quiet_hours_is_told_at_once_and_nobody_is_asked_any_more(
    store: Store, start: Start, receiver: Any, other_receiver: Any, quiet: Path
) -> None:
    heard = [{"kind": "webhook", "name": "w", "url": other_receiver.url}]
    refuse(store, NOW)
    loop = start(hook(receiver.url), receivers=heard, routes=quiet, rules=P3)
    look(loop, NOW)
    (proposed,) = hooks.read(store, NOW)
    hooks.decide(store, proposed.proposal, State.APPROVED, "ann", "", NOW + MINUTE)
    for minutes in (2, 3):
        look(loop, NOW + minutes * MINUTE)
    in_quiet = told(other_receiver)
    look(loop, NOW + 125 * MINUTE)

    assert in_quiet == ["hook", "hook"]
    assert "propose" not in told(other_receiver)
    assert len(receiver.got) == 1


def test_without_approval_it_is_called_in_quiet_hours_and_its_outcome_told_after_them(
    store: Store, start: Start, receiver: Any, other_receiver: Any, quiet: Path
) -> None:
    heard = [{"kind": "webhook", "name": "w", "url": other_receiver.url}]
    refuse(store, NOW)
    loop = start(hook(receiver.url, approval="none"), receivers=heard, routes=quiet, rules=P3)
    for minutes in (0, 1, 2):
        look(loop, NOW + minutes * MINUTE)
    called, in_quiet = len(receiver.got), told(other_receiver)
    look(loop, NOW + 125 * MINUTE)

    assert (called, in_quiet) == (1, [])
    assert told(other_receiver) == ["fire", "hook"]  # the clock of the ledger stands: approval and outcome are one


def test_one_who_is_not_in_quiet_hours_is_asked_at_once_and_the_other_one_after_them(
    store: Store, start: Start, receiver: Any, other_receiver: Any, quiet: Path
) -> None:
    quiet.write_text(QUIET.replace("quiet: [noon]", "quiet: [noon]\n      continue: true\n    - receiver: day"))
    urls = {"w": other_receiver.url, "day": f"{other_receiver.url}/day"}
    heard = [{"kind": "webhook", "name": name, "url": url} for name, url in urls.items()]
    refuse(store, NOW)
    loop = start(hook(receiver.url, expires_s=86400), receivers=heard, routes=quiet, rules=P3)
    asked = []
    for minutes in (0, 1, 121, 122):
        look(loop, NOW + minutes * MINUTE)
        got = [(each.path, event["notice"]) for each in other_receiver.got for event in each.json["alerts"]]
        asked.append(sorted(path[-3:] for path, notice in got if notice == "propose"))

    assert asked == [["day"], ["day"], ["day", "ken"], ["day", "ken"]]


def test_wrong_hooks_are_refused_all_at_once(start: Start, receiver: Any) -> None:
    pager = {"kind": "pagerduty", "name": "pd", "routing_key": "k", "url": receiver.url}
    wrong = [hook("file:///x", tell=["pd", "nobody"]), hook(receiver.url)]

    with pytest.raises(ConfigError) as caught:
        start(*wrong, receivers=[pager])

    assert [each.split(": ")[0] for each in caught.value.problems] == [
        "hooks", "hooks.1 (retrain-shop)", "hooks.1 (retrain-shop)", "hooks.1 (retrain-shop)",
    ]  # fmt: skip
