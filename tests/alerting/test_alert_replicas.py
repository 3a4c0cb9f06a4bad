"""Several alert loops on one database, and one that dies at every step: nothing is missed, nothing is told twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genai_calls import insert_calls

from tidegauge.alerting import AlertLoop, Rule
from tidegauge.alerting.lease import Held, Lease
from tidegauge.alerting.worker import Patience
from tidegauge.clock import ReplayClock
from tidegauge.config import Alerting
from tidegauge.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WHO = {"severity": "page", "owner": "team", "runbook": "r", "action": "a"}
RULE = {"alert": "Refusals", "metric": "refusal_rate", "by": ["service"], "window": "30m", "above": 0.05, **WHO}
QUICK = Patience(give_up_after_s=30, first_s=0.01, longest_s=0.05)
LENGTH_S, GRACE_S = 60.0, 15.0


@dataclass
class Time:
    """Seconds since NOW, for every loop the same."""

    passed: float = 0.0

    def elapsed(self) -> float:
        return self.passed

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def lease(store: Store, time: Time) -> Callable[[], Lease]:
    return lambda: Lease(store, LENGTH_S, GRACE_S, elapsed=time.elapsed)


@pytest.fixture
def loop(store: Store, lease: Any, rng: np.random.Generator) -> Iterator[Callable[..., AlertLoop]]:
    loops: list[AlertLoop] = []

    def build(*urls: str) -> AlertLoop:
        receivers = [{"kind": "webhook", "name": f"hook{i}", "url": url} for i, url in enumerate(urls)]
        settings = Alerting.model_validate({"receivers": receivers, "allow_internal_addresses": True, "timeout_s": 5})
        rules = [Rule.model_validate(RULE)]
        clock = ReplayClock(NOW, frozen=True)
        made = AlertLoop(store, settings, rules=rules, rng=rng, clock=clock, patience=QUICK, lease=lease())
        loops.append(made)
        return made

    yield build
    for each in loops:
        each.close()


def refuse(store: Store, share: float, at: datetime) -> None:
    rows = [
        {"timestamp": at, "trace_id": f"{at}{i}", "service": "shop", "kind": "llm", "refused": i < share * 100}
        for i in range(100)
    ]
    insert_calls(store, rows)


def sent(receiver: Any) -> list[tuple[str, str]]:
    return [(each["notice"], each["dedup_key"]) for got in receiver.got for each in got.json["alerts"]]


def test_one_of_two_holds_the_lease_and_keeps_it_while_it_renews(lease: Any, time: Time) -> None:
    first, second = lease(), lease()

    found = []
    for passed in range(0, 300, 30):
        time.passed = passed
        found.append((first.hold(time.now), second.hold(time.now)))

    assert found == [(Held.ANEW, Held.NO), *[(Held.STILL, Held.NO)] * 9]
    assert second.holder == first.name


def test_of_two_that_ask_at_the_same_moment_one_gets_it(
    lease: Any, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = lease(), lease()
    look = second._last
    before = [None]  # the second one looked before the first one had taken it
    monkeypatch.setattr(second, "_last", lambda: before.pop() if before else look())

    assert (first.hold(time.now), second.hold(time.now)) == (Held.ANEW, Held.NO)
    assert (first.valid(), second.valid()) == (True, False)


def test_another_takes_over_only_after_the_end_and_the_grace_and_the_first_then_knows(lease: Any, time: Time) -> None:
    first, second = lease(), lease()
    first.hold(time.now)

    found = {}
    for passed in (59, 61, 74, 75):
        time.passed = passed
        found[passed] = (first.valid(), second.hold(time.now))

    assert found == {59: (True, Held.NO), 61: (False, Held.NO), 74: (False, Held.NO), 75: (False, Held.ANEW)}
    assert first.hold(time.now) is Held.NO
    assert first.confirm() is Held.NO


def test_a_holder_whose_clock_is_a_day_ahead_is_followed_once_its_term_stands_still(lease: Any, time: Time) -> None:
    first, second = lease(), lease()
    first.hold(time.now + timedelta(days=1))

    found = []
    for passed in (0, 30, 74, 75):
        time.passed = passed
        found.append(second.hold(time.now))

    assert found == [Held.NO, Held.NO, Held.NO, Held.ANEW]


def test_a_lease_that_is_given_back_is_free_at_once(lease: Any, time: Time) -> None:
    first, second = lease(), lease()
    first.hold(time.now)

    first.release(time.now)

    assert (first.valid(), second.hold(time.now)) == (False, Held.ANEW)


def test_two_loops_tell_once_and_the_second_goes_on_where_the_first_fell_silent(
    store: Store, loop: Any, time: Time, receiver: Any
) -> None:
    refuse(store, 0.5, NOW - timedelta(minutes=1))
    first, second = loop(receiver.url), loop(receiver.url)

    for passed in (0, 30, 60):
        time.passed = passed
        for each in (first, second):
            each.run(time.now)
            assert each.flush(5)
    refuse(store, 0, NOW + timedelta(minutes=35))
    for passed in (120, 180, 2400):  # the first one is gone; the refusals leave the window
        time.passed = passed
        second.run(time.now)
        assert second.flush(5)

    assert [notice for notice, _ in sent(receiver)] == ["fire", "resolve"]
    stood_by = store.rows("SELECT detail FROM alert_decisions WHERE reason = 'lease'")
    assert len(stood_by) == 1 and "stands by" in stood_by[0]["detail"]


def test_a_loop_that_was_paused_in_the_middle_of_a_round_neither_writes_nor_tells(
    store: Store, loop: Any, time: Time, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(store, 0.5, NOW - timedelta(minutes=1))
    first, second = loop(receiver.url), loop(receiver.url)
    evaluated = first._round

    def paused(*args: Any) -> Any:
        found = evaluated(*args)
        time.passed += 200
        second.run(time.now)
        assert second.flush(5)
        return found

    monkeypatch.setattr(first, "_round", paused)
    begun = time.now

    assert first.run(begun) == []
    assert first.flush(5)
    assert [notice for notice, _ in sent(receiver)] == ["fire"]
    assert store.value("SELECT count() FROM alert_events WHERE notice = 'fire'") == 1


def test_what_a_paused_loop_had_still_to_send_is_sent_by_the_other_alone(
    store: Store, loop: Any, time: Time, receiver: Any, respond: Any
) -> None:
    refuse(store, 0.5, NOW - timedelta(minutes=1))
    receiver.usual = respond(503)
    first, second = loop(receiver.url), loop(receiver.url)
    first.run(time.now)
    while not receiver.got:
        pass
    time.passed = 200  # from here on the first one may not send
    second.run(time.now)
    receiver.got.clear()
    receiver.usual = respond(200)

    assert second.flush(5)
    first.run(time.now)
    assert first.flush(5)

    assert [notice for notice, _ in sent(receiver)] == ["fire"]


STEPS = ("evaluated", "stored", "sending", "sent", "recorded", "")
KILLED = """
    import os, signal, sys
    from datetime import datetime, timedelta
    from tidegauge.alerting import AlertLoop, Rule, history
    from tidegauge.alerting.ledger import Ledger
    from tidegauge.collectors.schema import migrate
    from tidegauge.config import Alerting
    from tidegauge.store import Store

    def kill(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def then_kill(work):
        return lambda *args: (work(*args), kill())

    path, url, now, rule, step = sys.argv[1:]
    now = datetime.fromisoformat(now)
    fresh = not os.path.exists(path)
    store = Store("chdb://" + path)
    if fresh:
        migrate(store)
    said = {"gen_ai.operation.name": "chat", "tidegauge.refused": "true"}
    row = {"Timestamp": now - timedelta(minutes=1), "ServiceName": f"killed {step}", "SpanAttributes": said}
    store.insert("otel_traces", [row] * 100)
    if step == "evaluated":
        history.append = kill
    elif step == "stored":
        history.append = then_kill(history.append)
    elif step == "sent":
        Ledger.write = kill
    elif step == "recorded":
        Ledger.write = then_kill(Ledger.write)
    receivers = [{"kind": "webhook", "name": "hook", "url": url}]
    config = Alerting.model_validate({"receivers": receivers, "allow_internal_addresses": True})
    loop = AlertLoop(store, config, rules=[Rule.model_validate_json(rule)])
    loop.run(now)
    print(loop.flush(20))
    loop.close()
    store.close()
"""


def test_killed_at_every_step_it_misses_nothing_and_repeats_only_under_the_same_key(
    tmp_path: Path, receiver: Any, respond: Any
) -> None:
    """Each process recovers from the one before and is killed one step later; each has an alert of its own to tell."""
    for i, step in enumerate(STEPS):
        at = (NOW + timedelta(minutes=i)).isoformat()
        words = [str(tmp_path / "db"), receiver.url, at, json.dumps(RULE), step]
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED), *words], stdout=subprocess.PIPE)
        if step == "sending":
            receiver.answers = [lambda _, pid=process.pid: os.kill(pid, signal.SIGKILL)]
        said, _ = process.communicate(timeout=120)
        assert process.returncode == (-signal.SIGKILL if step else 0), step
        assert said == (b"True\n" if not step else b"")

    told = [each for got in receiver.got for each in got.json["alerts"]]
    times = Counter(each["event_id"] for each in told)
    assert {each["labels"]["service"] for each in told} == {f"killed {step}" for step in STEPS}
    assert len({each["dedup_key"] for each in told}) == len(times) == len(STEPS)  # a repetition has the same key and id
    assert max(times.values()) <= 3  # once for each of the two deaths between the sending and the ledger
