"""Burn rates, trends and comparisons of versions: refused where they cannot fire, and read from stored rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import isclose
from typing import Any

import numpy as np
import pytest
from genai_calls import insert_calls
from scipy import stats

from tidegauge.alerting import Rule, State
from tidegauge.alerting.burning import fit
from tidegauge.alerting.evaluate import evaluate
from tidegauge.alerting.forms import Slo
from tidegauge.alerting.readings import Observer
from tidegauge.metrics import Observation
from tidegauge.store import Store

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
WHO = {"severity": "page", "owner": "o", "runbook": "r", "action": "a"}


def rule(**values: Any) -> Rule:
    return Rule.model_validate({"alert": "R", "metric": "refusal_rate", **WHO} | values)


def calls(store: Store, of: int, refused: int, at: datetime, **columns: Any) -> None:
    rows = [
        {"timestamp": at, "trace_id": f"{at}{columns}{i}", "service": "shop", "kind": "llm", "refused": i < refused}
        | columns
        for i in range(of)
    ]
    insert_calls(store, rows)


def states(store: Store, each: Rule, now: datetime = NOW) -> dict[str, tuple[State, str]]:
    found, transitions = evaluate([each], {each.alert: Observer(store, now).readings(each)}, {}, now)
    reasons = {one.fingerprint: one.reason for one in transitions}
    return {"/".join(s.labels.values()): (s.state, reasons.get(key, "")) for key, s in found.items()}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"slo": {"objective": 0.9, "burns": [{"budget": 0.02, "long": "1h"}]}}, "is never more than 10: with this"),
        ({"slo": {"objective": 0.99, "burns": [{"budget": 0.5, "long": "40d"}]}}, "between 12m and the period"),
        ({"slo": {"objective": 0.99}, "metric": "latency_p95"}, "slo needs a metric that is a share of bad records"),
        ({"slo": {"objective": 0.99}, "above": 0.1}, "found above and slo"),
        ({"slo": {"objective": 1}}, "less than 1"),
        ({"trend": {"steps": 14}}, "above_ratio or below_ratio"),
        ({"compare": {"offset": "7d", "above_ratio": 1.1, "other": "model"}}, "model must be one of by"),
    ],
)
def test_a_condition_that_can_never_hold_or_makes_no_sense_is_refused_on_load(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError) as error:
        rule(**changes)
    assert problem in str(error.value)


@pytest.mark.parametrize("objective", [0.5, 0.8, 0.9, 0.92, 0.93, 0.95, 0.99, 0.999])
def test_every_usual_burn_can_be_reached_whatever_the_objective(objective: float) -> None:
    slo = Slo(objective=objective)

    assert all(0 < limit < 1 for _, limit in slo.limits())
    if objective > 0.94:
        factors = [round(limit / (1 - objective), 3) for _, limit in slo.limits()]
        assert factors == [14.4, 6.0, 3.0, 1.0]


def test_a_burn_is_read_from_stored_calls_in_its_two_windows(store: Store) -> None:
    burning = rule(by=["service"], slo={"objective": 0.99, "burns": [{"budget": 0.02, "long": "1h"}]})
    calls(store, 400, 0, NOW - timedelta(minutes=50))
    calls(store, 400, 200, NOW - timedelta(minutes=20))
    before = states(store, burning, NOW - timedelta(minutes=10))
    calls(store, 100, 60, NOW - timedelta(minutes=2))

    state, reason = states(store, burning)["shop"]

    assert before["shop"][0] is State.INSUFFICIENT  # nothing in the last five minutes
    assert state is State.FIRING
    assert reason.startswith("over 1h and 5m: 28.9 % bad of 900 (28.9 times) and 60 % bad of 100 (60 times)")


def test_a_trend_is_read_from_stored_days(store: Store) -> None:
    falling = rule(metric="cost_usd", trend={"step": "1d", "steps": 5, "below_ratio": 0.8}, min_samples=1)
    for day in range(5):
        calls(store, 10, 0, NOW - timedelta(days=4 - day, hours=2), cost_usd=1.0 - 0.1 * day)

    state, reason = states(store, falling)[""]

    assert state is State.FIRING
    assert reason.startswith("from USD 10.00 to USD 6.00 over 4d, 0.6 times (0.6 to 0.6): below 0.8 times")


def test_a_new_version_is_compared_with_the_one_that_ran_before_and_an_old_one_with_itself(store: Store) -> None:
    worse = rule(
        by=["service", "prompt_version"],
        window="1d",
        compare={"offset": "1d", "above_ratio": 1.5, "other": "prompt_version"},
    )
    calls(store, 1000, 50, NOW - timedelta(hours=30), prompt_version="v1")
    calls(store, 100, 40, NOW - timedelta(hours=30), prompt_version="canary")
    calls(store, 1000, 50, NOW - timedelta(hours=3), prompt_version="v1")
    calls(store, 1000, 200, NOW - timedelta(hours=3), prompt_version="v2")

    found = states(store, worse)

    assert found["shop/v2"][0] is State.FIRING
    assert "against 5 % 1d before with prompt_version v1, 4 times" in found["shop/v2"][1]
    assert found["shop/v1"][0] is State.INACTIVE


def test_a_lines_ends_and_interval_agree_with_scipy(rng: np.random.Generator) -> None:
    x = np.arange(12.0)
    y = 10 - 0.2 * x + rng.normal(0, 0.1, 12)
    seen = [Observation({}, float(value), 100) for value in y]

    line = fit(list(x), seen, 11)

    assert line
    expected = stats.linregress(x, y)
    assert isclose(line.start, expected.intercept, rel_tol=1e-9)
    assert isclose(line.end, expected.intercept + 11 * expected.slope, rel_tol=1e-9)


def test_a_flat_noisy_line_is_called_a_trend_about_as_often_as_its_interval_says(rng: np.random.Generator) -> None:
    """A ratio of 1 lies below the lower end, or above the upper one, in 2.5 % each of 2,000 draws."""
    errors = rng.normal(0, 0.05, (2000, 14))
    lines = [fit(list(range(14)), [Observation({}, 1 + e, 100) for e in row], 13) for row in errors]

    above = sum(line is not None and line.high < 1 for line in lines)
    below = sum(line is not None and line.low > 1 for line in lines)

    low, high = stats.binom.interval(0.9999, 2000, 0.025)
    assert low <= above <= high and low <= below <= high
