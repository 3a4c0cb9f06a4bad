"""Why an alert's model changed: found in the background, told once, and only where it is likely."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import desk
import numpy as np
import pytest
from genai_calls import insert_calls

from tidegauge import alerts, decisions, diagnoses
from tidegauge.alerting import AlertLoop, Rule
from tidegauge.alerting.likely import About, about, judged
from tidegauge.alerting.notifiers import pagerduty, slack
from tidegauge.alerting.worker import Patience
from tidegauge.clock import ReplayClock
from tidegauge.config import Alerting
from tidegauge.detectors.diagnose import Asked, diagnose
from tidegauge.detectors.diagnose.text import as_json
from tidegauge.diagnoses import Diagnosed, State
from tidegauge.errors import StoreError, TidegaugeError
from tidegauge.instruments import REGISTRY
from tidegauge.model import Window
from tidegauge.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WHO = {"severity": "page", "owner": "team", "runbook": "r", "action": "a"}
RULE = {"alert": "Refusals", "metric": "refusal_rate", "by": ["service"], "window": "30m", "above": 0.05, **WHO}
QUICK = Patience(give_up_after_s=30, first_s=0.01, longest_s=0.05)
PROMPT = {
    "cause": "new prompt", "subject": "v2", "part": "prompt=v2", "stage": "model", "level": "bad", "sure": "likely",
    "slice": [{"dimension": "prompt", "value": "v2"}], "explains": 0.8, "touches": ["llm.refused", "version"],
    "summary": "prompt v2 answers 60% of the requests", "next": "hold v2 back",
}  # fmt: skip
HOSTILE = "<!channel> <http://evil|x>\n\x1b[31m"


def answer(*causes: dict[str, Any], since: datetime = NOW - timedelta(hours=1), wrong: bool = True) -> dict[str, Any]:
    said = {"headline": "shop: nothing is wrong", "wrong": wrong, "since": since.isoformat(), "how": "as asked"}
    return said | {"causes": list(causes), "stages": [{"stage": "model", "level": "bad"}]}


class Doctor:
    """Answers as it is told and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), list[tuple[str, datetime | None]]()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, model: str, since: datetime | None, until: datetime, days: float) -> dict[str, Any]:
        self.asked.append((model, since))
        assert self.may_answer.wait(30)
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(said, Exception):
            raise said
        return said  # type: ignore[no-any-return]


Start = Callable[..., AlertLoop]


@pytest.fixture
def start(store: Store, rng: np.random.Generator) -> Iterator[Start]:
    loops: list[AlertLoop] = []

    def build(doctor: Any, *receivers: dict[str, Any], rules: Any = (RULE,), **changes: Any) -> AlertLoop:
        values = {"receivers": receivers, "allow_internal_addresses": True, "timeout_s": 5, "pictures": False}
        settings = Alerting.model_validate(values | {"diagnosis": changes})
        made = [Rule.model_validate(each) for each in rules]
        clock = ReplayClock(NOW, frozen=True)
        loop = AlertLoop(store, settings, rules=made, rng=rng, clock=clock, patience=QUICK, diagnose=doctor)
        loops.append(loop)
        return loop

    yield build
    for each in loops:
        each.close()


def hook(receiver: Any, **changes: Any) -> dict[str, Any]:
    return {"kind": "webhook", "name": "hook", "url": receiver.url} | changes


def refuse(store: Store, *services: str, at: datetime = NOW - MINUTE, **values: Any) -> None:
    rows = [
        {"timestamp": at, "trace_id": f"{each}{at}{i}", "service": each, "kind": "llm", "refused": i < 50} | values
        for each in services
        for i in range(100)
    ]
    insert_calls(store, rows)


def sent(receiver: Any) -> list[tuple[str, Any]]:
    """Of every alert that was told its notice, and the cause that was told with it."""
    told = [each for got in receiver.got for each in got.json["alerts"]]
    return [(each["notice"], each["diagnosis"] and each["diagnosis"]["cause"]) for each in told]


