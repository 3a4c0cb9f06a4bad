"""From tests to verdicts: one p-value a question, the stated rate of false findings, and no number without meaning."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tidegauge.detectors.drift import Parts, hypotheses
from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.profile import NumericPart, Profile
from tidegauge.detectors.statistics import NumericBins, Outcome, Result, Undetermined
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.detectors.verdicts import Hypothesis, judge, worth_a_row
from tidegauge.model import ALL, Slice

PART = Slice("port", "AA")


def result(p_value: float, effect: float = 1.0, floor: float = 0.1) -> Result:
    return Result("demo", effect, p_value, effect, floor, 1000, 1000)


def verdicts(claims: list[Claim]) -> dict[tuple[str, str], str]:
    return {(claim.feature, claim.detector): claim.verdict.value for claim in claims}


def numbers(rng: np.random.Generator, rows: int, features: int) -> Traffic:
    columns = {f"x{at}": rng.normal(size=rows) for at in range(features)}
    ports = Category(rng.integers(0, 3, rows).astype(np.int32), ("AA", "BB", "CC"))
    plans = Category(rng.integers(0, 5, rows).astype(np.int32), tuple("abcde"))
    return Traffic(rows, columns, {"plan": plans}, {"port": ports})


def evaluated(reference: Traffic, current: Traffic, most: int = 50) -> list[Claim]:
    before, now = Profile(reference), Profile(current)
    parts = Parts(before, now, most)
    return judge(list(hypotheses(before, now, parts.tested)), 0.05)


def test_drift_takes_a_small_p_value_and_an_effect_at_the_floor() -> None:
    asked = [
        Hypothesis("sure and large", ALL, "ks", result(1e-6)),
        Hypothesis("sure but small", ALL, "ks", result(1e-6, effect=0.09)),
        Hypothesis("large but unsure", ALL, "ks", result(0.4)),
    ]
    assert [claim.verdict.value for claim in judge(asked, 0.05)] == ["drift", "stable", "stable"]


def test_followers_do_not_count_as_tests_of_their_own() -> None:
    followers = tuple((name, lambda: result(0.04)) for name in ("kl", "jensen_shannon"))
    alone = judge([Hypothesis("x", ALL, "psi", result(0.04), followers)], 0.05)
    assert [claim.p_adjusted for claim in alone] == [0.04, 0.04, 0.04]
    among = judge([Hypothesis(f"x{at}", ALL, "psi", result(p), followers) for at, p in enumerate((0.04, 0.9))], 0.05)
    assert {claim.p_adjusted for claim in among if claim.feature == "x0"} == {0.08}, "two questions, not six"


def test_a_follower_is_never_surer_than_its_own_p_value() -> None:
    asked = Hypothesis("x", PART, "ks", result(0.001), (("wasserstein", lambda: result(0.2)),))
    assert verdicts(judge([asked], 0.05)) == {("x", "ks"): "drift", ("x", "wasserstein"): "stable"}


def test_followers_of_a_calm_slice_are_counted_without_being_computed() -> None:
    def never() -> Outcome:
        raise AssertionError("computed for nobody")

    claims = judge([Hypothesis("x", PART, "psi", result(0.5), (("kl", never),))], 0.05)
    assert [(claim.detector, claim.verdict.value, worth_a_row(claim)) for claim in claims] == [
        ("psi", "stable", False),
        ("kl", "stable", False),
    ]


def test_what_could_not_be_told_is_undetermined_and_takes_no_part_in_the_correction() -> None:
    unknown = Hypothesis("y", ALL, "psi", Undetermined("psi", "too few", 3, 3))
    claims = judge([Hypothesis("x", ALL, "ks", result(0.04)), unknown], 0.05)
    assert verdicts(claims) == {("x", "ks"): "drift", ("y", "psi"): "undetermined"}


def test_in_a_slice_a_detector_that_could_not_tell_is_silent_where_another_could() -> None:
    unknown = Undetermined("psi", "too few", 60, 60)
    asked = [Hypothesis("x", PART, "psi", unknown), Hypothesis("x", PART, "ks", result(0.5))]
    assert [worth_a_row(claim) for claim in judge(asked, 0.05)] == [False, False]
    assert [worth_a_row(claim) for claim in judge(asked[:1], 0.05)] == [True]


@pytest.mark.parametrize("rows", [60, 300, 2000])
def test_without_drift_an_evaluation_alarms_no_more_often_than_stated(rng: np.random.Generator, rows: int) -> None:
    rounds = 40
    alarms = 0
    for _ in range(rounds):
        claims = evaluated(numbers(rng, 3000, 12), numbers(rng, rows, 12))
        alarms += any(claim.verdict is Verdict.DRIFT for claim in claims)
    assert alarms <= 8, f"{alarms} of {rounds} at 5 %: more than 8 in 1 run of 3000"


@pytest.mark.parametrize(
    "values",
    [
        np.full(500, 3.0),
        np.full(500, np.nan),
        np.full(500, np.inf),
        np.array([1.7e308, -1.7e308] * 250),
        np.array([5e-324, -0.0] * 250),
        np.empty(0),
        np.array([1.0]),
    ],
    ids=["constant", "nan", "inf", "huge", "denormal", "empty", "one row"],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_odd_values_give_finite_numbers_or_a_reason(
    rng: np.random.Generator, values: np.ndarray, swapped: bool
) -> None:
    odd, plain = Traffic(len(values), {"x": values}), Traffic(500, {"x": rng.normal(size=500)})
    claims = evaluated(*((odd, plain) if swapped else (plain, odd)))
    assert claims
    for claim in claims:
        if isinstance(claim.outcome, Result):
            assert math.isfinite(claim.outcome.value + claim.outcome.effect)
        else:
            assert claim.outcome is None or claim.outcome.reason


def test_counts_from_the_order_are_those_of_the_bins(rng: np.random.Generator) -> None:
    values = np.round(rng.normal(size=2000), 1)
    values[:50], values[50:60] = np.nan, np.inf
    bins = NumericBins.fit(values)
    part = NumericPart.of(values, bins)
    assert part.counts.tolist() == bins.counts(values).tolist()
    assert [*part.counts.tolist(), part.missing, part.non_finite] == bins.tally(values).tolist()


def test_a_slice_that_is_all_of_the_traffic_is_not_tested_again(rng: np.random.Generator) -> None:
    only = Category(np.zeros(200, dtype=np.int32), ("1",))
    traffic = Traffic(200, {"x": rng.normal(size=200)}, {}, {"version": only})
    assert Parts(Profile(traffic), Profile(traffic), 50).tested == [ALL]


def test_a_number_sent_as_text_is_still_a_number() -> None:
    reference = Traffic(4, {"x": np.array([1.0, 2, 3, 4])})
    retyped = Traffic(3, {}, {"x": Category(np.array([0, 1, 2], dtype=np.int32), ("5", "6.5", "none"))})
    part = Profile(retyped).numeric("x", ALL, Profile(reference).bins("x"))
    assert (part.ordered.tolist(), part.missing) == ([5.0, 6.5], 1)
