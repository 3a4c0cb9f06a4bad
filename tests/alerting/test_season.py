"""The same hour of the weeks before as what is usual: its interval, its weeks, and what is left out of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genai_calls import insert_calls
from scipy.stats import binom

from tidegauge.alerting import AlertLoop, Rule
from tidegauge.alerting.backtest import propose
from tidegauge.alerting.chances import of_season
from tidegauge.alerting.expected import Basis, expected
from tidegauge.alerting.readings import Observer
from tidegauge.alerting.replay import Round
from tidegauge.alerting.rules import check_rules
from tidegauge.alerting.season import quantile, usual
from tidegauge.alerting.seen import seen
from tidegauge.alerting.states import Reading
from tidegauge.alerting.verdicts import Holds, judge
from tidegauge.config import Alerting, Detectors, Incident
from tidegauge.errors import ConfigError
from tidegauge.incidents import Incidents
from tidegauge.metrics import METRICS, Kind, Observation, wilson
from tidegauge.metrics.intervals import weighted_mean
from tidegauge.model import Window
from tidegauge.store import Store

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)
WHO = {"severity": "page", "owner": "o", "runbook": "r", "action": "a"}
RATE = {"metric": "refusal_rate", "compare": {"season": "4w", "above_ratio": 1.5}}


def rule(**values: Any) -> Rule:
    return Rule.model_validate({"alert": "R", "window": "1h", **WHO} | values)


def rate(hits: int, samples: int) -> Observation:
    return Observation({}, hits / samples, samples, *wilson(hits, samples))


def rates(levels: Iterable[float], samples: int, rng: np.random.Generator) -> list[Observation]:
    return [rate(int(rng.binomial(samples, each)), samples) for each in levels]


def scores(level: float, samples: int, rng: np.random.Generator) -> Observation:
    x = rng.normal(level, 0.2, samples)
    sums = (float(x.sum()), float(samples), float(x.sum()), float((x * x).sum()))
    return Observation({}, float(x.mean()), samples, *weighted_mean(samples, sums, samples)[1:])


def refusals(store: Store, weeks: Sequence[tuple[int, int]], service: str = "shop") -> None:
    """Refused and all calls of the last hour, then of the same hour of each week before."""
    rows = [
        {"timestamp": NOW - back * WEEK - HOUR / 2, "trace_id": f"{service}{back}.{i}", "service": service}
        | {"kind": "llm", "refused": i < refused}
        for back, (refused, of) in enumerate(weeks)
        for i in range(of)
    ]
    insert_calls(store, rows)


@pytest.fixture
def loops(store: Store) -> Iterator[list[AlertLoop]]:
    built: list[AlertLoop] = []
    yield built
    for loop in built:
        loop.close()


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.4])
def test_the_interval_holds_the_true_rate_of_one_more_week(spread: float, rng: np.random.Generator) -> None:
    held, repeats = 0, 400
    for _ in range(repeats):
        levels = 0.1 * np.exp(spread * rng.normal(size=5))
        found = usual(rates(levels[1:], 500, rng), Kind.RATE)
        held += found.low <= levels[0] <= found.high

    assert held >= binom.ppf(0.001, repeats, 0.93)


def test_the_next_value_of_a_metric_without_an_interval_lies_in_that_of_its_weeks(rng: np.random.Generator) -> None:
    held, repeats = 0, 600
    for _ in range(repeats):
        costs = 100 + 15 * rng.normal(size=6)
        found = usual([Observation({}, float(each), 50) for each in costs[1:]], Kind.SUM)
        held += found.low <= costs[0] <= found.high

    assert binom.ppf(0.001, repeats, 0.94) <= held <= binom.ppf(0.999, repeats, 0.98)


def test_a_mean_of_weeks_that_differ_is_less_certain_than_one_of_weeks_that_are_alike(rng: np.random.Generator) -> None:
    alike = usual([scores(0.7, 400, rng) for _ in range(4)], Kind.MEAN)
    differ = usual([scores(each, 400, rng) for each in (0.6, 0.8, 0.65, 0.75)], Kind.MEAN)

    assert alike.value == pytest.approx(0.7, abs=0.05)
    assert differ.high - differ.low > 3 * (alike.high - alike.low)  # type: ignore[operator]


def test_weeks_that_differ_weigh_more_alike_than_their_samples() -> None:
    found = usual([rate(10, 100), rate(30, 100), rate(5000, 10_000)], Kind.RATE)

    assert 0.25 < (found.value or 0) < 0.35
    assert found.samples == 10_200


def test_a_count_scatters_no_less_than_poisson_says() -> None:
    found = usual([Observation({}, 5.0, 5)] * 4, Kind.COUNT)
    same = usual([Observation({}, 5.0, 5)] * 4, Kind.SUM)

    assert (found.high or 0) > 5 * np.exp(quantile(4) * np.sqrt(5 * 1.25) / 5) * 0.999
    assert (same.low, same.high) == (5.0, 5.0)


@pytest.mark.parametrize("hits", [0, 100])
def test_weeks_at_an_end_of_the_scale_have_a_finite_interval(hits: int) -> None:
    found = usual([rate(hits, 100)] * 3, Kind.RATE)

    assert found.low is not None and found.high is not None
    assert 0 <= found.low <= (found.value or 0) <= found.high <= 1


@pytest.mark.parametrize("values", [(0.0, 0.0, 0.0), (-1.0, 0.5, 0.2), (1e-300, 1e300, 1.0)])
def test_values_of_any_size_make_no_failure(values: tuple[float, ...]) -> None:
    found = usual([Observation({}, each, 50) for each in values], Kind.SUM)

    assert (found.low is None) is ((found.value or 0) <= 0)


def test_a_rule_reads_the_same_hour_of_every_week_for_each_slice(store: Store, loops: list[AlertLoop]) -> None:
    refusals(store, [(60, 200), *[(10, 200)] * 4])
    refusals(store, [(60, 200), *[(60, 200)] * 4], "bot")
    loops.append(AlertLoop(store, Alerting(), rules=[rule(by=["service"], **RATE)]))

    (fired,) = [each for each in loops[0].run(NOW) if each.notice]

    assert fired.labels == {"service": "shop"}
    assert fired.threshold == pytest.approx(0.075)
    assert "30 % of 200 (24.1 % to 36.7 %) against 5 % of 800 (" in fired.reason
    assert "in the same hour of the last 4 weeks, 6 times: above 1.5 times" in fired.reason


def test_weeks_in_a_known_incident_are_left_out_of_what_is_usual(store: Store, loops: list[AlertLoop]) -> None:
    refusals(store, [(60, 200), (10, 200), (190, 200), (12, 200), (9, 200)])
    incident = Incident(name="outage", start=NOW - 2 * WEEK - HOUR / 4, end=NOW - 2 * WEEK + HOUR)
    told = []
    for known in ([], [incident]):
        loops.append(AlertLoop(store, Alerting(), rules=[rule(**RATE)], incidents=Incidents(known)))
        told.append([each.reason for each in loops[-1].run(NOW) if each.notice])
        loops[-1].close()

    without, ((reason,)) = told
    assert without == []
    assert "in the same hour of 3 of the last 4 weeks" in reason


def test_an_incident_of_another_model_leaves_nothing_out(store: Store) -> None:
    rows = [
        {"timestamp": NOW - back * WEEK - HOUR / 2, "prediction_id": f"{model}{back}", "model": model}
        for back in range(4)
        for model in ("flights", "prices")
    ]
    store.insert("predictions", rows)
    known = [Incident(name="n", start=NOW - WEEK - HOUR, end=NOW - WEEK, models=("flights",))]
    values = {"metric": "prediction_volume", "compare": {"season": "3w", "below_ratio": 0.5}}

    def weeks(**more: Any) -> dict[str, int]:
        found = Observer(store, NOW, known).readings(rule(**values, **more))
        assert isinstance(found, list)
        return {each.labels.get("model", ""): len(each.parts) for each in found}

    assert weeks(by=["model"]) == {"flights": 2, "prices": 3}
    assert weeks() == {"": 2}
    assert weeks(where={"model": "prices"}) == {"": 3}


def test_absence_leaves_out_the_same_weeks(store: Store) -> None:
    rows = [{"timestamp": NOW - WEEK - HOUR / 2, "prediction_id": "a", "model": "m"}]
    store.insert("predictions", rows)
    silent = rule(metric="prediction_volume", absent_for="1h", season="2w", seen_within="14d", min_samples=1)
    known = [Incident(name="n", start=NOW - 2 * WEEK - HOUR, end=NOW - 2 * WEEK)]

    answers = []
    for incidents in ([], known):
        (reading,) = Observer(store, NOW, incidents).readings(silent)  # type: ignore[misc]
        answers.append(judge(silent, reading))

    assert [each.holds for each in answers] == [Holds.UNSURE, Holds.YES]
    assert "against 1 and 0 in the same stretch of the 2 weeks before: more than half" in answers[0].reason
    assert answers[1].reason.endswith(
        "against 1 in the same stretch of the 2 weeks before, 1 left out for known incidents"
    )


def test_a_query_that_fails_in_one_week_fails_the_rule(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals(store, [(60, 200), *[(10, 200)] * 4])
    rows, asked = store.rows, []

    def failing(sql: str, params: Any = None) -> Any:
        asked.append(sql)
        if len(asked) == 3:
            raise RuntimeError("boom")
        return rows(sql, params)

    monkeypatch.setattr(store, "rows", failing)

    found = Observer(store, NOW).readings(rule(**RATE))

    assert str(getattr(found, "reason", "")) == "boom"


def test_every_metric_can_be_compared_with_its_season(store: Store) -> None:
    for metric in METRICS:
        found = Observer(store, NOW).readings(rule(metric=metric, compare={"season": "3w", "below_ratio": 0.5}))

        assert isinstance(found, list), (metric, found)


def test_what_a_rule_saw_is_found_again_without_known_incidents(store: Store) -> None:
    refusals(store, [(60, 200), (10, 200), (190, 200), (12, 200), (9, 200)])
    known = [Incident(name="outage", start=NOW - 2 * WEEK - HOUR, end=NOW - 2 * WEEK)]

    (found,) = seen(store, rule(**RATE), Window(NOW, NOW + timedelta(minutes=1)), {}, known)

    assert found.held >= 1
    assert "3 of the last 4 weeks" in found.closest[1]


def test_a_threshold_is_proposed_for_a_season() -> None:
    weeks = tuple(rate(50, 1000) for _ in range(4))
    past = [
        Round(NOW + i * HOUR, {"R": [Reading({}, rate(hits, 1000), parts=weeks)]})
        for i, hits in enumerate((50, 90, 50, 150, 50, 51))
    ]

    found = propose(rule(**RATE), past, Window(NOW, NOW + timedelta(days=7)), 1.0)

    assert found and found.per_week == 1.0
    assert 1 < found.threshold < 3


def test_pages_without_history_are_said_for_metrics_with_and_without_an_interval() -> None:
    for metric in ("refusal_rate", "quality_score", "cost_usd", "latency_p95", "llm_requests"):
        found = expected(rule(metric=metric, compare=RATE["compare"], by=[]), Detectors(), 30)

        assert found.basis is Basis.INTERVAL, metric
        assert "one more week like the 4 before" in found.why
    longer = [expected(rule(**RATE, **{"for": each}), Detectors(), 30).per_week or 0 for each in ("0s", "1h", "3h")]
    assert longer[0] > longer[1] == longer[2]


def test_one_more_week_is_surely_beyond_as_seldom_as_the_bound_says(rng: np.random.Generator) -> None:
    (bound,) = of_season(4).sure
    beyond, repeats = 0, 2000
    for spread in (0.0, 0.2):
        for _ in range(repeats // 2):
            levels = 0.2 * np.exp(spread * rng.normal(size=5))
            now, *weeks = rates(levels, 300, rng)
            reading = Reading({}, now, parts=tuple(weeks))
            condition = {"metric": "refusal_rate", "compare": {"season": "4w", "above_ratio": 1.0}}
            beyond += judge(rule(**condition), reading).holds is Holds.YES

    assert bound < 0.05
    assert binom.sf(beyond - 1, repeats, bound) > 1e-3


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("compare: {above_ratio: 1.2}", ":6: groups.1.rules.1.compare: needs offset or season, one of them"),
        ("compare: {offset: 7d, season: 4w, above_ratio: 1.2}", ":6: groups.1.rules.1.compare: needs offset or season"),
        ("compare: {season: 2w, above_ratio: 1.2}", ":6: groups.1.rules.1.compare: season: needs 3w or more"),
        ("compare: {season: 10d, above_ratio: 1.2}", ":6: groups.1.rules.1.compare.season: must be whole weeks, 1w to"),
        ("compare: {season: 13w, above_ratio: 1.2}", ":6: groups.1.rules.1.compare.season: must be whole weeks, 1w to"),
        (
            "compare: {season: 4w, other: service, above_ratio: 1}",
            ":6: groups.1.rules.1.compare: other goes with offset",
        ),
        ("compare: {season: 4w, above_ratio: 1.2}\n        window: 8d", ":4: groups.1.rules.1: window: must be 1w or"),
        ("absent_for: 1h\n        season: 1d", ":7: groups.1.rules.1.season: must be whole weeks"),
        ("absent_for: 8d\n        seen_within: 20d\n        season: 1w", ":4: groups.1.rules.1: season goes with"),
    ],
)
def test_a_wrong_season_is_refused_at_its_line(tmp_path: Path, condition: str, problem: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        f"groups:\n  - name: g\n    rules:\n      - alert: R\n        metric: refusal_rate\n        {condition}\n"
        "        by: [service]\n        severity: page\n        owner: o\n        runbook: r\n        action: a\n"
    )

    with pytest.raises(ConfigError) as caught:
        check_rules([path])

    (found,) = caught.value.problems
    assert found.startswith(f"{path}{problem}")