def rounds(loop: AlertLoop, count: int = 2, begin: datetime = NOW, doctor: Doctor | None = None) -> None:
    """One a minute; with ``doctor`` messages go out before he answers."""
    for minute in range(count):
        if doctor:
            doctor.may_answer.clear()
        loop.run(begin + minute * MINUTE)
        assert loop.flush(5)
        if doctor:
            doctor.may_answer.set()
        assert loop.diagnosed(20)


def test_the_first_message_does_not_wait_and_the_cause_follows_once_as_an_update(
    store: Store, start: Start, receiver: Any
) -> None:
    refuse(store, "shop")
    doctor = Doctor(answer(PROMPT))
    doctor.may_answer.clear()
    loop = start(doctor, hook(receiver))

    loop.run(NOW)
    assert loop.flush(5)
    before = sent(receiver)
    doctor.may_answer.set()
    assert loop.diagnosed(20)
    rounds(loop, 3, NOW + MINUTE)

    assert before == [("fire", None)]
    assert sent(receiver) == [("fire", None), ("diagnose", "new prompt: v2")]
    update = receiver.got[1].json["alerts"][0]
    assert update["event_id"] != receiver.got[0].json["alerts"][0]["event_id"]
    assert update["dedup_key"] == receiver.got[0].json["alerts"][0]["dedup_key"]
    assert update["reason"] == (
        "new prompt: v2 in prompt=v2 since 2026-03-01 11:00 UTC (likely, explains 80% of what changed in shop): "
        "prompt v2 answers 60% of the requests"
    )
    assert update["diagnosis"]["causes"][0]["next"] == "hold v2 back"
    assert doctor.asked == [("shop", NOW - timedelta(minutes=30))]
    assert alerts.one(store, update["dedup_key"])["reason"].startswith("50 % of 100")  # and not the cause
    (kept,) = alerts.one(store, update["dedup_key"])["diagnoses"]
    assert (kept["state"], kept["sure"], kept["told"]) == ("likely", "likely", ["hook"])
    log = decisions.why(store, "Refusals", Window(NOW - MINUTE, NOW + 9 * MINUTE))
    assert "told the likely cause" in [each.words for each in log]


def test_a_message_that_goes_late_tells_the_cause_itself_and_no_update_follows(
    store: Store, start: Start, receiver: Any, respond: Any
) -> None:
    refuse(store, "shop")
    receiver.usual = respond(503)
    loop = start(Doctor(answer(PROMPT)), hook(receiver))

    loop.run(NOW)
    assert loop.diagnosed(20)
    loop.run(NOW + MINUTE)
    receiver.got.clear()
    receiver.usual = respond(200)
    assert loop.flush(10)
    receiver.got[:] = receiver.got[-1:]
    rounds(loop, 2, NOW + 2 * MINUTE)

    assert sent(receiver) == [("fire", "new prompt: v2")]


@pytest.mark.parametrize(
    ("said", "state", "words"),
    [
        (answer(), "nothing", "none: shop: nothing is wrong"),
        (answer(PROMPT, wrong=False), "nothing", "nothing is wrong"),
        (answer(PROMPT | {"sure": "possible"}), "unsure", "not sure enough"),
        (answer(PROMPT | {"touches": ["llm.latency"]}), "unsure", "does not explain what the alert saw"),
        (answer(PROMPT, since=NOW - timedelta(days=9)), "unsure", "long before the alert"),
        (answer(PROMPT | {"stage": "downstream"}), "unsure", "a consequence and no cause"),
        (TidegaugeError("only 1 day(s) of predictions"), "failed", "could not be looked for: only 1 day(s)"),
        (StoreError("too slow", 159), "failed", "the database did not answer: too slow"),
        (RuntimeError("a bug"), "failed", "RuntimeError: a bug"),
    ],
)
def test_what_is_not_a_likely_cause_of_the_alert_is_kept_and_told_to_nobody(
    store: Store, start: Start, receiver: Any, said: Any, state: str, words: str
) -> None:
    refuse(store, "shop")
    loop = start(Doctor(said), hook(receiver))

    rounds(loop, 3)

    assert sent(receiver) == [("fire", None)]
    (kept,) = alerts.one(store, receiver.got[0].json["alerts"][0]["dedup_key"])["diagnoses"]
    assert kept["state"] == state and words in kept["shown"]


