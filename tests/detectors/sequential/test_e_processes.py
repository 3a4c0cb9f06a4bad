"""Tests that may be looked at at any time: their errors over all looks, and what they find."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tidegauge.detectors.sequential import confidence
from tidegauge.detectors.sequential.bets import BettingProcess
from tidegauge.detectors.sequential.catoni import BETS, log_factor
from tidegauge.detectors.sequential.conformal import Jumper, p_values, slack_of
from tidegauge.detectors.sequential.e_detectors import e_cusum, log_threshold, mixture, shiryaev_roberts
from tidegauge.detectors.statistics import e_benjamini_hochberg

LIMIT = math.log(20)


def ever_rejects(process: BettingProcess, values: np.ndarray, looks: int) -> bool:
    for batch in np.split(values.astype(np.float64), looks):
        process = process.after(batch)
        if process.log_e() >= LIMIT:
            return True
    return False


def test_betting_errs_at_most_in_its_level_of_runs_though_looked_at_forty_times(rng: np.random.Generator) -> None:
    runs = 120
    wrong = sum(ever_rejects(BettingProcess.start(0.1), rng.random(2000) < 0.1, 40) for _ in range(runs))
    assert wrong <= 0.05 * runs + 3 * math.sqrt(0.05 * 0.95 * runs)


def test_betting_finds_a_rate_that_has_gone_up_by_a_half(rng: np.random.Generator) -> None:
    found = sum(ever_rejects(BettingProcess.start(0.1), rng.random(4000) < 0.15, 40) for _ in range(20))
    assert found >= 18


def test_betting_says_which_side() -> None:
    process = BettingProcess.start(0.3).after_rates(10, 200)
    assert process.log_e("smaller") > LIMIT > 0 > process.log_e("greater")


@pytest.mark.parametrize("m", [0.0, 1.0, -0.1, math.nan])
def test_a_mean_outside_of_its_bounds_is_refused(m: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        BettingProcess.start(m)


@pytest.mark.parametrize("value", [1.1, -0.1, math.nan])
def test_values_outside_of_their_bounds_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        BettingProcess.start(0.5).after(np.array([value]))
    with pytest.raises(ValueError, match="from 0 to 1"):
        confidence.bounded_mean(np.array([value]))


@pytest.mark.parametrize(
    "law",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: rng.standard_t(2.5, size=n) / math.sqrt(5),
        lambda rng, n: rng.exponential(size=n) - 1,
        lambda rng, n: np.where(rng.random(n) < 0.01, 10.0, 0.0) * rng.choice([-1.0, 1.0], size=n),
    ],
    ids=["normal", "t(2.5)", "exponential", "rare jumps"],
)
def test_catonis_factor_is_expected_to_be_at_most_one_whatever_the_law(rng: np.random.Generator, law: object) -> None:
    assert callable(law)
    factors = np.exp(log_factor(law(rng, 200_000)))
    error = factors.std(axis=0) / math.sqrt(len(factors))
    assert np.all(factors.mean(axis=0) <= 1 + 4 * error)


def test_catonis_factor_grows_on_a_shift_of_the_size_of_its_bet() -> None:
    gains = log_factor(BETS.copy())
    assert np.all(np.diag(gains) > 0.8 * BETS**2 / 2 / (1 + BETS))


def test_e_detectors_run_as_long_as_they_promise(rng: np.random.Generator) -> None:
    """Mean time to a false alarm of 400 normal streams is at least A = 50, for both detectors."""
    streams, alarm = 400, math.log(50)
    for update in (shiryaev_roberts, e_cusum):
        logs, first = np.full((streams, len(BETS)), -np.inf), np.full(streams, 1000.0)
        for at in range(1000):
            logs = update(logs, log_factor(rng.normal(size=streams)))
            first = np.where((mixture(logs, 1) >= alarm) & (first == 1000), at + 1.0, first)
        assert first.mean() >= 50


def test_the_threshold_is_streams_times_looks_by_wanted_pages() -> None:
    assert log_threshold(10_500, 8766, 1) == pytest.approx(math.log(10_500 * 8766))
    with pytest.raises(ValueError, match="must be positive"):
        log_threshold(10, 100, 0)


def test_a_conformal_martingale_does_not_take_the_luck_of_its_reference_for_drift(rng: np.random.Generator) -> None:
    wrong = 0
    for _ in range(30):
        p = p_values(np.sort(rng.normal(size=200)), rng.normal(size=1000), rng)
        wrong += Jumper.start(slack_of(200)).after(p).log_e() >= LIMIT
    assert wrong <= 2


def test_a_conformal_martingale_finds_a_shift_of_any_feature(rng: np.random.Generator) -> None:
    reference = np.sort(rng.lognormal(size=1000))
    p = p_values(reference, rng.lognormal(0.7, size=1500), rng)
    assert Jumper.start(slack_of(1000)).after(p).log_e() >= LIMIT


def test_conformal_p_values_are_uniform_with_ties(rng: np.random.Generator) -> None:
    p = p_values(np.sort(rng.integers(0, 3, 2000).astype(np.float64)), rng.integers(0, 3, 5000).astype(np.float64), rng)
    assert abs(p.mean() - 0.5) < 0.03
    assert abs(float(np.mean(p <= 0.1)) - 0.1) < 0.03


def test_a_reference_too_short_for_its_slack_is_refused() -> None:
    with pytest.raises(ValueError, match="take a longer reference"):
        Jumper.start(slack_of(5))


def test_confidence_sequences_cover_at_every_look(rng: np.random.Generator) -> None:
    runs, missed_mean, missed_rate = 60, 0, 0
    for _ in range(runs):
        x = rng.beta(2, 5, 600)
        low, high = confidence.bounded_mean(x)
        missed_mean += not low <= 2 / 7 <= high
        hits = np.cumsum(rng.random(600) < 0.1)
        looks = [confidence.rate(int(hits[n - 1]), n) for n in range(50, 601, 50)]
        missed_rate += any(not low <= 0.1 <= high for low, high in looks)
    assert missed_mean <= 8
    assert missed_rate <= 8


def test_a_betting_interval_is_narrow_where_values_vary_little(rng: np.random.Generator) -> None:
    low, high = confidence.bounded_mean(rng.uniform(0.45, 0.55, 500))
    assert low <= 0.5 <= high
    assert high - low < 0.06


def test_no_rows_say_nothing() -> None:
    assert confidence.rate(0, 0) == (0.0, 1.0)
    assert confidence.mean_radius(np.array([0.0])).tolist() == [math.inf]


def test_a_risk_that_rose_beyond_the_tolerance_is_told_from_one_that_may_not_have() -> None:
    before, after = confidence.rate(100, 2000, 0.025), confidence.rate(220, 2000, 0.025)
    assert confidence.separated(before, after)
    assert not confidence.separated(before, after, 0.06)


def test_e_bh_holds_its_rate_for_tests_that_are_all_the_same_one(rng: np.random.Generator) -> None:
    """Complete dependence, where Benjamini-Hochberg has no proof; e-values of a normal likelihood ratio."""
    runs, false = 2000, 0
    for _ in range(runs):
        e = np.full(50, math.exp(2 * rng.normal() - 2))
        false += bool(e_benjamini_hochberg(e, 0.1)[0].any())
    assert false <= 0.1 * runs


@pytest.mark.parametrize("e", [[-1.0], [math.nan], [[1.0]]])
def test_e_bh_refuses_what_is_no_row_of_e_values(e: list[float]) -> None:
    with pytest.raises(ValueError, match="e_values must be"):
        e_benjamini_hochberg(np.array(e))


def test_e_bh_takes_infinite_and_zero_evidence() -> None:
    rejected, adjusted = e_benjamini_hochberg(np.array([math.inf, 0.0]))
    assert rejected.tolist() == [True, False]
    assert adjusted.tolist() == [0.0, 1.0]
