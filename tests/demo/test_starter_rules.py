"""A few of the faults, and the calm beside them, under the rules that hold without a file."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tidegauge.alerting.rules import check_rules
from tidegauge.demo import starter
from tidegauge.demo.flights import data
from tidegauge.demo.flights.stream import FlightsStream
from tidegauge.demo.starter_faults import FLIGHTS
from tidegauge.model import Window
from tidegauge.store import Store

FAULTY = date(2013, 4, 16)
SINCE = data.day_end(FAULTY - timedelta(days=1))
RULES = (
    "No predictions",
    "No predictions for three days",
    "Far fewer predictions than usual",
    "Labels are missing",
)
FAULTS = ("drop:1", "keys")


@pytest.fixture
def lines(store: Store) -> dict[str, tuple[str, ...]]:
    starter.fly(store, FlightsStream(sample=0.3), FAULTS, (date(2013, 4, 2), FAULTY, FAULTY + timedelta(days=3)))
    rules = [each for each in check_rules(()) if each.alert in RULES]
    span = Window(SINCE - timedelta(days=1), SINCE + timedelta(days=3))
    found = starter.told(store, rules, starter.Stretch(span, timedelta(hours=3), SINCE), FAULTS)
    assert starter.CLEAN not in found
    return {text: starter.line(text, FLIGHTS[text], found.get(text, []), SINCE) for text in FAULTS}


def test_each_fault_is_told_once_by_its_rule_and_nothing_is_told_without_one(lines: dict[str, tuple[str, ...]]) -> None:
    told = {text: (said, alerts, others) for text, _, said, _, alerts, others, *_ in lines.values()}

    assert told == {
        "drop:1": ("yes, page", "1", "-"),
        "keys": ("yes, triage", "1", "-"),
    }
