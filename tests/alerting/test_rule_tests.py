"""Unit tests that users write for their rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tidegauge.alerting.rule_tests import run_rule_tests
from tidegauge.cli import app
from tidegauge.errors import ConfigError

RULES = """
groups:
  - name: mine
    rules:
      - {alert: Refusals, metric: refusal_rate, by: [service], above: 0.05, for: 10m,
         severity: page, owner: o, runbook: r, action: a}
      - {alert: Dearer, metric: cost_usd, compare: {offset: 10m, above_ratio: 1.2}, min_samples: 1,
         severity: triage, owner: o, runbook: r, action: a}
      - {alert: Burns, metric: llm_error_rate, by: [service], severity: triage, owner: o, runbook: r, action: a,
         slo: {objective: 0.99, burns: [{budget: 0.02, long: 1h}]}}
      - {alert: Falls, metric: quality_score, by: [name], severity: triage, owner: o, runbook: r, action: a,
         trend: {step: 10m, steps: 4, below_ratio: 0.9}}
      - {alert: Unusual, metric: llm_requests, compare: {season: 3w, below_ratio: 0.8}, min_samples: 1,
         severity: triage, owner: o, runbook: r, action: a}
      - {alert: Silent, metric: llm_requests, by: [service], absent_for: 5m,
         severity: triage, owner: o, runbook: r, action: a}
"""


def write(folder: Path, tests: str) -> Path:
    (folder / "rules.yaml").write_text(RULES)
    path = folder / "rules_test.yaml"
    path.write_text("rule_files: [rules.yaml]\ntests:\n" + tests)
    return path


def one(
    expect: str, values: str = "1/100x3 20/100x5", metric: str = "refusal_rate", labels: str = "{service: s}"
) -> str:
    return f"""
  - name: the test
    every: 5m
    series: [{{metric: {metric}, labels: {labels}, values: {values}}}]
    expect: [{expect}]
"""


@pytest.mark.parametrize(
    ("at", "state"), [("10m", "inactive"), ("15m", "pending"), ("20m", "pending"), ("25m", "firing"), ("35m", "firing")]
)
def test_a_rule_stands_as_its_series_says(tmp_path: Path, at: str, state: str) -> None:
    expected, failures = run_rule_tests(
        write(tmp_path, one(f"{{at: {at}, alert: Refusals, labels: {{service: s}}, state: {state}}}"))
    )

    assert (expected, failures) == (1, [])


@pytest.mark.parametrize(
    ("expect", "values", "metric", "labels"),
    [
        (
            "{at: 55m, alert: Burns, labels: {service: s}, state: inactive}",
            "0/100x11 30/100",
            "llm_error_rate",
            "{service: s}",
        ),
        ("{at: 55m, alert: Burns, labels: {service: s}, state: firing}", "30/100x12", "llm_error_rate", "{service: s}"),
        (
            "{at: 30m, alert: Falls, labels: {name: n}, state: firing}",
            "9@50x2 8@50x2 7@50x2 6@50",
            "quality_score",
            "{name: n}",
        ),
        ("{at: 30m, alert: Falls, labels: {name: n}, state: inactive}", "9@50x7", "quality_score", "{name: n}"),
    ],
)
def test_burn_rates_and_trends_see_several_windows(
    tmp_path: Path, expect: str, values: str, metric: str, labels: str
) -> None:
    assert run_rule_tests(write(tmp_path, one(expect, values, metric, labels))) == (1, [])


def test_a_season_is_the_same_series_a_week_two_and_three_before(tmp_path: Path) -> None:
    expect = "{at: 14d, alert: Unusual, state: insufficient}, {at: 21d, alert: Unusual, state: firing}"
    weekly = one(expect, "1000@1000 5@5x6 1010@1010 5@5x6 990@990 5@5x6 500@500", "llm_requests", "{}")

    assert run_rule_tests(write(tmp_path, weekly.replace("every: 5m", "every: 1d"))) == (2, [])


def test_an_expectation_that_is_not_met_says_what_was_found(tmp_path: Path) -> None:
    path = write(tmp_path, one("{at: 15m, alert: Refusals, labels: {service: s}, state: firing}"))

    _, (failure,) = run_rule_tests(path)

    assert str(failure) == "the test: at 15m Refusals for service=s is pending, expected firing"


def test_compare_sees_the_same_series_earlier_and_absence_sees_holes(tmp_path: Path) -> None:
    dearer = one("{at: 5m, alert: Dearer, state: insufficient}, {at: 15m, alert: Dearer, state: firing}",
                 "10@50x3 13@50", "cost_usd", "{}")  # fmt: skip
    silent = one("{at: 0m, alert: Silent, labels: {service: s}, state: inactive},"
                 "{at: 5m, alert: Silent, labels: {service: s}, state: firing}", "5@5 -", "llm_requests")  # fmt: skip

    assert run_rule_tests(write(tmp_path, dearer.replace("0m, alert: Dearer", "0m, alert: Dearer") + silent))[1] == []


@pytest.mark.parametrize(
    ("tests", "problem"),
    [
        (one("{at: 0m, alert: Nobody, state: firing}"), r"rules_test\.yaml:7: there is no rule 'Nobody'"),
        (one("{at: 7m, alert: Refusals, state: firing}"), "at: 7m is no round; there is one every 5m up to 35m"),
        (one("{at: 0m, alert: Refusals, state: firing}", "120/100"), "hits cannot be more than samples"),
        (one("{at: 0m, alert: Refusals, state: firing}", "a lot"), "'a' is no value: write 5/100"),
        (one("{at: 0m, alert: Refusals, state: burning}"), "expect.1.state"),
        (one("{at: 0m, alert: Refusals, state: firing}", "1/1x999999"), "no more than 100000 rounds"),
        ("  - name: nothing\n", "tests.1.series: Field required"),
    ],
)
def test_what_is_wrong_with_a_test_file_is_said_with_its_line(tmp_path: Path, tests: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        run_rule_tests(write(tmp_path, tests))


def test_the_command_ends_with_1_when_an_expectation_is_not_met(tmp_path: Path) -> None:
    good = write(tmp_path, one("{at: 25m, alert: Refusals, labels: {service: s}, state: firing}"))
    answer = CliRunner().invoke(app, ["rules", "test", str(good)])
    write(tmp_path, one("{at: 15m, alert: Refusals, labels: {service: s}, state: firing}"))
    worse = CliRunner().invoke(app, ["rules", "test", str(good)])

    assert (answer.exit_code, answer.output) == (0, "1 of 1 expectations are met\n")
    assert worse.exit_code == 1
    assert worse.output.endswith("0 of 1 expectations are met\n")
