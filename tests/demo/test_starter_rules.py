"""A few of the faults, and the calm beside them, under the rules that hold without a file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import pytest

from tidegauge.alerting.rules import Rule, check_rules
from tidegauge.alerting.states import Transition
from tidegauge.config import DailyDiagnosis, Detectors
from tidegauge.demo import starter
from tidegauge.demo.assistant import faults as odd
from tidegauge.demo.flights import data, faults
from tidegauge.demo.flights.stream import FlightsStream
from tidegauge.demo.starter_causes import of_flight, told_cause
from tidegauge.demo.starter_faults import ASSISTANT, FLIGHTS
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.model import Window
from tidegauge.store import Store

FAULTY = date(2013, 4, 16)
SINCE = data.day_end(FAULTY - timedelta(days=1))
NAMES = (
    "No predictions",
    "No predictions for three days",
    "Far fewer predictions than usual",
    "Labels are missing",
    "Features changed",
)
FAULTS = ("drop:1", "keys", "type:temp")


@pytest.fixture
def rules() -> dict[str, Rule]:
    return {each.alert: each for each in check_rules(()) if each.alert in NAMES}


@pytest.fixture
def found(store: Store, rules: Mapping[str, Rule]) -> dict[str, list[Transition]]:
    starter.fly(store, FlightsStream(sample=0.3), FAULTS, (date(2013, 4, 2), FAULTY, FAULTY + timedelta(days=3)))
    span = Window(SINCE - timedelta(days=1), SINCE + timedelta(days=3))
    return starter.told(store, list(rules.values()), starter.Stretch(span, timedelta(hours=3), SINCE), FAULTS)


def test_each_fault_is_told_once_by_its_rule_with_its_cause_and_nothing_is_told_without_one(
    store: Store, rules: Mapping[str, Rule], found: Mapping[str, list[Transition]]
) -> None:
    lines = [starter.line(text, FLIGHTS[text], found[text], SINCE) for text in FAULTS]
    told = {text: (said, alerts, others) for text, _, said, _, alerts, others, *_ in lines}
    cause = told_cause(store, rules, found["type:temp"][0], of_flight("type:temp", FAULTY))
    mistaken = told_cause(store, rules, found["type:temp"][0], of_flight("units:temp", FAULTY))

    assert starter.CLEAN not in found
    assert told == {
        "drop:1": ("yes, page", "1", "-"),
        "keys": ("yes, triage", "1", "-"),
        "type:temp": ("yes, triage", "1", "-"),
    }
    assert cause.cells == ("type changed: temp in all traffic", "yes")
    assert mistaken.cells == ("type changed: temp in all traffic", "no")


def test_what_is_copied_for_a_fault_is_what_would_have_been_found(store: Store) -> None:
    none = "drop:0.000001"
    days = date(2013, 8, 12), date(2013, 8, 22), date(2013, 8, 23)
    both = Detectors(embedder="off", diagnosis=DailyDiagnosis(models_per_run=2))
    starter.fly(store, FlightsStream(sample=0.1), [none], days, DetectorLoop(store, both))

    def all_of(name: str) -> list[str]:
        sql = """SELECT feature, detector, window_end, verdict, round(statistic, 9), round(effect_floor, 9), since,
            reason FROM findings WHERE subject = {name:String}"""  # rounded: sums are added in any order
        return sorted(str(each) for each in store.rows(sql, {"name": name}))

    assert len(all_of(none)) > 100
    assert all_of(none) == all_of(starter.CLEAN)


def test_every_kind_of_fault_has_its_rules_and_they_are_among_the_starter_rules() -> None:
    known = {rule.alert for rule in check_rules(())}
    wanted = {rule.partition(": ")[0] for rules in (*FLIGHTS.values(), *ASSISTANT.values()) for rule in rules}

    assert {faults.parse_fault(f"{text}@{FAULTY}").kind for text in FLIGHTS} == set(faults.CHOICES)
    assert {odd.parse_fault(text, SINCE).kind for text in ASSISTANT} == set(odd.KINDS)
    assert wanted <= known
