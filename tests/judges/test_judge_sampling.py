"""The sampler: the same everywhere, at the stated probabilities, unbiased even where the budget stops it."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.stats import binomtest, kstest

from tidegauge.judges.estimate import Scored, total
from tidegauge.judges.sampling import LEAST, MOST, Candidate, Spread, allocate, counts_by_stratum, draw, uniform

AT = datetime(2026, 1, 1, tzinfo=UTC)


def candidates(count: int, stratum: str = "a", prefix: str = "") -> list[Candidate]:
    return [Candidate(f"{prefix}{stratum}{number}", "s", stratum, AT) for number in range(count)]


def test_a_call_is_decided_by_its_trace_id_whoever_else_is_in_the_round() -> None:
    everyone = candidates(2_000)

    alone = {each.trace_id for each in everyone if draw([each], {"a": 0.1})[0].chosen}
    together = {each.candidate.trace_id for each in draw(everyone[::-1], {"a": 0.1}) if each.chosen}

    assert alone == together


def test_the_hash_does_not_change_between_releases() -> None:
    assert uniform("89180c376aa51bec7750a8cbafd52452") == pytest.approx(0.2112625052074203, abs=1e-12)


def test_hashes_are_uniform_and_another_salt_draws_another_sample() -> None:
    values = [uniform(f"trace-{number}") for number in range(20_000)]
    salted = [uniform(f"trace-{number}", "other") for number in range(20_000)]

    assert kstest(values, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(values, salted)[0, 1]) < 0.03


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 1.0])
def test_the_share_that_is_chosen_is_the_inclusion_probability(rate: float) -> None:
    draws = draw(candidates(10_000), {"a": rate})

    assert {each.probability for each in draws} == {rate}
    assert binomtest(sum(each.chosen for each in draws), 10_000, rate).pvalue > 1e-4


def test_every_candidate_is_decided_once_and_carries_a_probability() -> None:
    everyone = candidates(500) + candidates(500, "b")

    draws = draw(everyone, {"a": 0.2, "b": 0.7}, affordable=_first(100))

    assert sorted(each.candidate.trace_id for each in draws) == sorted(each.trace_id for each in everyone)
    assert all(0 < each.probability <= 1 for each in draws)
    assert not any(each.chosen and each.cut for each in draws)


def test_the_budget_stop_lowers_every_probability_by_the_same_factor() -> None:
    everyone = candidates(1_000) + candidates(1_000, "b")

    draws = draw(everyone, {"a": 0.2, "b": 0.4}, affordable=_first(60))

    by_stratum = {each.candidate.stratum: each.probability for each in draws}
    assert sum(each.chosen for each in draws) == 60
    assert sum(each.cut for each in draws) > 400
    assert by_stratum["b"] == pytest.approx(2 * by_stratum["a"])
    assert by_stratum["a"] == pytest.approx(60 / 3_000, rel=0.5)


def test_when_nothing_is_affordable_nothing_is_chosen_and_all_of_it_is_said() -> None:
    draws = draw(candidates(100), {"a": 0.3}, affordable=lambda _: False)

    assert not any(each.chosen for each in draws)
    assert sum(each.cut for each in draws) == sum(uniform(each.candidate.trace_id) < 0.3 for each in draws) > 0


@pytest.mark.parametrize("limit", [10_000, 40])
def test_sums_weighed_by_the_recorded_probabilities_are_unbiased_with_and_without_a_budget_stop(limit: int) -> None:
    value = {"a": 0.2, "b": 0.9}
    errors = []
    for repeat in range(600):
        everyone = candidates(150, "a", f"{repeat}-") + candidates(50, "b", f"{repeat}-")
        draws = draw(everyone, {"a": 0.2, "b": 0.6}, affordable=_first(limit))
        scored = [
            Scored(each.candidate.stratum, each.probability, value[each.candidate.stratum])
            for each in draws
            if each.chosen
        ]
        errors.append(total(scored) - (150 * 0.2 + 50 * 0.9))

    standard_error = np.std(errors) / np.sqrt(len(errors))
    assert abs(np.mean(errors)) < 4 * standard_error


def test_strata_that_scatter_or_are_new_are_looked_at_harder_within_bounds() -> None:
    counts = {"steady": 1_000, "erratic": 100, "new": 100}
    spreads = {"steady": Spread(5_000, 0.0004), "erratic": Spread(5_000, 0.2)}

    found = allocate(counts, spreads, 0.05)

    assert found["erratic"] > found["new"] > 0.05 > found["steady"]
    assert found["steady"] >= LEAST * 0.05 and found["erratic"] <= MOST * 0.05


def test_allocation_is_a_probability_whatever_came_before() -> None:
    assert allocate({"a": 1}, {}, 1.0) == {"a": 1.0}
    assert allocate({}, {}, 0.05) == {}
    assert max(allocate({"a": 9, "b": 1}, {"a": Spread(10**6, 0.0)}, 0.9).values()) <= 1.0


def test_counts_are_by_stratum() -> None:
    assert counts_by_stratum(candidates(3) + candidates(2, "b")) == {"a": 3, "b": 2}


def _first(limit: int):  # type: ignore[no-untyped-def]
    left = iter(range(limit))
    return lambda _: next(left, None) is not None
