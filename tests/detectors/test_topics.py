"""Topics that grew and shrank."""

from __future__ import annotations

import numpy as np
import pytest
from test_drift_texts import ORDERS, REFUNDS, Hashed

from tidegauge.detectors.embedding.topics import Topic, compare_topics, told
from tidegauge.detectors.embedding.witness import words
from tidegauge.detectors.statistics import Result, Undetermined

WEATHER = ("rain", "sunny", "cloud", "storm", "wind", "frost", "warm", "snow", "hail", "mist")


def texts(rng: np.random.Generator, **counts: int) -> list[str]:
    known = {"orders": ORDERS, "refunds": REFUNDS, "weather": WEATHER}
    found = [" ".join(rng.choice(known[name], 6)) for name, count in counts.items() for _ in range(count)]
    return [found[at] for at in rng.permutation(len(found))]


def compared(before: list[str], now: list[str]) -> tuple[object, list[Topic]]:
    return compare_topics(Hashed().encode(before), Hashed().encode(now), before, now, 0.05)


def test_a_topic_that_grew_and_one_that_shrank_are_told_with_words_and_texts() -> None:
    rng = np.random.default_rng(1)
    before = texts(rng, orders=500, weather=300)
    outcome, topics = compared(before, texts(rng, orders=150, weather=150, refunds=200))
    changed = [each for each in topics if each.change]
    new = next(each for each in changed if each.name.startswith("(unlike the reference)"))
    assert isinstance(outcome, Result) and outcome.method == "topics" and (outcome.p_value or 1) < 1e-6
    assert new.change == "grew" and set(new.terms) <= set(REFUNDS)
    assert new.examples and all(words(text) <= set(REFUNDS) for text in new.examples)
    assert 0.2 < new.low < new.current - new.reference < new.high < 0.5
    shrunk = [each for each in changed if each.change == "shrank"]
    assert shrunk and all(set(each.terms) <= {*ORDERS, *WEATHER} for each in shrunk)
    assert outcome.note == told(topics) and "grew: (unlike the reference) " in outcome.note


def test_shares_add_up_and_the_same_texts_give_the_same_topics() -> None:
    rng = np.random.default_rng(2)
    before, now = texts(rng, orders=300, weather=200), texts(rng, orders=200, weather=100)
    first, second = compared(before, now), compared(before, now)
    assert first == second
    assert sum(each.reference for each in first[1]) == pytest.approx(1)
    assert sum(each.current for each in first[1]) == pytest.approx(1)


def test_with_nothing_changed_few_windows_have_a_topic_that_did() -> None:
    changed = 0
    for run in range(16):
        rng = np.random.default_rng([run, 3])
        reference, current = (rng.normal(size=(size, 4)).astype(np.float32) for size in (400, 300))
        _, topics = compare_topics(reference, current, [""] * 400, [""] * 300, 0.05)
        changed += any(each.change for each in topics)
    assert changed <= 4  # 5 % of 16: more by chance once in 1,000 times


@pytest.mark.parametrize("now", [["one text"] * 30, ["one text"] * 300])
def test_too_few_texts_and_one_text_again_and_again_are_undetermined(now: list[str]) -> None:
    outcome, topics = compared(["the same words"] * 200, now)
    assert isinstance(outcome, Undetermined) and not topics