def test_where_nothing_began_with_the_alert_the_beginning_is_looked_for(store: Store, start: Start) -> None:
    refuse(store, "shop")
    doctor = Doctor(answer(), answer(PROMPT, since=NOW - timedelta(days=3)))

    rounds(start(doctor))

    assert doctor.asked == [("shop", NOW - timedelta(minutes=30)), ("shop", None)]
    assert store.value("SELECT since FROM alert_diagnoses WHERE state = 'likely'") == NOW - timedelta(days=3)


def test_of_drift_it_is_asked_what_changed_when_the_drift_began_and_not_when_the_window_of_the_rule_did(
    store: Store, start: Start
) -> None:
    began, day = NOW - timedelta(hours=20), {"window_start": NOW - timedelta(days=1), "window_end": NOW - MINUTE}
    about_age = {"subject": "m", "feature": "age", "reference": "trailing", "evaluated_at": NOW}
    found = [
        {"detector": "ks", "verdict": "drift", "since": began, **about_age},
        {"detector": "psi", "verdict": "drift", "since": began + timedelta(hours=8), **about_age},
        {"detector": "missing", "verdict": "stable", "since": None, **about_age},
        {"detector": "ks", "verdict": "drift", "since": NOW - timedelta(days=2), **about_age, "feature": "other"},
    ]
    store.insert("findings", [each | day | {"finding_id": str(at)} for at, each in enumerate(found)])
    drift = {"metric": "drift_findings", "by": ["subject", "feature"], "where": {"feature": "age"}, "window": "8d"}
    doctor = Doctor(answer(PROMPT | {"touches": ["age"]}, since=began))

    rounds(start(doctor, rules=[RULE | drift | {"above": 0}]))

    assert doctor.asked == [("m", began)]


def test_a_cause_in_another_part_of_the_traffic_is_not_that_of_the_alert(make_alert: Any) -> None:
    made = Diagnosed("d", State.BEGUN, "shop", "r", "f", NOW, NOW, NOW - MINUTE, result=json.dumps(answer(PROMPT)))
    other = PROMPT | {"touches": ["llm.latency"], "cause": "provider slow"}
    both = Diagnosed("d", State.BEGUN, "shop", "r", "f", NOW, NOW, NOW, result=json.dumps(answer(other, PROMPT)))

    found = {version: judged(made, About("shop", {"prompt_version": version})).state for version in ("v1", "v2")}

    assert found == {"v1": State.UNSURE, "v2": State.LIKELY}
    for version, state in found.items():
        pair = {"dimension": "tenant & prompt_version", "slice": f"acme & {version}"}
        assert judged(made, About("shop", pair)).state == state
    assert judged(both, About("shop", {}, frozenset({"llm.refused"}))).cause == "new prompt: v2"


def test_of_rules_it_is_known_what_they_are_about() -> None:
    def of(labels: dict[str, str], **changes: Any) -> tuple[str, set[str]]:
        found = about(Rule.model_validate(RULE | changes), labels)
        return found.subject, set(found.changed)

    assert of({"service": "shop"}) == ("shop", {"llm.refused"})
    assert of({}, by=[]) == ("", {"llm.refused"})
    assert of({}, by=[], where={"service": "desk"})[0] == "desk"
    assert of({"subject": "m", "feature": "age"}, metric="drift_findings", by=["subject", "feature"]) == (
        "m", {"age", "llm.topic"},
    )  # fmt: skip
    assert of({"model": "m"}, metric="accuracy", by=["model"], above=None, below=0.9) == ("m", {"loss", "label"})
    assert of({}, metric="sink_lag", by=[]) == ("", set())
    assert about(None, {}).subject == ""


