"""Choosing few failures of many: what says the same once, nobody's noise, the same choice for the same seed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest

from tidegauge.judges.golden.alike import circumstances, cosine, features, jaccard, same, similarity
from tidegauge.judges.golden.choosing import Choosable, choose, kept, quotas
from tidegauge.judges.golden.failure import Case

AT = datetime(2026, 3, 4, tzinfo=UTC)


def case(text: str, reason: str = "error", tenant: str = "", **more: object) -> Case:
    slices = {"tenant": tenant} if tenant else {}
    made = Case("trace", text, "shop", AT, {reason: "x"}, 0.5, tenant, text=text, slices=slices)
    return made if not more else Case(**{name: getattr(made, name) for name in made.__slots__} | more)


def choosable(cases: list[Case]) -> Choosable:
    reasons = [next(iter(each.reasons)) for each in cases]
    return Choosable(similarity(cases), [0.5] * len(cases), [1] * len(cases), [reasons, [c.tenant for c in cases]])


def test_texts_that_differ_in_case_spaces_or_a_letter_say_the_same_and_another_word_says_another_thing() -> None:
    texts = [
        "Why was my parcel to Hamburg sent back to the warehouse?",
        "why was my parcel to  Hamburg sent back to the warehouse",
        "Why was my parcel to Lisbon sent back to the warehouse?",
        "",
        "",
    ]

    found = same([case(each) for each in texts])

    assert found[0].tolist() == [True, True, False, False, False]
    assert found[3].tolist() == [False, False, False, True, False]


def test_embeddings_find_what_letters_do_not() -> None:
    vectors = np.array([[1.0, 0.0], [0.99, 0.05], [0.0, 1.0]], dtype=np.float32)

    found = same([case("cancel it"), case("please stop my subscription"), case("hello there")], vectors)

    assert found[0].tolist() == [True, True, False]


def test_similarities_lie_between_0_and_1_and_are_1_of_oneself(rng: np.random.Generator) -> None:
    cases = [
        case(f"question {number} {rng.integers(5)}", reason=("error", "refused")[number % 2], tenant=str(number % 3))
        for number in range(20)
    ]
    numbers = [
        case("", features={"a": float(rng.normal()), "b": "xy"[number % 2], "c": float("nan")}) for number in range(20)
    ]

    for matrix in (jaccard([each.text for each in cases]), circumstances(cases), similarity(cases), features(numbers)):
        assert np.allclose(matrix, matrix.T) and matrix.min() >= 0 and matrix.max() <= 1 + 1e-6
        assert np.allclose(np.diag(matrix), 1)
    assert cosine(np.zeros((2, 3), dtype=np.float32)).max() == 0


def test_the_distance_of_predictions_knows_no_units_and_no_outliers() -> None:
    rows = [case("", features={"metres": each}) for each in (1.0, 2.0, 3.0, 1e12)]
    scaled = [case("", features={"metres": 1000 * each}) for each in (1.0, 2.0, 3.0, 1e12)]

    assert np.allclose(features(rows), features(scaled))
    assert features(rows)[0, 1] == pytest.approx(features(rows)[2, 3])


@pytest.mark.parametrize(
    ("supply", "places", "wanted"),
    [
        ({"noisy": 1000, "a": 2, "b": 2}, 12, {"a": 2, "b": 2, "noisy": 8}),
        ({"x": 50, "y": 50, "z": 50}, 12, {"x": 4, "y": 4, "z": 4}),
        ({"only": 3}, 12, {"only": 3}),
        ({}, 12, {}),
    ],
)
def test_places_are_shared_out_evenly_and_what_one_cannot_fill_goes_to_others(
    supply: dict[str, int], places: int, wanted: dict[str, int]
) -> None:
    assert quotas(supply, places) == wanted


def test_a_tenant_with_a_thousand_failures_gets_no_more_places_than_one_with_ten() -> None:
    noisy = [case(f"the noisy one asks about thing {number}", tenant="noisy") for number in range(300)]
    others = [case(f"{name} asks about thing {number}", tenant=name) for name in ("b", "c") for number in range(10)]

    picked = choose(choosable(noisy + others), 12, np.random.default_rng(0))

    tenants = Counter((noisy + others)[at].tenant for at in picked)
    assert tenants == {"noisy": 4, "b": 4, "c": 4}


def test_each_kind_of_failure_is_chosen_before_any_is_chosen_for_the_third_time() -> None:
    cases = [case(f"common {number}", reason="refused") for number in range(100)]
    cases += [case(f"rare {number}", reason="error") for number in range(3)]
    cases += [case("single", reason="rephrased")]

    picked = choose(choosable(cases), 7, np.random.default_rng(0))

    assert Counter(next(iter(cases[at].reasons)) for at in picked) == {"refused": 3, "error": 3, "rephrased": 1}


def test_different_topics_are_chosen_before_the_same_one_again() -> None:
    topics = ["cancel an order", "change the password", "track a parcel", "print an invoice"]
    cases = [case(f"how do I {topic} number {number}") for topic in topics for number in range(20)]

    picked = choose(choosable(cases), 4, np.random.default_rng(0))

    assert len({at // 20 for at in picked}) == 4


def test_the_choice_follows_from_the_records_and_the_seed_and_ties_from_the_seed_alone() -> None:
    cases = [case(f"q{number}") for number in range(40)]

    picks = [choose(choosable(cases), 6, np.random.default_rng(seed)) for seed in (1, 1, 2)]

    assert picks[0] == picks[1] != picks[2]
    assert len(set(picks[0])) == 6


def test_fewer_failures_than_places_are_all_chosen() -> None:
    assert sorted(choose(choosable([case("a"), case("b")]), 12, np.random.default_rng(0))) == [0, 1]


def test_one_of_those_that_say_the_same_is_kept_with_all_that_it_stands_for() -> None:
    assert kept(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool), [1, 0, 2]) == {1: [0, 1], 2: [2]}
