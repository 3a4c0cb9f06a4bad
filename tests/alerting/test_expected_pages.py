"""The false pages that a rule must be expected to bring: bounds that hold in simulation, and reasons for the rest."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from starlette.testclient import TestClient
from typer.testing import CliRunner

from tidegauge.alerting.backtest import backtest
from tidegauge.alerting.chances import Pace, of_rate, of_ratio, pages, trend_window
from tidegauge.alerting.expected import Basis, Expected, announce, at_level, expectations, expected, few, together
from tidegauge.alerting.incidents import Incident
from tidegauge.alerting.remembered import by_events, remembered
from tidegauge.alerting.replay import Round
from tidegauge.alerting.rules import Rule, Severity, check_rules
from tidegauge.alerting.states import Reading
from tidegauge.app import Service
from tidegauge.cli import app
from tidegauge.clock import ReplayClock
from tidegauge.config import Detectors, Settings, Watch
from tidegauge.dashboards.page import create_app
from tidegauge.dashboards.page.rules import Past
from tidegauge.metrics import Observation, wilson
from tidegauge.model import Window
from tidegauge.responses import Action, Response, write
from tidegauge.store import Store

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
SIMULATED = importlib.import_module("expected_pages")

WHO = {"severity": "page", "owner": "o", "runbook": "r", "action": "a"}
START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rule(**values: Any) -> Rule:
    return Rule.model_validate({"alert": "R", "metric": "refusal_rate", **WHO} | values)


def said(**values: Any) -> Expected:
    return expected(rule(**values), Detectors(), 30)


def hours(rates: Sequence[float], rng: np.random.Generator, weeks: int = 4, samples: int = 400) -> list[Round]:
    """Hourly rounds of a rate that goes through ``rates`` in turn."""
    found = []
    for i in range(weeks * 168):
        hits = int(rng.binomial(samples, rates[i % len(rates)]))
        seen = Observation({}, hits / samples, samples, *wilson(hits, samples))
        found.append(Round(START + i * HOUR, {"R": [Reading({}, seen)]}))
    return found


@pytest.mark.parametrize("name", ["rate, few samples", "rate, for one window", "rate at its level", "error budget"])
def test_streams_in_which_nothing_is_wrong_bring_no_more_pages_than_promised(
    name: str, rng: np.random.Generator
) -> None:
    (case,) = [each for each in SIMULATED.CASES if each.name == name]

    outcome = SIMULATED.run(case, weeks=0.15 if case.every_s < 60 else 1, series=1, rng=rng)

    assert outcome.holds, outcome


def test_a_bound_from_history_is_too_low_no_more_often_than_it_says(rng: np.random.Generator) -> None:
    assert SIMULATED.remember(15, rng).holds


def test_a_rate_counts_every_number_of_samples_from_the_least_on() -> None:
    worst = float(np.max(of_rate(0.05, 0.05, 50).sure))

    found = 0.0
    for samples in range(50, 3000):
        enough = next(hits for hits in range(samples) if wilson(hits, samples)[0] > 0.05)
        found = max(found, float(binom.sf(enough - 1, samples, 0.05)))
    assert worst == pytest.approx(found)
    assert np.max(of_rate(0.95, 0.95, 50, upward=False).sure) == pytest.approx(worst)


@pytest.mark.parametrize("upward", [True, False])
def test_a_ratio_of_two_rates_is_surely_beyond_as_often_as_draws_say(upward: bool, rng: np.random.Generator) -> None:
    ratio = 1.5 if upward else 0.5
    draws = np.stack([rng.binomial(100, 0.1 * ratio, 40_000), rng.binomial(100, 0.1, 40_000)], axis=1)
    ends = np.asarray([wilson(hits, 100) for hits in range(101)])

    now, before = ends[draws[:, 0]], ends[draws[:, 1]]
    beyond = now[:, 0] > ratio * before[:, 1] if upward else now[:, 1] < ratio * before[:, 0]

    assert np.mean(beyond) <= np.max(of_ratio(ratio, 100, upward=upward).sure)


def test_more_windows_in_for_and_a_further_level_make_fewer_pages() -> None:
    lasting = [said(above=0.05, window="15m", min_samples=50, **{"for": each}) for each in ("0s", "15m", "30m", "1h")]
    levels = [at_level(rule(above=0.05, window="15m"), level, 50, 30) for level in (0.05, 0.03, 0.005)]

    numbers = [each.per_week or 0.0 for each in lasting]
    assert numbers == sorted(numbers, reverse=True) and numbers[-1] < 0.1 < numbers[0]
    assert levels == sorted(levels, reverse=True) and levels[-1] < 0.1
    assert "0.1 while it stays below 0.7 %" in lasting[0].why


def test_pages_are_never_more_than_their_length_allows() -> None:
    often = of_rate(0.05, 0.5, 50)

    assert pages(often, Pace(60, 3600, 30, 3570)) == pytest.approx(168 / 2)


def test_a_trend_forgets_more_slowly_than_one_step() -> None:
    assert timedelta(days=1) < timedelta(seconds=trend_window(14, timedelta(days=1), 0.95)) < timedelta(days=14)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"metric": "latency_p95", "above": 20}, "has no interval, so its own course must say"),
        ({"metric": "cost_usd", "compare": {"offset": "7d", "above_ratio": 1.2}}, "has no interval"),
        ({"metric": "prediction_volume", "absent_for": "1h"}, "at least 10 records in 1h that come at random"),
        ({"metric": "undetermined_share", "above": 0.5}, "are not independent"),
        ({"metric": "drift_findings", "below": 1}, "only above a number of findings"),
        ({"above": -1}, "every value is beyond the threshold"),
    ],
)
def test_what_cannot_be_said_is_said_with_its_reason(values: dict[str, Any], reason: str) -> None:
    found = said(**values)

    assert (found.per_week, found.basis) == (None, Basis.UNKNOWN)
    assert found.line().startswith("R: false pages a week unknown: ")
    assert reason in found.why


def test_every_form_of_the_starter_rules_has_a_number_or_a_reason() -> None:
    found = expectations(check_rules([]), Detectors(), 30)

    assert all(each.why for each in found)
    assert all((each.per_week is None) is (each.basis is Basis.UNKNOWN) for each in found)
    assert {each.basis for each in found} >= {Basis.INTERVAL, Basis.DETECTORS, Basis.FACT, Basis.UNKNOWN}
    paging = sum(each.severity is Severity.PAGE for each in check_rules([]))
    assert together(found)[0].startswith(f"{paging} rules together: at most ")


def test_statistical_rules_have_the_detectors_stated_rates() -> None:
    settings = Detectors(false_pages_per_month=0, models=(Watch(step_hours=24),))
    drift = expected(rule(metric="drift_findings", by=["subject"], above=0), settings, 30)
    performance = expected(rule(metric="performance", below=0.9), settings, 30)

    assert drift.per_week == pytest.approx(0.35)
    assert performance.per_week == pytest.approx(7 * 0.025)
    assert drift.each == "each model or service"


def test_a_calm_history_gives_the_level_and_one_that_more_than_chance_moves_gives_the_count(
    rng: np.random.Generator,
) -> None:
    watched = rule(above=0.06, window="1h")
    span, prior = Window(START, START + timedelta(weeks=4)), expected(watched, Detectors(), 30)

    calm = remembered(watched, prior, 0, hours([0.01], rng), span)
    moved = remembered(watched, prior, 0, hours([0.005] * 12 + [0.03] * 12, rng), span)

    assert calm.basis is Basis.LEVEL and calm.per_week is not None and calm.per_week < 1e-3
    assert moved.basis is Basis.HISTORY and moved.per_week == pytest.approx(0.75, rel=0.01)
    assert "it fired 0 times in 4.0 weeks of history" in moved.why


def test_a_calm_history_keeps_a_smaller_promise_for_all_series_that_there_are(rng: np.random.Generator) -> None:
    watched = rule(window="1d", compare={"offset": "7d", "above_ratio": 1.5}, min_samples=200)
    seen = [
        Reading({"service": name}, *(Observation({}, 0.02, 9000, *wilson(180, 9000)),) * 2) for name in ("shop", "bot")
    ]
    past = [Round(START + i * HOUR, {"R": seen}) for i in range(168)]
    prior = expected(watched, Detectors(), 30)

    found = remembered(watched, prior, 0, past, Window(START, START + 167 * HOUR))

    assert (found.basis, found.each) == (Basis.INTERVAL, "all 2 series")
    assert prior.per_week and found.per_week == 2 * prior.per_week < 3


def test_less_than_a_week_of_history_says_nothing(rng: np.random.Generator) -> None:
    watched = rule(metric="latency_p95", above=20)
    span = Window(START, START + timedelta(weeks=4))

    found = remembered(watched, expected(watched, Detectors(), 30), 0, [Round(START, {"R": []})], span)

    assert found.per_week is None
    assert found.why.startswith("no history yet, backtest it after a week; ")


def test_a_backtest_takes_what_fired_in_known_incidents_for_true(rng: np.random.Generator) -> None:
    past = hours([0.01], rng)
    for i in range(200, 204):
        past[i] = Round(past[i].now, {"R": [Reading({}, Observation({}, 0.5, 400, *wilson(200, 400)))]})
    span, watched = Window(START, START + timedelta(weeks=4)), rule(above=0.06, window="1h")
    priors = expectations([watched], Detectors(), 30)
    known = Incident(name="bad", start=START + 199 * HOUR, end=START + 205 * HOUR)

    with_it = backtest([watched], past, span, [known], priors=priors).rules[0].expected
    without = backtest([watched], past, span, priors=priors).rules[0].expected

    assert with_it and with_it.basis is Basis.LEVEL
    assert without and without.basis is Basis.HISTORY and (without.per_week or 0) > 1


def test_bounds_from_history_are_added_as_one_bound(rng: np.random.Generator) -> None:
    one = Expected("R", "page", 0.75, Basis.HISTORY, "", "", fired=0, weeks=4.0)

    assert together([one, one]) == ["2 rules together: at most 0.75 false pages a week"]


def test_checking_a_file_shows_each_rule_and_their_sum(tmp_path: Path) -> None:
    rules = [
        {"alert": "D", "metric": "drift_findings", "by": ["subject"], "above": 0, **WHO},
        {"alert": "L", "metric": "latency_p95", "above": 20, **WHO},
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))

    shown = CliRunner().invoke(app, ["rules", "check", str(path)]).stdout
    data = json.loads(CliRunner().invoke(app, ["rules", "check", str(path), "--json"]).stdout)

    assert "D: at most 0.59 false pages a week for each model or service: the detectors' stated rate" in shown
    assert "L: false pages a week unknown: LLM latency" in shown
    assert "2 rules together: at most 0.59 false pages a week; of 1 it is unknown" in shown
    assert [each["most"] for each in data["rules"]] == ["0.59", ""]


def test_loading_rules_says_it_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tidegauge.alerting"):
        announce([said(above=0.05)])

    assert "alerting: R: at most " in caplog.text
    assert "1 rules together: at most" in caplog.text


def test_the_page_and_the_api_show_what_is_expected_beside_how_often_it_fired(store: Store) -> None:
    expected = said(above=0.05, window="1h", by=["service"])
    event = {"rule": "R", "fingerprint": "f" * 32, "labels": {}, "state": "firing", "notice": "fire"}
    hours = (("fire", 3), ("fire", 2), ("fire", 1), ("", 14 * 24), ("fire", 40 * 24), ("", 50 * 24), ("", 60 * 24))
    store.insert("alert_events", [event | {"timestamp": START - ago * HOUR, "notice": notice} for notice, ago in hours])
    answers = [Action.FALSE, Action.TRUE, Action.TRUE, Action.FALSE]
    for minutes, (ago, action) in enumerate(zip((3, 3, 2, 2), answers, strict=True)):
        at = START + timedelta(minutes=minutes)
        write(store, Response(at, "R", "f" * 32, {}, START - ago * HOUR, action, "ann"))

    def watched(past: Mapping[str, Past]) -> dict[str, Any]:
        bound = by_events(past["R"].unexplained, past["R"].weeks)
        return {"rules": [expected.as_json() | {"seen": bound}], "together": together([expected])}

    clock = ReplayClock(START, frozen=True)
    browser = TestClient(create_app(store, Settings(), clock, watched=watched))

    answer = browser.get("/api/rules").json()
    (found,) = answer["rules"]
    shown = browser.get("/alerts").text

    assert (found["rule"], found["fired"], found["series"], answer["days"]) == ("R", 3, 1, 28)
    assert (found["unexplained"], found["weeks"], found["seen"]) == (2, 4.0, "1.6")
    assert '<td class="num">1.6</td>' in shown
    assert found["per_week"] == expected.per_week
    assert "False a week, at most" in shown and few(expected.per_week or 0) in shown and "each service" in shown
    assert answer["together"] == together([expected]) and answer["together"][0] in shown


def test_a_page_without_the_loop_shows_the_rules_or_that_they_cannot_be_read(tmp_path: Path) -> None:
    missing = Settings.model_validate({"alerting": {"rules": [str(tmp_path / "none.yaml")]}})

    known = Service.__new__(Service)
    known.settings = Settings()
    lost = Service.__new__(Service)
    lost.settings = missing

    rows = known._watched({"No predictions": Past(1, 1, 1, 2.0), "Sink stalled": Past(weeks=0.5)})["rules"]
    assert len(rows) == len(check_rules([]))
    assert {each["rule"]: each["seen"] for each in rows if each["seen"]} == {"No predictions": "2.4"}
    assert lost._watched({})["rules"] == []
    assert lost._watched({})["together"][0].startswith("The rule files cannot be read where the page runs.")


def test_numbers_are_rounded_up() -> None:
    assert [few(each) for each in (0, 1e-7, 0.2401, 1.0, 10.01, 1234.5)] == [
        "0", "0.0001", "0.25", "1", "11", "1,235",
    ]  # fmt: skip
