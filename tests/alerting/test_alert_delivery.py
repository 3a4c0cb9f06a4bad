"""Delivery at least once: order, retries, one receiver apart from the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tidegauge.alerting.http import Delivered, Failed, Outcome, Poster, RetryAfter
from tidegauge.alerting.ledger import Attempt, Key, outstanding
from tidegauge.alerting.notifiers import PagerDuty, Slack, Webhook
from tidegauge.alerting.states import Notice, State, Transition
from tidegauge.alerting.worker import Patience, Worker

QUICK = Patience(give_up_after_s=60, first_s=0.01, longest_s=0.05)


@dataclass
class Fake:
    """Notes what it is given and answers as it is told, then with Delivered."""

    outcomes: list[Outcome] = field(default_factory=list)
    sent: list[tuple[Transition, ...]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    name: str = "fake"
    kind: str = "webhook"
    max_groups: int = 100
    max_alerts: int = 200
    spacing_s: float = 0.0
    refresh_s: float = 0.0
    poison: str = ""

    def __post_init__(self) -> None:
        self.gate.set()

    def send(self, alerts: Sequence[Transition]) -> Outcome:
        self.gate.wait(10)
        self.sent.append(tuple(alerts))
        if self.poison and any(each.rule == self.poison for each in alerts):
            return Failed("HTTP 400")
        return self.outcomes.pop(0) if self.outcomes else Delivered()


@pytest.fixture
def start(rng: np.random.Generator) -> Iterator[Callable[..., tuple[Worker, list[Attempt]]]]:
    with ExitStack() as stack:

        def build(notifier: Any, patience: Patience = QUICK, **options: Any) -> tuple[Worker, list[Attempt]]:
            ledger: list[Attempt] = []
            worker = Worker(notifier, ledger.extend, patience, rng, **options)
            stack.callback(worker.close, 5)
            return worker, ledger

        yield build


def test_a_failed_attempt_is_tried_again_until_it_is_delivered(start: Any, make_alert: Any) -> None:
    notifier = Fake([RetryAfter(None, "HTTP 500"), RetryAfter(None, "HTTP 503")])
    worker, ledger = start(notifier)

    worker.submit([make_alert()])

    assert worker.flush(5)
    assert [(each.outcome, each.number) for each in ledger] == [("retry", 1), ("retry", 2), ("delivered", 3)]


def test_a_resolve_never_overtakes_its_fire(start: Any, make_alert: Any) -> None:
    notifier = Fake([RetryAfter(None, "HTTP 500")] * 3, max_groups=1, max_alerts=1)
    worker, _ = start(notifier)

    worker.submit([make_alert()])
    worker.submit([make_alert(notice=Notice.RESOLVE, state=State.RESOLVED)])

    assert worker.flush(5)
    assert [each[0].notice for each in notifier.sent] == [Notice.FIRE] * 4 + [Notice.RESOLVE]


def test_what_arrives_during_a_wait_joins_the_message_that_waits(start: Any, make_alert: Any) -> None:
    notifier = Fake([RetryAfter(0.2, "HTTP 429")])
    worker, ledger = start(notifier)

    worker.submit([make_alert()])
    while not notifier.sent:
        time.sleep(0.005)
    worker.submit([make_alert(labels={"service": f"s{i}"}) for i in range(20)])

    assert worker.flush(5)
    assert [len(each) for each in notifier.sent] == [1, 21]
    assert sum(each.outcome == "delivered" for each in ledger) == 21


def test_alerts_of_two_groups_are_two_messages(start: Any, make_alert: Any) -> None:
    notifier = Fake()
    notifier.gate.clear()
    worker, _ = start(notifier)

    for service, group in (("a", "one"), ("b", "one"), ("c", "two")):
        worker.submit([make_alert(labels={"service": service})], group)
    notifier.gate.set()

    assert worker.flush(5)
    sent = [each.labels["service"] for message in notifier.sent for each in message]
    assert sent == ["a", "b", "c"]
    assert not any({"b", "c"} <= {each.labels["service"] for each in message} for message in notifier.sent)


def test_while_it_may_not_send_everything_waits_and_is_kept(start: Any, make_alert: Any) -> None:
    notifier, allowed = Fake(), threading.Event()
    worker, _ = start(notifier, may_send=allowed.is_set)

    worker.submit([make_alert()])
    waited = worker.flush(0.2)
    allowed.set()

    assert not waited
    assert worker.flush(5)
    assert len(notifier.sent) == 1


def test_the_same_notice_is_not_queued_twice_while_it_waits(start: Any, make_alert: Any) -> None:
    notifier = Fake()
    notifier.gate.clear()
    worker, ledger = start(notifier)

    worker.submit([make_alert()])
    worker.submit([make_alert()])
    notifier.gate.set()

    assert worker.flush(5)
    assert len(ledger) == 1


def test_retries_end_after_give_up_and_the_ledger_says_so(start: Any, make_alert: Any) -> None:
    notifier = Fake([RetryAfter(None, "HTTP 500")] * 1000)
    worker, ledger = start(notifier, Patience(give_up_after_s=0.15, first_s=0.01, longest_s=0.02))

    worker.submit([make_alert()])

    assert worker.flush(5)
    assert ledger[-1].outcome == "failed"
    assert "given up after" in ledger[-1].detail
    assert len(ledger) > 3


def test_a_retry_after_beyond_the_end_is_cut_to_one_last_attempt(start: Any, make_alert: Any) -> None:
    notifier = Fake([RetryAfter(86_400, "HTTP 429")])
    worker, ledger = start(notifier, Patience(give_up_after_s=0.2, first_s=0.01))

    worker.submit([make_alert()])

    assert worker.flush(5)
    assert [each.outcome for each in ledger] == ["retry", "delivered"]


def test_one_alert_that_a_receiver_refuses_does_not_take_the_others_with_it(start: Any, make_alert: Any) -> None:
    notifier = Fake(poison="bad")
    notifier.gate.clear()
    worker, ledger = start(notifier)

    worker.submit([make_alert(rule=name) for name in ("first", "bad", "last")])
    notifier.gate.set()

    assert worker.flush(5)
    assert {each.alert.rule: each.outcome for each in ledger} == {
        "first": "delivered", "bad": "failed", "last": "delivered",
    }  # fmt: skip


def test_a_ledger_that_cannot_be_written_does_not_stop_the_worker(rng: np.random.Generator, make_alert: Any) -> None:
    calls = []

    def record(attempts: Sequence[Attempt]) -> None:
        calls.append(attempts)
        if len(calls) == 1:
            raise RuntimeError("store is down")

    notifier = Fake(max_alerts=1)
    worker = Worker(notifier, record, QUICK, rng)
    worker.submit([make_alert(), make_alert(rule="other")])

    assert worker.flush(5)
    worker.close(5)
    assert [each[0].rule for each in notifier.sent] == ["High refusal rate", "other"]


def test_a_notifier_that_raises_is_tried_again(start: Any, make_alert: Any) -> None:
    class Broken(Fake):
        def send(self, alerts: Sequence[Transition]) -> Outcome:
            super().send(alerts)
            if len(self.sent) == 1:
                raise RuntimeError("a fault of ours")
            return Delivered()

    worker, ledger = start(Broken())
    worker.submit([make_alert()])

    assert worker.flush(5)
    assert [each.outcome for each in ledger] == ["delivered"]


def test_a_full_queue_says_so(start: Any, make_alert: Any) -> None:
    notifier = Fake()
    notifier.gate.clear()
    worker, ledger = start(notifier, capacity=3)

    taken = worker.submit([make_alert(rule=f"r{i}") for i in range(5)])
    notifier.gate.set()

    assert not taken
    assert worker.flush(5)
    assert len(ledger) == 3


def test_close_leaves_a_long_wait_at_once(rng: np.random.Generator, make_alert: Any) -> None:
    worker = Worker(Fake([RetryAfter(3600, "HTTP 429")]), lambda _: None, Patience(), rng)
    worker.submit([make_alert()])
    start = time.monotonic()

    assert not worker.flush(0.05)
    worker.close(5)

    assert time.monotonic() - start < 2


def test_a_bad_receiver_does_not_delay_another(start: Any, make_alert: Any, receiver: Any, other_receiver: Any) -> None:
    receiver.usual = lambda handler: receiver.released.wait(10) and None
    bad, _ = start(Webhook("bad", Poster(receiver.url, 2, allow_internal=True)))
    good, ledger = start(Webhook("good", Poster(other_receiver.url, 2, allow_internal=True)))
    begin = time.monotonic()

    bad.submit([make_alert()])
    good.submit([make_alert()])

    assert good.flush(5)
    assert time.monotonic() - begin < 1
    assert ledger[0].outcome == "delivered"


def test_slack_waits_as_told_by_429_and_then_sends_one_message_for_all(
    start: Any, make_alert: Any, receiver: Any, respond: Any
) -> None:
    receiver.answers = [respond(429, Retry_After="1")]
    worker, ledger = start(Slack("s", Poster(receiver.url, 2, allow_internal=True)))

    worker.submit([make_alert()])
    while not receiver.got:
        time.sleep(0.01)
    worker.submit([make_alert(labels={"service": f"s{i}"}) for i in range(5)])

    assert worker.flush(10)
    assert [each.at - receiver.got[0].at >= 1 for each in receiver.got] == [False, True]
    assert receiver.got[1].json["blocks"][0]["text"]["text"] == "FIRING: High refusal rate (6 slices)"
    assert sum(each.outcome == "delivered" for each in ledger) == 6


def test_pagerduty_gets_one_event_for_each_fingerprint(
    start: Any, make_alert: Any, receiver: Any, respond: Any
) -> None:
    receiver.usual = respond(202, b'{"status": "success"}')
    receiver.answers = [respond(500)]
    worker, _ = start(PagerDuty("p", Poster(receiver.url, 2, allow_internal=True), "key"))
    alerts = [make_alert(labels={"service": name}) for name in "ab"]

    worker.submit(alerts)

    assert worker.flush(5)
    keys = [each.json["dedup_key"] for each in receiver.got]
    assert keys == [alerts[0].fingerprint, alerts[0].fingerprint, alerts[1].fingerprint]


def test_waits_grow_and_are_never_shorter_than_asked(rng: np.random.Generator) -> None:
    patience = Patience(first_s=1, longest_s=60)

    waits = [patience.wait(n, None, float(rng.random())) for n in range(1, 50)]
    asked = [patience.wait(n, 30, float(rng.random())) for n in range(1, 50)]

    assert all(0.5 * min(60, 2.0**n) <= wait <= 1.5 * min(60, 2.0**n) for n, wait in enumerate(waits))
    assert all(30 <= wait <= 31 for wait in asked)


def test_outstanding_is_what_has_no_final_outcome_for_a_receiver_it_was_meant_for(make_alert: Any) -> None:
    fire = make_alert(receivers=("a", "b"))
    over = make_alert(notice=Notice.RESOLVE, state=State.RESOLVED, receivers=("a", "b"))
    settled = {Key("a", fire.fingerprint, fire.at, "firing"): "delivered"}

    due = outstanding([fire, over], settled, set())

    assert due == {"a": [over], "b": [fire, over]}


def test_what_was_given_up_is_due_again_only_while_it_is_open(make_alert: Any) -> None:
    fire = make_alert(receivers=("a",))
    settled = {Key("a", fire.fingerprint, fire.at, "firing"): "failed"}

    assert outstanding([fire], settled, {fire.fingerprint}) == {"a": [fire]}
    assert outstanding([fire], settled, set()) == {}
