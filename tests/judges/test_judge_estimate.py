"""Estimates from judged samples, against populations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from tidegauge.judges.agreement import Agreement, Corrected, agreement, corrected_mean
from tidegauge.judges.agreement import Undetermined as NotKnown
from tidegauge.judges.estimate import Estimate, Scored, Undetermined, mean_score

SIZES, RATES = {"v1": 3_000, "v2": 600}, {"v1": 0.05, "v2": 0.25}


def population(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"v1": (rng.random(3_000) < 0.9).astype(float), "v2": np.round(rng.beta(2, 2, 600) * 4) / 4}


def test_the_mean_is_unbiased_and_its_interval_covers_the_truth_as_often_as_it_says(rng: np.random.Generator) -> None:
    people = population(rng)
    truth = np.concatenate(list(people.values())).mean()
    misses, errors = 0, []
    for _ in range(500):
        scored = [
            Scored(name, RATES[name], float(value))
            for name, values in people.items()
            for value in values[rng.random(len(values)) < RATES[name]]
        ]
        found = mean_score(scored, SIZES)
        assert isinstance(found, Estimate)
        errors.append(found.mean - truth)
        misses += not found.low <= truth <= found.high

    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(500)
    assert misses / 500 < 0.09


def test_verdicts_missing_in_one_stratum_do_not_pull_the_mean(rng: np.random.Generator) -> None:
    people = population(rng)
    truth = np.concatenate(list(people.values())).mean()
    errors = []
    for _ in range(200):
        kept = {"v1": RATES["v1"] * 0.5, "v2": RATES["v2"]}  # half of the verdicts on v1 were invalid
        scored = [
            Scored(name, RATES[name], float(value))
            for name, values in people.items()
            for value in values[rng.random(len(values)) < kept[name]]
        ]
        found = mean_score(scored, SIZES)
        assert isinstance(found, Estimate)
        errors.append(found.mean - truth)

    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(200)


def test_a_stratum_without_any_score_shows_as_not_covered() -> None:
    found = mean_score([Scored("a", 0.5, 1.0), Scored("a", 0.5, 0.5)], {"a": 4, "b": 12})

    assert isinstance(found, Estimate)
    assert found.mean == 0.75 and found.covered == 0.25 and found.population == 16


def test_judging_everything_leaves_nothing_uncertain() -> None:
    found = mean_score([Scored("a", 1.0, 0.25), Scored("a", 1.0, 0.75)], {"a": 2})

    assert isinstance(found, Estimate)
    assert found.low == found.mean == found.high == 0.5


def test_a_single_score_in_a_stratum_never_counts_as_certain() -> None:
    scored = [Scored("a", 0.5, 1.0), Scored("a", 0.5, 0.0), Scored("b", 0.5, 1.0)]

    found = mean_score(scored, {"a": 4, "b": 100})

    assert isinstance(found, Estimate)
    assert found.high - found.low > 0.5


@pytest.mark.parametrize("scored", [[], [Scored("a", 0.5, 1.0)]])
def test_too_few_scores_are_undetermined(scored: list[Scored]) -> None:
    assert isinstance(mean_score(scored, {"a": 10}), Undetermined)


def test_kappa_is_cohens_and_ac1_holds_where_nearly_everything_passes() -> None:
    judge = [True] * 118 + [False] * 2
    human = [True] * 116 + [False] * 2 + [True] * 2

    found = agreement(judge, human)

    assert isinstance(found, Agreement)
    assert found.observed == pytest.approx(116 / 120)
    assert found.kappa < 0.05 and found.ac1 > 0.95
    assert found.kappa_low < found.kappa < found.kappa_high


def test_kappa_of_the_textbook() -> None:
    judge = [True] * 25 + [False] * 25
    human = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15

    found = agreement(judge, human)

    assert isinstance(found, Agreement)
    assert found.kappa == pytest.approx(0.4) and found.bias == pytest.approx(-0.1)


@pytest.mark.parametrize(("judge", "human"), [([True] * 5, [True] * 5), ([True] * 50, [True] * 50)])
def test_agreement_that_cannot_be_told_from_chance_is_undetermined(judge: list[bool], human: list[bool]) -> None:
    assert isinstance(agreement(judge, human), NotKnown)


@pytest.mark.parametrize("noise", [0.05, 2.0])
def test_human_labels_correct_a_biased_judge_and_the_interval_covers(rng: np.random.Generator, noise: float) -> None:
    misses, powers = 0, []
    for _ in range(300):
        quality = rng.normal(0.6, 0.2, 2_200)
        judge = quality + 0.1 + rng.normal(0, noise, 2_200)
        found = corrected_mean(quality[:200], judge[:200], judge[200:])
        assert isinstance(found, Corrected)
        misses += not found.low <= 0.6 <= found.high
        powers.append(found.power)

    assert misses / 300 < 0.10
    assert np.mean(powers) > 0.7 if noise < 1 else np.mean(powers) < 0.2


def test_labels_that_are_not_paired_are_an_error() -> None:
    with pytest.raises(ValueError, match="paired"):
        agreement([True] * 20, [True] * 19)
    with pytest.raises(ValueError, match="paired"):
        corrected_mean([1.0] * 20, [1.0] * 19, [1.0] * 30)
