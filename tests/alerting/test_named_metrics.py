"""Named metrics against hand-made rows: values, intervals, slices, and what happens when there is nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from genai_calls import insert_calls

from tidegauge.errors import ConfigError
from tidegauge.metrics import METRICS, Observation, observe, wilson
from tidegauge.metrics.query import choose, statement
from tidegauge.model import Window
from tidegauge.store import Store

END = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = Window(END - timedelta(hours=1), END)
AT = END - timedelta(minutes=5)


def one(store: Store, metric: str, window: Window = HOUR, **where: str) -> Observation:
    (found,) = observe(store, METRICS[metric], [], window, where)
    return found


def llm(store: Store, *rows: dict[str, Any], at: datetime = AT) -> None:
    base = {
        "timestamp": at, "service": "shop", "kind": "llm", "name": "", "prompt_version": "", "refused": False,
        "blocked": False,
        "error_type": "", "duration_s": 1.0, "time_to_first_token_s": None, "input_tokens": 0, "output_tokens": 0,
        "cache_read_tokens": 0, "cost_usd": 0.0, "slices": {}, "versions": {},
    }  # fmt: skip
    insert_calls(store, [base | row for row in rows])


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_gives_nothing_and_not_zero_for_an_empty_window(store: Store, name: str) -> None:
    assert observe(store, METRICS[name], [], HOUR) == []


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_runs_by_and_where_for_each_of_its_dimensions(store: Store, name: str) -> None:
    hostile = "') OR 1=1 -- ` \0"
    odd = Window(HOUR.start + timedelta(seconds=1), HOUR.end)

    for dimension in METRICS[name].dimensions:
        each = dimension.replace("*", "it's `odd`")
        assert observe(store, METRICS[name], [each], HOUR, {each: hostile}) == []
        assert observe(store, METRICS[name], [each], odd) == []


def test_a_rate_comes_with_its_wilson_interval_and_per_slice(store: Store) -> None:
    llm(store, *({"refused": i < 8, "prompt_version": "v2"} for i in range(100)), {"prompt_version": "v1"})

    found = observe(store, METRICS["refusal_rate"], ["service", "prompt_version"], HOUR)

    assert [each.labels["prompt_version"] for each in found] == ["v2", "v1"]
    assert (found[0].value, found[0].samples) == (0.08, 100)
    assert (found[0].low, found[0].high) == pytest.approx((0.0411, 0.1500), abs=1e-4)


def test_the_rollup_and_the_rows_agree(store: Store, rng: np.random.Generator) -> None:
    llm(store, *({"refused": bool(rng.random() < 0.3), "error_type": "e" if rng.random() < 0.2 else "",
                  "duration_s": float(rng.exponential()), "cost_usd": float(rng.random()), "slices": {"x": "y"},
                  "input_tokens": int(rng.integers(1, 99)), "cache_read_tokens": 1} for _ in range(500)))  # fmt: skip

    for name, metric in METRICS.items():
        if len(metric.sources) == 2:
            fast, slow = (observe(store, metric, [], HOUR, where) for where in ({}, {"slice.x": "y"}))
            assert [each.samples for each in fast] == [each.samples for each in slow], name
            assert [each.value for each in fast] == pytest.approx([each.value for each in slow], rel=1e-2), name


def test_rates_read_the_rollup_and_slices_or_odd_windows_the_rows() -> None:
    odd = Window(HOUR.start, HOUR.end + timedelta(seconds=1))

    assert choose(METRICS["refusal_rate"], ["service"], HOUR).name == "llm_calls_1m"
    assert choose(METRICS["refusal_rate"], ["slice.carrier"], HOUR).name == "llm_calls"
    assert choose(METRICS["refusal_rate"], ["service"], odd).name == "llm_calls"


def test_names_from_outside_travel_as_parameters_only() -> None:
    sql, params = statement(METRICS["refusal_rate"], ["slice.x'); DROP"], HOUR, {"version.y`": "z--"})

    assert "DROP" not in sql
    assert "`" not in sql
    assert {"x'); DROP", "y`", "z--"} <= set(map(str, params.values()))


def test_an_unknown_dimension_is_refused_with_those_there_are(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"planet; there are service, kind, name"):
        observe(store, METRICS["refusal_rate"], ["planet"], HOUR)


def test_the_window_is_half_open(store: Store) -> None:
    llm(store, {}, at=HOUR.start)
    llm(store, {}, at=HOUR.end)

    assert one(store, "llm_requests").value == 1


def test_tokens_cost_and_cache_are_sums_over_the_window(store: Store) -> None:
    llm(store, *[{"input_tokens": 100, "output_tokens": 20, "cache_read_tokens": 25, "cost_usd": 0.5}] * 6)

    assert one(store, "tokens_per_minute").value == pytest.approx(12.0)
    assert one(store, "cost_usd").value == pytest.approx(3.0)
    assert one(store, "cost_per_request").value == pytest.approx(0.5)
    assert one(store, "cache_hit_share").value == pytest.approx(0.25)


def test_quality_weighs_every_judgement_by_one_over_its_inclusion_probability(store: Store) -> None:
    scores = [(1.0, 0.1), (0.0, 0.5), (0.5, 0.1), (None, 0.1), (float("nan"), 0.1)]
    store.insert("scores", [
        {"timestamp": AT, "name": "faithfulness", "score": score, "inclusion_probability": p} for score, p in scores
    ])  # fmt: skip

    found = one(store, "quality_score", name="faithfulness")

    assert found.value == pytest.approx((10 * 1 + 2 * 0 + 10 * 0.5) / 22)
    assert found.samples == 3
    assert found.low is not None
    assert found.high is not None
    assert found.low < (found.value or 0) < found.high


def test_the_weighted_interval_covers_the_mean_of_all_traffic(store: Store, rng: np.random.Generator) -> None:
    truth = np.concatenate([rng.binomial(1, 0.9, 4000), rng.binomial(1, 0.4, 1000)]).astype(float)
    rate = np.concatenate([np.full(4000, 0.05), np.full(1000, 0.4)])  # looks harder where trouble is likely
    runs = 40
    for run in range(runs):
        chosen = rng.random(5000) < rate
        store.insert("scores", [
            {"timestamp": AT, "name": f"run{run}", "score": float(y), "inclusion_probability": float(p)}
            for y, p in zip(truth[chosen], rate[chosen], strict=True)
        ])  # fmt: skip

    found = observe(store, METRICS["quality_score"], ["name"], HOUR)

    covered = sum((each.low or 9) <= truth.mean() <= (each.high or -9) for each in found)
    assert len(found) == runs
    assert covered >= 32  # binomial(40, 0.95) is below 32 in 1 of 20,000 runs; the unweighted mean is never inside


def test_drift_counts_the_latest_evaluation_only_and_names_the_largest(store: Store) -> None:
    def finding(feature: str, hours: int, verdict: str, effect: float | None) -> dict[str, Any]:
        return {
            "evaluated_at": END, "finding_id": feature, "subject": "flights", "feature": feature, "detector": "psi",
            "window_end": END - timedelta(hours=hours), "verdict": verdict, "effect": effect, "effect_floor": 0.1,
            "since": END - timedelta(hours=30),
        }  # fmt: skip

    rows = [
        finding("a", 25, "drift", 0.9), finding("a", 1, "stable", 0.01), finding("b", 1, "drift", 0.3),
        finding("c", 1, "drift", 0.5), finding("d", 25, "drift", 0.9), finding("d", 1, "undetermined", None),
    ]  # fmt: skip
    store.insert("findings", rows)
    two_days = Window(END - timedelta(days=2), END)

    (found,) = observe(store, METRICS["drift_findings"], ["subject"], two_days)

    assert (found.value, found.samples) == (2, 3)
    assert found.note.startswith("c by psi: effect 0.5, since 2026-02-28 06:00; b by psi")
    assert one(store, "undetermined_share", two_days).value == 0.25


@pytest.mark.parametrize("detector", ["missing", "non_finite", "sequential_missing"])
def test_values_that_are_missing_are_another_kind_of_drift_so_that_no_gap_hides_what_moves(
    store: Store, detector: str
) -> None:
    row = {"evaluated_at": END, "subject": "flights", "feature": "temp", "window_end": END, "verdict": "drift"}
    store.insert("findings", [row | {"detector": each} for each in (detector, "psi")])

    found = observe(store, METRICS["drift_findings"], ["feature", "kind"], Window(END - timedelta(days=1), END))

    assert {(each.labels["kind"], each.value) for each in found} == {("missing", 1), ("drift", 1)}


def predicted_and_labelled(store: Store, label_delay: timedelta, role: str = "") -> None:
    """Ten predictions at AT, eight of them labelled later: six right, two wrong."""
    made = {"timestamp": AT, "model": "flights", "value": "1", "score": 0.5, "role": role}
    store.insert("predictions", [made | {"prediction_id": str(i)} for i in range(10)])
    known = {"timestamp": AT + label_delay, "model": "flights"}
    truth = [("1.0", 1.0)] * 6 + [("0", 0.0)] * 2
    store.insert(
        "labels",
        [known | {"prediction_id": str(i), "value": text, "number": x} for i, (text, x) in enumerate(truth)],
    )


def test_accuracy_counts_labelled_predictions_at_their_prediction_time(store: Store) -> None:
    predicted_and_labelled(store, timedelta(minutes=4))

    assert (one(store, "accuracy").value, one(store, "accuracy").samples) == (0.75, 8)
    assert one(store, "error_rate").value == 0.25
    assert one(store, "mean_absolute_error").value == 0.25
    assert one(store, "label_lag").value == pytest.approx(240, rel=1e-3)


def test_predictions_have_a_label_once_it_is_known(store: Store) -> None:
    predicted_and_labelled(store, timedelta(days=1))

    assert (one(store, "label_share").value, one(store, "label_share").samples) == (0.0, 10)
    assert one(store, "label_share", Window(END - timedelta(days=1), END + timedelta(days=1))).value == 0.8


def test_labels_count_once_they_are_known_so_that_a_backtest_sees_what_the_rule_saw(store: Store) -> None:
    predicted_and_labelled(store, timedelta(days=1))

    assert observe(store, METRICS["error_rate"], [], HOUR) == []
    assert one(store, "error_rate", Window(END - timedelta(days=1), END + timedelta(days=1))).samples == 8


def test_the_training_set_is_no_traffic(store: Store) -> None:
    predicted_and_labelled(store, timedelta(minutes=4), role="training")

    assert observe(store, METRICS["error_rate"], [], HOUR) == []
    assert observe(store, METRICS["prediction_volume"], [], HOUR) == []


def test_thumbs_down_counts_thumbs_only(store: Store) -> None:
    rows = [("thumbs", -1.0), ("thumbs", 1.0), ("thumbs", 1.0), ("csat", -1.0)]
    said = [{"prediction_id": str(at), "kind": kind, "score": score} for at, (kind, score) in enumerate(rows)]
    store.insert("feedback", [{"timestamp": AT} | each for each in said])

    assert one(store, "thumbs_down_rate").value == pytest.approx(1 / 3)


def test_satisfaction_is_the_mean_of_what_was_said_last(store: Store) -> None:
    said = [("1", 5.0, 0), ("1", 2.0, 60), ("2", 4.0, 0), ("3", None, 0)]
    rows = [{"prediction_id": name, "score": score, "timestamp": AT + timedelta(seconds=s)} for name, score, s in said]
    store.insert("feedback", [row | {"kind": "csat"} for row in rows])
    assert one(store, "csat").value == 3.0
    assert one(store, "csat").samples == 2


def test_conversions_count_by_prediction_or_by_trace_and_each_prediction_once(store: Store) -> None:
    made = {"timestamp": AT, "model": "shop", "value": "1"}
    store.insert("predictions", [made | {"prediction_id": str(i), "trace_id": f"t{i}"} for i in range(10)])
    done: dict[str, Any] = {"timestamp": AT, "name": "conversion", "prediction_id": "", "trace_id": "", "value": 12.5}
    rows: list[dict[str, Any]] = [
        {"prediction_id": "1"}, {"prediction_id": "1", "value": 7.5}, {"trace_id": "t2"},
        {"prediction_id": "3", "value": 0.0}, {"prediction_id": "4", "name": "click"},
    ]  # fmt: skip
    store.insert("outcomes", [done | row for row in rows])
    assert (one(store, "conversion_rate").value, one(store, "conversion_rate").samples) == (0.2, 10)
    assert one(store, "outcome_value", name="click").value == 12.5


def test_judge_and_user_agree_where_both_spoke_of_one_answer(store: Store) -> None:
    scores = [("a", 0.9), ("b", 0.2), ("c", 0.8), ("d", 0.7), ("", 0.1)]
    store.insert("scores", [{"timestamp": AT, "trace_id": name, "name": "quality", "score": x} for name, x in scores])
    thumbs = [("a", 1.0, 0), ("b", -1.0, 0), ("c", 1.0, 0), ("c", -1.0, 9), ("", 1.0, 0)]
    said = [(at, x, AT + timedelta(seconds=s)) for at, x, s in thumbs]
    store.insert(
        "feedback", [{"timestamp": time, "trace_id": at, "kind": "thumbs", "score": x} for at, x, time in said]
    )
    found = one(store, "judge_agreement", name="quality")
    assert found.value == pytest.approx(2 / 3)
    assert found.samples == 3


def test_time_per_token_is_of_what_streamed_after_the_first_one(store: Store) -> None:
    slow: dict[str, Any] = {"duration_s": 3.0, "time_to_first_token_s": 1.0, "output_tokens": 21}
    llm(store, slow, slow | {"output_tokens": 1}, slow | {"time_to_first_token_s": None}, slow | {"kind": "embedding"})
    assert one(store, "tpot_p95").value == pytest.approx(0.1)
    assert one(store, "tpot_p95").samples == 1
    llm(store, slow | {"input_tokens": 79})
    assert one(store, "tokens").value == pytest.approx(21 * 4 + 1 + 79)


def test_jailbreaks_are_what_checks_of_that_name_blocked(store: Store) -> None:
    checks = [("jailbreak", True), ("Prompt-Injection", False), ("toxicity", True), ("jailbreak", False)]
    llm(store, *({"kind": "guardrail", "name": name, "blocked": blocked} for name, blocked in checks))
    assert one(store, "jailbreak_rate").value == pytest.approx(1 / 3)
    assert one(store, "jailbreak_rate").samples == 3


def test_replaced_personal_data_is_how_much_the_counters_grew_over_restarts(store: Store) -> None:
    def counted(process: str, minutes: int, value: float, started: datetime, rule: str = "email") -> dict[str, Any]:
        return {
            "ResourceAttributes": {"service.instance.id": process}, "ServiceName": "tidegauge",
            "MetricName": "tidegauge_masked_total", "Attributes": {"rule": rule, "signal": "traces"},
            "StartTimeUnix": started, "TimeUnix": HOUR.start + timedelta(minutes=minutes), "Value": value,
        }  # fmt: skip

    before, during = HOUR.start - timedelta(days=1), HOUR.start + timedelta(minutes=5)
    store.insert("otel_metrics_sum", [
        counted("a", -1, 100, before), counted("a", 1, 103, before), counted("a", 30, 110, before),
        counted("b", 10, 4, during), counted("b", 20, 6, during), counted("b", 30, 1, during),
        counted("c", 10, 50, before, "card"), counted("c", 70, 90, before, "card"),
    ])  # fmt: skip
    assert one(store, "pii_hits", rule="email").value == 10 + 7
    assert one(store, "pii_hits", rule="card").value == 0, "when its first 50 came is not known"


def test_more_combinations_than_the_limit_keep_those_with_most_samples(store: Store) -> None:
    llm(store, *({"service": f"s{i}"} for i in range(20)), {"service": "big"}, {"service": "big"})

    found = observe(store, METRICS["llm_requests"], ["service"], HOUR, max_series=5)

    assert len(found) == 5
    assert found[0].labels == {"service": "big"}


def test_wilson_is_exact_at_its_ends_and_refuses_the_impossible() -> None:
    assert wilson(0, 50)[0] == 0.0
    assert wilson(50, 50)[1] == 1.0
    for hits, samples in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="wilson needs"):
            wilson(hits, samples)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5])
def test_the_wilson_interval_covers_the_true_rate(rng: np.random.Generator, rate: float) -> None:
    hits = rng.binomial(200, rate, 4000)

    covered = np.mean([low <= rate <= high for low, high in (wilson(int(each), 200) for each in hits)])

    assert covered > 0.92