def test_the_most_urgent_comes_first_one_at_a_time_and_no_more_than_allowed_an_hour(store: Store, start: Start) -> None:
    triage = RULE | {"alert": "Some refusals", "severity": "triage", "where": {"service": "a"}}
    refuse(store, "a")
    refuse(store, "b", "c")
    rules = [triage, RULE | {"where": {"service": "b"}}, RULE | {"alert": "Others", "where": {"service": "c"}}]
    doctor = Doctor(answer(PROMPT))
    loop = start(doctor, rules=rules, most_per_hour=2)

    asked = []
    for minute in (0, 1, 2, 3, 59, 61):
        rounds(loop, 1, NOW + minute * MINUTE)
        asked.append([name for name, _ in doctor.asked])

    first = asked[0][0]
    assert first in ("b", "c")
    assert [len(each) for each in asked] == [1, 2, 2, 2, 2, 3]
    assert asked[-1][2] == "a"


def test_alerts_of_one_service_share_a_diagnosis_and_one_that_fires_later_takes_it(
    store: Store, start: Start, receiver: Any
) -> None:
    refuse(store, "shop", prompt_version="v2")
    rules = [
        RULE,
        RULE | {"alert": "By prompt", "by": ["service", "prompt_version"]},
        RULE | {"alert": "Later", "for": "5m"},
    ]
    doctor = Doctor(answer(PROMPT))
    loop = start(doctor, hook(receiver), rules=rules)

    rounds(loop, 8, doctor=doctor)

    assert len(doctor.asked) == 1
    cause = "new prompt: v2"
    assert sent(receiver)[:4] == [("fire", None)] * 2 + [("diagnose", cause)] * 2
    assert sent(receiver)[4:] in ([("fire", cause)], [("fire", None), ("diagnose", cause)])
    assert store.value("SELECT uniqExact(diagnosis) FROM alert_diagnoses") == 1


def test_an_alert_that_stays_open_is_diagnosed_again_and_told_where_the_cause_is_another(
    store: Store, start: Start, receiver: Any
) -> None:
    rule = RULE | {"window": "6h"}
    refuse(store, "shop")
    tool = PROMPT | {"cause": "tool fails", "subject": "lookup"}
    doctor = Doctor(answer(PROMPT), answer(PROMPT), answer(tool))
    loop = start(doctor, hook(receiver), rules=[rule], again_after_s=3600)

    for minute in range(0, 180, 10):
        rounds(loop, 1, NOW + minute * MINUTE, doctor)

    assert len(doctor.asked) == 3
    assert sent(receiver) == [("fire", None), ("diagnose", "new prompt: v2"), ("diagnose", "tool fails: lookup")]


def test_one_that_takes_too_long_is_given_up_counted_and_delays_no_alert(
    store: Store, start: Start, receiver: Any
) -> None:
    refuse(store, "shop")
    doctor = Doctor(answer(PROMPT))
    doctor.may_answer.clear()
    loop = start(doctor, hook(receiver), timeout_s=0.01)
    before = REGISTRY.get_sample_value("tidegauge_alert_diagnoses_total", {"outcome": "late"}) or 0

    loop.run(NOW)
    assert not loop.diagnosed(0.05)
    refuse(store, "other", at=NOW)
    loop.run(NOW + MINUTE)
    assert loop.flush(5)
    doctor.may_answer.set()
    assert loop.diagnosed(20)

    assert sent(receiver) == [("fire", None)] * 2
    assert [name for name, _ in doctor.asked] == ["shop"]
    found = store.rows("SELECT state, words FROM alert_diagnoses WHERE state != 'begun'")
    assert [each["state"] for each in found] == ["failed"] and "took longer than 0.01 s" in found[0]["words"]
    assert REGISTRY.get_sample_value("tidegauge_alert_diagnoses_total", {"outcome": "late"}) == before + 1


def test_who_is_told_how(store: Store, start: Start, receiver: Any, other_receiver: Any, respond: Any) -> None:
    """PagerDuty under the same key; a Slack webhook not before its next message."""
    refuse(store, "shop")
    success = respond(202, b'{"status": "success"}')
    receiver.usual = success
    pager = {"kind": "pagerduty", "name": "pager", "routing_key": "k", "url": receiver.url}
    quiet = {"kind": "slack", "name": "room", "url": other_receiver.url}
    doctor = Doctor(answer(PROMPT))
    loop = start(doctor, pager, quiet)

    rounds(loop, 3, doctor=doctor)

    fired, updated = (each.json for each in receiver.got)
    assert (updated["event_action"], updated["dedup_key"]) == ("trigger", fired["dedup_key"])
    assert "Likely cause" not in fired["payload"]["custom_details"]
    assert updated["payload"]["custom_details"]["Likely cause"].startswith("new prompt: v2 in prompt=v2")
    assert updated["payload"]["summary"] == fired["payload"]["summary"]
    assert len(other_receiver.got) == 1


