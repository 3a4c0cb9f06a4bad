"""Five faults and a clean stretch of a small stream, through the tables. The flights have the long list:
``python -m tidegauge.demo.flights.diagnose``, docs/diagnosis.md."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
import shop
from shop import MODEL, SINCE, UNTIL, Break, Shop

from tidegauge.detectors.diagnose import Asked, Diagnosis, Level, Stage, diagnose
from tidegauge.detectors.diagnose.text import as_json, as_text
from tidegauge.detectors.diagnose.verdict import part_text
from tidegauge.errors import TidegaugeError
from tidegauge.store import Store


def diagnosed(store: Store, broken: Break, *, told: bool = False) -> Diagnosis:
    stream = Shop(np.random.default_rng(5))
    broken(stream)
    stream.store(store)
    return diagnose(store, Asked(MODEL, UNTIL, SINCE if told else None))


@pytest.mark.parametrize(
    ("broken", "cause", "subject", "part"),
    [
        (shop.pounds, "units", "weight", "all traffic"),
        (shop.blind_in_the_south, "missing", "age", "region=south"),
        (shop.turned_in_the_north, "labels flipped", "", "region=north"),
        (shop.shuffled, "joined wrongly", "price", "all traffic"),
        (shop.released, "new version", "v2", "version=v2"),
    ],
)
def test_the_true_cause_comes_first_with_its_part_and_about_the_day_it_began(
    store: Store, broken: Break, cause: str, subject: str, part: str
) -> None:
    found = diagnosed(store, broken)

    first = found.causes[0]
    assert (first.finding.cause, first.finding.subject, part_text(first.finding.part)) == (cause, subject, part)
    assert abs(found.since - SINCE) <= timedelta(days=1)
    assert found.how.startswith("found by scanning")


def test_of_two_faults_the_one_of_the_moment_asked_for_comes_first_and_each_has_its_own_beginning(
    store: Store,
) -> None:
    stream = Shop(np.random.default_rng(5))
    shop.pounds_then_blind(stream)
    stream.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    bad = [each for each in found.causes if each.finding.level is Level.BAD]
    assert [each.finding.cause for each in bad] == ["units", "missing"]
    assert found.began(bad[0]) == SINCE
    assert abs(found.began(bad[1]) - shop.LATER) < timedelta(hours=2)
    assert f" since {found.began(bad[1]):%Y-%m-%d %H:%M} - bad" in as_text(as_json(found))
    assert diagnose(store, Asked(MODEL, UNTIL, shop.LATER)).causes[0].finding.cause == "missing"


def test_a_gap_in_one_part_does_not_explain_outcomes_that_are_as_much_so_elsewhere(store: Store) -> None:
    stream = Shop(np.random.default_rng(5))
    shop.blind_in_the_south(stream)
    stream.label = np.where(stream.since & (stream.rng.random(stream.rows) < 0.5), 1, stream.label)
    stream.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    causes = {each.finding.cause: each for each in found.causes}
    assert {"missing", "concept"} <= set(causes)
    assert "outcome at the same score" in causes["missing"].finding.spared


def test_training_copies_tell_an_exchange_in_a_small_part_from_two_features_that_no_longer_fit(store: Store) -> None:
    stream = Shop(np.random.default_rng(5))
    shop.exchanged_in_the_west(stream)
    stream.store(store, copied=0.2)

    first = diagnose(store, Asked(MODEL, UNTIL)).causes[0].finding

    assert (first.cause, first.subject, part_text(first.part)) == ("swapped", "age, price", "region=west")


def test_an_exchange_of_features_with_the_same_numbers_is_told_by_what_no_longer_fits_though_it_began_later(
    store: Store,
) -> None:
    found = diagnosed(store, shop.exchanged_alike, told=True)

    first = found.causes[0]
    assert (first.finding.cause, first.finding.subject, first.finding.check) == ("swapped", "age, price", "relations")
    as_they_are, exchanged = (first.finding.evidence[f"error {name}"] for name in ("as they are", "exchanged"))
    assert float(exchanged) < 0.5 < 2 < float(as_they_are)
    assert abs(found.began(first) - shop.LATER) < timedelta(hours=4)


def test_that_predictions_stopped_is_told_of_the_moment_asked_for(store: Store) -> None:
    found = diagnosed(store, shop.stopped, told=True)
    assert (found.causes[0].finding.cause, found.since, found.until) == ("volume drop", SINCE, UNTIL)
    assert {each.cause for each in found.verdicts if each.level is Level.BAD} == {"volume drop"}


def test_nothing_is_wrong_where_nothing_happened(store: Store) -> None:
    found = diagnosed(store, shop.nothing)

    assert not found.wrong
    assert as_text(as_json(found)).startswith("returns: nothing is wrong")


def test_another_embedding_model_is_a_notice_and_no_drift(store: Store) -> None:
    found = diagnosed(store, shop.other_embedder, told=True)

    assert not found.wrong
    assert [(each.finding.cause, each.finding.subject) for each in found.causes] == [("new embedding_model", "mini-2")]
    assert "cannot be compared, so their drift is not tested" in found.causes[0].finding.summary


def test_every_stage_answers_and_the_text_begins_with_the_cause_since_when_and_for_whom(store: Store) -> None:
    found = as_json(diagnosed(store, shop.blind_in_the_south, told=True))

    text = as_text(found).splitlines()
    assert [each["stage"] for each in found["stages"]] == list(Stage)
    assert text[0] == "returns: missing: age (very likely), since 2026-04-01 00:00 UTC, in region=south"
    assert "as asked" in text[2]
    assert any("check the feed and the join of age for region=south" in line for line in text)


def test_a_model_without_predictions_or_without_days_before_is_told_so(store: Store) -> None:
    with pytest.raises(TidegaugeError, match="no predictions of 'returns'"):
        diagnose(store, Asked(MODEL, UNTIL))
    Shop(np.random.default_rng(5)).store(store)
    with pytest.raises(TidegaugeError, match="3 are needed"):
        diagnose(store, Asked(MODEL, UNTIL, shop.BEGAN + timedelta(days=1)))


def test_the_only_number_that_no_longer_fits_the_texts_is_named_though_nothing_can_be_exchanged_with_it(
    store: Store,
) -> None:
    stream = Shop(np.random.default_rng(5))
    near = stream.region == "north"
    stream.weight = stream.rng.normal(10, 1, stream.rows) + np.where(near != stream.since, 12, 0)
    stream.age, stream.postage, stream.price = (np.full(stream.rows, np.nan) for _ in range(3))
    stream.store(store)

    found = {each.check: each for each in diagnose(store, Asked(MODEL, UNTIL, SINCE)).verdicts}

    assert (found["relations"].cause, found["relations"].subject) == ("joined wrongly", "weight")
