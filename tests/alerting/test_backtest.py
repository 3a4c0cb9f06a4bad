"""Rules over past data: what they would have said, against what is known, and the threshold for a wanted number."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from tidegauge.alerting.backtest import backtest, propose
from tidegauge.alerting.backtest_text import print_backtest
from tidegauge.alerting.incidents import Incident, read_incidents
from tidegauge.alerting.replay import Round
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import QueryFailed, Reading
from tidegauge.errors import ConfigError
from tidegauge.metrics import Observation, wilson
from tidegauge.model import Window

START = datetime(2026, 3, 2, tzinfo=UTC)
SPAN = Window(START, START + timedelta(weeks=2))
HOUR = timedelta(hours=1)
RULE = Rule.model_validate(
    {"alert": "Refusals", "metric": "refusal_rate", "by": ["service"], "above": 0.05}
    | {"severity": "page", "owner": "o", "runbook": "r", "action": "a"}
)


def seen(hour: int, hits: int, samples: int = 1000) -> Round:
    labels = {"service": "bot"}
    observation = Observation(labels, hits / samples, samples, *wilson(hits, samples))
    return Round(START + hour * HOUR, {"Refusals": [Reading(labels, observation)]})


def two_weeks(*bursts: tuple[int, int]) -> list[Round]:
    """Hourly rounds of 2 % refusals; each burst is an hour and its hits of 1000, for two hours."""
    high = {hour + k: hits for hour, hits in bursts for k in (0, 1)}
    return [seen(hour, high.get(hour, 20)) for hour in range(14 * 24)]


def test_notifications_are_counted_by_week_and_by_what_is_known() -> None:
    known = [
        Incident(name="bad prompt", start=START + 99 * HOUR, end=START + 110 * HOUR),
        Incident(name="missed", start=START + 10 * HOUR, end=START + 20 * HOUR),
        Incident(name="of another rule", start=START + 199 * HOUR, end=START + 210 * HOUR, alerts=("Errors",)),
    ]

    found = backtest([RULE], two_weeks((100, 120), (200, 90)), SPAN, known)

    (line,) = found.rules
    assert (line.past.fired, line.per_week, line.true, line.false) == (2, 1.0, 1, 1)
    assert line.past.open_for == timedelta(hours=4)
    assert [(each.incident, each.rule, each.delay) for each in found.incidents] == [
        ("bad prompt", "Refusals", HOUR),
        ("missed", None, None),
        ("of another rule", None, None),
    ]
    assert [each.incident for each in found.fired] == ["bad prompt", None]


def test_the_proposed_threshold_is_the_lowest_that_fires_as_seldom_as_wanted() -> None:
    past = two_weeks((50, 90), (100, 120), (150, 150), (200, 200))

    one_a_week = propose(RULE, past, SPAN, 1.0)
    never = propose(RULE, past, SPAN, 0.0)

    assert one_a_week is not None and never is not None
    low = [wilson(hits, 1000)[0] for hits in (120, 200)]
    assert one_a_week.threshold == pytest.approx(low[0])  # the bursts of 150 and 200 are beyond it
    assert (one_a_week.per_week, never.per_week) == (1.0, 0.0)
    assert never.threshold == pytest.approx(low[1])


def test_a_rule_that_watches_for_too_little_gets_the_highest_such_threshold() -> None:
    rule = RULE.model_copy(update={"above": None, "below": 0.01})
    past = [seen(hour, 2 if hour in (50, 51) else 5 if hour in (100, 101) else 20) for hour in range(14 * 24)]

    found = propose(rule, past, SPAN, 0.5)

    assert found is not None
    assert found.threshold == pytest.approx(wilson(5, 1000)[1])
    assert found.per_week == 0.5


def test_what_is_inhibited_would_not_have_been_told() -> None:
    other = RULE.model_copy(update={"alert": "Also", "above": 0.04, "inhibited_by": ("Refusals",)})
    past = [Round(each.now, {**each.readings, "Also": each.readings["Refusals"]}) for each in two_weeks((50, 90))]

    together, alone = backtest([other, RULE], past, SPAN).fired, backtest([other], past, SPAN).fired

    assert [each.rule for each in together] == ["Refusals"]
    assert [each.rule for each in alone] == ["Also"]


def test_without_values_nothing_is_proposed_and_failed_rounds_are_said() -> None:
    past = [Round(START, {"Refusals": QueryFailed("no")}), Round(START + HOUR, {"Refusals": []})]

    found = backtest([RULE], past, SPAN, (), 1.0)

    assert found.rules[0].proposal is None
    assert found.rules[0].failed_rounds == 1


def test_it_prints_and_turns_into_json() -> None:
    known = [Incident(name="[red]bad prompt", start=START + 99 * HOUR, end=START + 110 * HOUR)]
    found = backtest([RULE], two_weeks((100, 120)), SPAN, known, 0.5)
    console = Console(width=160, record=True, file=None, quiet=False, force_terminal=False)

    with console.capture() as printed:
        print_backtest(found, [RULE], console)

    text = printed.get()
    assert "told of after 1h by Refusals" in text
    assert "[red]bad" in text
    assert "above: " in text
    assert json.loads(json.dumps(found.as_json()))["incidents"][0]["delay"] == 3600


def test_an_incident_file_is_read_and_its_problems_are_all_named_with_their_lines(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("incidents:\n  - {name: a, start: 2026-03-01T10:00:00, end: 2026-03-01T12:00:00Z}\n")
    bad.write_text(
        "incidents:\n  - {name: a, start: 2026-03-02, end: 2026-03-01}\n  - {name: b, start: 2026-03-01, rule: x}\n"
    )

    (incident,) = read_incidents(good)
    with pytest.raises(ConfigError) as problems:
        read_incidents(bad)

    assert incident.holds(datetime(2026, 3, 1, 11, tzinfo=UTC))
    assert not incident.holds(datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert "bad.yaml:2" in str(problems.value) and "must end after it starts" in str(problems.value)
    assert "bad.yaml:3" in str(problems.value)