def test_pagerduty_is_left_alone_when_the_cause_comes_an_hour_after_the_alert(
    store: Store, start: Start, receiver: Any, respond: Any
) -> None:
    refuse(store, "shop")
    receiver.usual = respond(202, b'{"status": "success"}')
    pager = {"kind": "pagerduty", "name": "pager", "routing_key": "k", "url": receiver.url}
    doctor = Doctor(answer(), answer(), answer(PROMPT))
    loop = start(doctor, pager, rules=[RULE | {"window": "6h"}], again_after_s=3600)

    for minute in (0, 61, 62):
        rounds(loop, 1, NOW + minute * MINUTE)

    assert store.value("SELECT count() FROM alert_diagnoses WHERE state = 'likely'") == 1
    assert len(receiver.got) == 1


def test_words_of_a_diagnosis_are_text_in_every_message(make_alert: Any) -> None:
    wild = PROMPT | {"subject": HOSTILE, "part": HOSTILE, "summary": HOSTILE}
    made = Diagnosed("d", State.BEGUN, "m", "r", "f", NOW, NOW, NOW, result=json.dumps(answer(wild)))
    evidence = make_alert().evidence
    alert = make_alert(evidence=type(evidence)(diagnosis=judged(made, About("m", {}))))

    message = json.dumps(slack.build([alert]), ensure_ascii=False).replace("<https://example.org/runbook|Runbook>", "")
    assert "&lt;!channel&gt;" in message and "<!" not in message and "<http" not in message
    details = json.dumps(pagerduty.build(alert, "k"), ensure_ascii=False)
    assert "\\u001b" not in message + details and "\\n" not in details


