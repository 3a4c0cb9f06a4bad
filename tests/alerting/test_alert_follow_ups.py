"""After the first message: reminders, escalation, acknowledgement, resolution by hand, and one summary for too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genai_calls import insert_calls

from tidegauge import decisions, responses
from tidegauge.alerting import AlertLoop, Rule
from tidegauge.alerting.states import fingerprint
from tidegauge.alerting.worker import Patience
from tidegauge.clock import ReplayClock
from tidegauge.config import Alerting
from tidegauge.errors import InvalidRecord
from tidegauge.model import Window
from tidegauge.responses import Action
from tidegauge.store import Store

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WHO = {"severity": "page", "owner": "team", "runbook": "r", "action": "a"}
RULE = {"alert": "Refusals", "metric": "refusal_rate", "by": ["service"], "window": "10d", "above": 0.05, **WHO}
KEY = fingerprint("Refusals", {"service": "shop"})
ROUTES = """
route:
  receiver: chat
  repeat_interval: 1h
  escalate: [{after: 15m, receiver: lead}, {after: 30m, receiver: boss}]
"""
QUIET = ROUTES + '  quiet: [lunch]\nquiet_hours: {lunch: {from: "12:00", to: "13:00"}}\n'


class Played:
    """A loop, rounds of which are at so many minutes after NOW, and what receivers got by then."""

    def __init__(self, build: Callable[[], AlertLoop], receivers: dict[str, Any]) -> None:
        self.build, self.receivers = build, receivers
        self.loop = build()

    def run(self, *minutes: float) -> None:
        for each in minutes:
            self.loop.run(NOW + each * MINUTE)
            assert self.loop.flush(10)

    def restart(self) -> None:
        self.loop.close()
        self.loop = self.build()

    @property
    def got(self) -> list[tuple[str, str, int]]:
        found = [
            (each["at"], name, each["notice"])
            for name, receiver in self.receivers.items()
            for got in receiver.got
            for each in got.json["alerts"]
        ]
        return [(who, what, (datetime.fromisoformat(at) - NOW) // MINUTE) for at, who, what in sorted(found)]


@pytest.fixture
def play(
    store: Store, rng: np.random.Generator, receiver: Any, other_receiver: Any, tmp_path: Path
) -> Iterator[Callable[..., Played]]:
    made: list[Played] = []

    def build(routes: str, **settings: Any) -> Played:
        (tmp_path / "routes.yaml").write_text(routes)
        urls = {"chat": receiver.url, "lead": other_receiver.url, "boss": other_receiver.url + "/boss"}
        config = Alerting.model_validate(
            {
                "receivers": [{"kind": "webhook", "name": name, "url": url} for name, url in urls.items()],
                "allow_internal_addresses": True,
                "routes": tmp_path / "routes.yaml",
                **settings,
            }
        )
        clock, quick = ReplayClock(NOW, frozen=True), Patience(30, 0.01, 0.05)
        rules = [Rule.model_validate(RULE)]
        played = Played(
            lambda: AlertLoop(store, config, rules=rules, rng=rng, clock=clock, patience=quick),
            {"chat": receiver, "lead": other_receiver},
        )
        made.append(played)
        return played

    yield build
    for each in made:
        each.loop.close()


def refuse(store: Store, share: float = 0.5, services: int = 0, at: datetime = NOW - MINUTE, of: int = 100) -> None:
    names = [f"s{i:03}" for i in range(services)] or ["shop"]
    rows = [
        {"timestamp": at, "trace_id": f"{at}{name}{i}", "service": name, "kind": "llm", "refused": i < share * of}
        for name in names
        for i in range(of)
    ]
    insert_calls(store, rows)


def test_unacknowledged_it_is_escalated_step_by_step_and_then_reminded_of_and_a_restart_repeats_nothing(
    store: Store, play: Any
) -> None:
    refuse(store)
    played = play(ROUTES)

    played.run(0, 14, 15)
    played.restart()
    played.run(16, 30)
    played.restart()
    played.run(31, 60, 61)

    assert played.got == [
        ("chat", "fire", 0),
        ("lead", "escalate", 15),
        ("lead", "escalate", 30),
        ("chat", "remind", 60),
    ]


def test_an_acknowledged_alert_is_neither_escalated_nor_repeated_and_everybody_hears_who_has_it(
    store: Store, play: Any
) -> None:
    refuse(store)
    played = play(ROUTES)
    played.run(0)
    responses.respond(store, KEY[:8], Action.ACK, "ann", "looking", NOW + MINUTE)

    played.run(2, 3, 20)
    played.restart()
    played.run(40, 120)

    assert played.got == [("chat", "fire", 0), ("chat", "acknowledge", 2)]


def test_quiet_hours_hold_the_message_and_the_escalation_counts_from_their_end(store: Store, play: Any) -> None:
    refuse(store)
    played = play(QUIET)

    played.run(0, 20, 59)
    before = played.got
    played.restart()
    played.run(60, 74, 75)

    assert before == []
    assert played.got == [("chat", "fire", 0), ("lead", "escalate", 75)]
    log = [each.kind for each in decisions.why(store, "Refusals", Window(NOW, NOW + 70 * MINUTE))]
    assert log[:2] == ["fire", "quiet_hours"] and "delivered" in log


def test_what_ends_in_quiet_hours_is_never_told_even_by_a_loop_that_starts_later(store: Store, play: Any) -> None:
    refuse(store)
    played = play(QUIET)
    played.run(0)
    refuse(store, 0, at=NOW + MINUTE, of=9000)
    played.run(3)
    played.restart()
    played.run(70)

    assert played.got == []
    kinds = [each.kind for each in decisions.why(store, "Refusals", Window(NOW, NOW + 80 * MINUTE))]
    assert kinds.count("over") == 2


def test_resolved_by_hand_it_is_over_for_receivers_and_told_again_after_an_hour_where_it_still_fires(
    store: Store, play: Any
) -> None:
    refuse(store)
    played = play("route: {receiver: chat}")
    played.run(0)
    responses.respond(store, KEY, Action.RESOLVE, "ann", "known", NOW + MINUTE)

    played.run(2, 3)
    played.restart()
    played.run(30, 62)

    assert played.got == [("chat", "fire", 0), ("chat", "resolve", 2), ("chat", "fire", 62)]
    reasons = [each.detail for each in decisions.why(store, "Refusals", Window(NOW, NOW + 70 * MINUTE))]
    assert any("not told: resolved by ann" in each for each in reasons)


def test_of_too_many_slices_some_are_told_and_one_more_alert_stands_for_the_others(store: Store, play: Any) -> None:
    refuse(store, services=12)
    played = play("route: {receiver: chat}", most_slices_told=5)

    played.run(0, 1)
    played.restart()
    played.run(2)
    refuse(store, 0, services=12, at=NOW + 2 * MINUTE, of=2000)
    played.run(4)

    fires = [each for got in played.receivers["chat"].got for each in got.json["alerts"] if each["notice"] == "fire"]
    assert [each for _, each, _ in played.got].count("resolve") == len(fires) == 6
    (summary,) = [each for each in fires if "tidegauge.slices" in each["labels"]]
    assert summary["summary"].startswith("7 more slices fire than are told one by one, such as ")


def test_an_alertmanager_hears_of_open_alerts_every_minute_and_the_ledger_has_only_what_was_news(
    store: Store, play: Any
) -> None:
    refuse(store)
    played = play("route: {receiver: chat}")
    url = played.receivers["chat"].url
    played.loop.close()
    receivers = [{"kind": "alertmanager", "name": "chat", "url": url}]
    config = Alerting.model_validate({"receivers": receivers, "allow_internal_addresses": True})
    played.build = lambda: AlertLoop(
        store, config, rules=[Rule.model_validate(RULE)], clock=ReplayClock(NOW, frozen=True)
    )
    played.restart()

    played.run(0, 0.5, 1, 1.5)
    played.restart()
    played.run(2)

    ends = [each["endsAt"] for got in played.receivers["chat"].got for each in got.json]
    assert ends == [(NOW + (minutes + 10) * MINUTE).isoformat() for minutes in (0, 1, 2)]
    assert store.value("SELECT count() FROM alert_deliveries") == 1


def test_an_answer_that_fits_no_alert_is_refused(store: Store, play: Any) -> None:
    refuse(store)
    played = play("route: {receiver: chat}")
    played.run(0)
    refuse(store, 0, at=NOW, of=9000)
    played.run(2)

    cases = [
        (KEY, " ", "needs an author"),
        ("abc", "ann", "is too short"),
        ("abcdef", "ann", "no alert begins with 'abcdef'"),
        (KEY, "ann", "is over already"),
    ]
    for alert, author, problem in cases:
        with pytest.raises(InvalidRecord, match=problem):
            responses.respond(store, alert, Action.ACK, author, "", NOW)