def test_where_diagnoses_cannot_be_read_alerts_go_out_as_ever(
    store: Store, start: Start, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise StoreError("too slow", 159)

    refuse(store, "shop")
    monkeypatch.setattr(diagnoses, "read", fail)

    rounds(start(Doctor(answer(PROMPT)), hook(receiver)), 2)

    assert sent(receiver) == [("fire", None)]


def test_real_diagnoses_tell_true_causes_and_keep_quiet_about_what_the_alert_is_not_about(
    store: Store, start: Start
) -> None:
    """All services refuse 8 % and so have an alert; one got a prompt that refuses, one is slow, one is well."""
    for broken in (desk.careful_prompt, desk.slow, desk.nothing):
        made = desk.Desk(np.random.default_rng(5))
        broken(made)
        made.store(store, broken.__name__)
    rule = RULE | {"window": "3h", "above": 0.005}
    slow = RULE | {"alert": "Slow", "metric": "latency_p50", "window": "3h", "above": 2}

    def ask(model: str, since: datetime | None, until: datetime, days: float) -> dict[str, Any]:
        return as_json(diagnose(store, Asked(model, until, since, timedelta(days=days))))

    loop = start(ask, rules=[rule, slow])
    rounds(loop, 6, desk.SINCE + timedelta(hours=4))

    found = store.rows("SELECT rule, model, cause, state FROM alert_diagnoses WHERE state != 'begun' ORDER BY ALL")
    assert [tuple(each.values()) for each in found] == [
        ("Refusals", "careful_prompt", "new prompt: v2", "likely"),
        ("Refusals", "nothing", "", "nothing"),
        ("Refusals", "slow", "provider slow", "unsure"),
        ("Slow", "slow", "provider slow", "likely"),
    ]


STEPS = ("asking", "found", "told", "")
KILLED = """
    import os, signal, sys
    from datetime import datetime, timedelta
    from tidegauge import diagnoses
    from tidegauge.alerting import AlertLoop, Rule
    from tidegauge.alerting.ledger import Ledger
    from tidegauge.collectors.schema import migrate
    from tidegauge.config import Alerting
    from tidegauge.store import Store

    path, config, now, rule, said, step = sys.argv[1:]
    now = datetime.fromisoformat(now)
    fresh = not os.path.exists(path)
    store = Store("chdb://" + path)
    if fresh:
        migrate(store)
    attributes = {"gen_ai.operation.name": "chat", "tidegauge.refused": "true"}
    row = {"Timestamp": now - timedelta(minutes=1), "ServiceName": "shop", "SpanAttributes": attributes}
    store.insert("otel_traces", [row] * 100)

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    def diagnose(*asked):
        while not store.value("SELECT count() FROM alert_deliveries WHERE outcome = 'delivered'"):
            pass
        print("asked", flush=True)
        if step == "asking":
            kill()
        return __import__("json").loads(said)

    write, record = diagnoses.write, Ledger.write

    def written(store, made, now):
        write(store, made, now)
        if step == "found" and made[0].ended_at is None and made[0].state != "begun":
            kill()

    def recorded(ledger, attempts):
        if step == "told" and attempts[0].alert.notice == "diagnose":
            kill()
        record(ledger, attempts)

    diagnoses.write, Ledger.write = written, recorded
    config = Alerting.model_validate_json(config)
    loop = AlertLoop(store, config, rules=[Rule.model_validate_json(rule)], diagnose=diagnose)
    for minute in range(3):
        loop.run(now + timedelta(minutes=minute))
        loop.diagnosed(20)
        loop.flush(20)
    print(store.rows("SELECT words FROM alert_diagnoses WHERE state = 'failed'"))
    loop.close()
    store.close()
"""


def test_killed_at_every_step_the_cause_is_neither_lost_nor_found_or_told_twice(tmp_path: Path, receiver: Any) -> None:
    """Each process goes on where the one before was killed: while it asked, once it knew, once it had told."""
    config = json.dumps({"receivers": [hook(receiver)], "allow_internal_addresses": True, "pictures": False})
    asked = []
    for i, step in enumerate(STEPS):
        at = (NOW + timedelta(minutes=4 * i)).isoformat()
        words = [str(tmp_path / "db"), config, at, json.dumps(RULE), json.dumps(answer(PROMPT)), step]
        process = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(KILLED), *words], stdout=subprocess.PIPE, timeout=120, check=False
        )
        assert process.returncode == (-signal.SIGKILL if step else 0), step
        asked.append(process.stdout.count(b"asked"))

    assert asked == [1, 1, 0, 0]
    told = [each for got in receiver.got for each in got.json["alerts"]]
    assert [each["notice"] for each in told] == [
        "fire",
        "diagnose",
        "diagnose",
    ]  # the ledger did not know of the second
    assert len({each["event_id"] for each in told}) == 2


def test_what_kills_the_process_twice_is_not_asked_a_third_time(tmp_path: Path, receiver: Any) -> None:
    config = json.dumps({"receivers": [hook(receiver)], "allow_internal_addresses": True, "pictures": False})
    asked = []
    for i, step in enumerate(("asking", "asking", "")):
        at = (NOW + timedelta(minutes=4 * i)).isoformat()
        words = [str(tmp_path / "db"), config, at, json.dumps(RULE), json.dumps(answer(PROMPT)), step]
        process = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(KILLED), *words], stdout=subprocess.PIPE, timeout=120, check=False
        )
        asked.append(process.stdout.count(b"asked"))

    assert asked == [1, 1, 0]
    assert b"the process ended 2 times" in process.stdout


def test_of_several_processes_that_end_one_diagnosis_the_first_counts(store: Store) -> None:
    made = Diagnosed("d", State.LIKELY, "shop", "r", "f" * 32, NOW, NOW, NOW, cause="one", ended_at=NOW)
    other = Diagnosed("d", State.FAILED, "shop", "r", "f" * 32, NOW, NOW, NOW, words="late")

    diagnoses.write(store, [made], NOW)
    diagnoses.write(store, [other], NOW + MINUTE)
    diagnoses.tell(store, [made], "ops", NOW)

    (found,) = diagnoses.read(store, ["f" * 32])
    assert (found.state, found.cause, found.told) == (State.LIKELY, "one", ("ops",))
