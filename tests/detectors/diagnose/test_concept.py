"""P(y given X) told from P(X) for models of numbers, of classes and of lists, in worlds where both are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from world import REGIONS, SINCE, UNTIL, Noise, World, encoded, normal, wild

from tidegauge.detectors.diagnose import Asked, Level, Verdict, diagnose
from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.concept import concept
from tidegauge.detectors.diagnose.diagnosis import walk
from tidegauge.detectors.diagnose.ranking import rank
from tidegauge.detectors.diagnose.text import as_json, as_text
from tidegauge.detectors.diagnose.turn import turns
from tidegauge.detectors.diagnose.verdict import part_text
from tidegauge.detectors.traffic import Category
from tidegauge.store import Store

Make = Callable[[World], Case]
SEEDS = range(12)


def numbers(shift: float = 0.0, wider: float = 1.0, noise: Noise = normal) -> Make:
    return lambda world: world.numbers(noise(world.rng, world.rows), shift, wider)


def classes(mixed_up: float = 0.0, *, scores: bool = True) -> Make:
    return lambda world: world.classes(mixed_up, scores=scores)


def lists(shuffled: float = 0.0, *, scores: bool = False) -> Make:
    return lambda world: world.lists(shuffled, scores=scores)


def world(seed: int, drift: float = 0.0, part: str = "") -> World:
    return World(np.random.default_rng(seed), drift, part)


def found(verdicts: list[Verdict]) -> list[str]:
    return [part_text(each.part) for each in verdicts if each.found]


@pytest.mark.parametrize(
    ("make", "part", "said"),
    [
        (numbers(shift=0.6), "", "errors (label less prediction) at the same prediction"),
        (numbers(shift=0.8), "south", "errors (label less prediction) at the same prediction"),
        (numbers(wider=1.6), "", "sizes of errors at the same prediction"),
        (numbers(wider=2.0), "west", "sizes of errors at the same prediction"),
        (numbers(shift=1.5, noise=wild), "south", "errors (label less prediction) at the same prediction"),
        (classes(0.3), "", "hits (label is the predicted class) at the same class and score"),
        (classes(0.5), "south", "hits (label is the predicted class) at the same class and score"),
        (classes(0.5, scores=False), "south", "hits (label is the predicted class) at the same class and features"),
        (lists(0.5), "", "ndcg@10 at the same first item and features"),
        (lists(0.8), "west", "ndcg@10 at the same first item and features"),
        (lists(0.8, scores=True), "west", "ndcg@10 at the same first item and score"),
    ],
)
def test_a_change_of_outcomes_given_the_inputs_is_the_first_cause_with_its_part(
    make: Make, part: str, said: str
) -> None:
    first = rank(walk(make(world(7, part=part))))[0].finding

    assert (first.cause, first.level) == ("concept", Level.BAD)
    assert part_text(first.part) == (f"region={part}" if part else "all traffic")
    assert first.summary.startswith(said)


@pytest.mark.parametrize("drift", [0.0, 1.0])
@pytest.mark.parametrize(
    "make", [numbers(), numbers(noise=wild), classes(), classes(scores=False), lists(), lists(scores=True)]
)
def test_noise_and_other_inputs_alone_are_no_concept_over_many_seeds(make: Make, drift: float) -> None:
    verdicts = {seed: concept(make(world(seed, drift))) for seed in SEEDS}

    assert {seed: found(each) for seed, each in verdicts.items() if found(each)} == {}
    assert {each[0].level for each in verdicts.values()} == {Level.OK}


def test_a_part_with_errors_of_its_own_that_grew_is_no_concept() -> None:
    one = world(9)
    one.region[one.since & (one.rng.random(one.rows) < 0.5)] = REGIONS.index("south")
    noise = normal(one.rng, one.rows) + (one.region == REGIONS.index("south"))

    assert found(concept(one.numbers(noise))) == []


def test_the_part_that_changed_is_named_and_not_the_larger_one_that_stayed() -> None:
    for seed in SEEDS:
        verdicts = concept(world(seed, part="south").classes(0.4, scores=False))

        assert found(verdicts) == ["region=south"], seed


def test_the_loss_that_the_inputs_would_have_had_tells_a_harder_mix_from_worse_outcomes() -> None:
    moved, changed = (
        concept(make(world(3, drift)))[0].evidence for drift, make in ((-1.5, lists()), (0.0, lists(0.5)))
    )

    for each in (moved, changed):
        assert float(each["loss since"]) > float(each["loss before"]) + 0.08
    assert moved["loss expected"] == pytest.approx(moved["loss since"], abs=0.03)
    assert changed["loss expected"] == pytest.approx(changed["loss before"], abs=0.03)


def test_a_shift_of_numbers_is_told_in_the_units_of_the_label() -> None:
    one = world(3)
    case = one.numbers(normal(one.rng, one.rows))
    later = replace(case, rows=replace(case.rows, label=encoded(case.rows.label.numbers() + 3.0 * one.since)))

    assert concept(later)[0].evidence["in units of the label"] == pytest.approx(3.0, abs=0.6)


def test_a_few_wild_values_since_the_change_do_not_make_a_concept() -> None:
    one = world(5)
    noise = normal(one.rng, one.rows)
    noise[one.since & (one.rng.random(one.rows) < 0.01)] += 1e7

    assert found(concept(one.numbers(noise))) == []


def test_predictions_such_as_there_were_none_before_are_not_judged_and_said_to_be_so() -> None:
    one = world(2, drift=12.0)

    verdict = concept(one.numbers(normal(one.rng, one.rows)))[0]

    assert verdict.level is Level.UNKNOWN
    assert f"{one.since.sum()} since are of predictions such as there were none before" in verdict.summary


@pytest.mark.parametrize(("before", "since"), [(400, 1400), (5000, 60)])
def test_few_labels_are_unknown_with_the_counts(before: int, since: int) -> None:
    one = world(2)
    case = one.classes(0.5)
    kept = np.concatenate([np.flatnonzero(case.before)[:before], np.flatnonzero(case.after)[:since]])
    codes = np.full(one.rows, -1, dtype=np.int32)
    codes[kept] = case.rows.label.codes[kept]

    verdict = concept(replace(case, rows=replace(case.rows, label=Category(codes, case.rows.label.names))))[0]

    assert verdict.level is Level.UNKNOWN
    assert verdict.summary == f"{before} outcomes before and {since} since can be compared, 500 and 100 are needed"


def test_without_labels_it_is_unknown_what_is_lacking() -> None:
    case = world(2).classes()
    none = Category(np.full(case.rows.count, -1, dtype=np.int32), ())

    verdict = concept(replace(case, rows=replace(case.rows, label=none)))[0]

    assert (verdict.level, verdict.summary) == (
        Level.UNKNOWN,
        "labels, and predictions or scores, are needed",
    )


def test_labels_that_meet_no_prediction_are_unknown_and_tell_no_moment() -> None:
    one = world(2)
    case = one.numbers(normal(one.rng, one.rows))
    odd, said = np.arange(one.rows) % 2 == 1, case.rows.traffic.categorical["prediction"]
    label = Category(np.where(odd, case.rows.label.codes, -1).astype(np.int32), case.rows.label.names)
    apart = {"prediction": Category(np.where(odd, -1, said.codes).astype(np.int32), said.names)}
    rows = replace(case.rows, label=label, traffic=replace(case.rows.traffic, categorical=apart))

    assert concept(replace(case, rows=rows))[0].summary.startswith("0 outcomes before and 0 since")
    assert [each.by for each in turns(rows, UNTIL)] == [""]


def test_a_version_that_began_with_the_change_is_no_concept() -> None:
    """What it answers to the same inputs is another number, so the same number stands for other inputs."""
    one = world(4)
    newer = one.since & (one.rng.random(one.rows) < 0.5)
    case = one.numbers(normal(one.rng, one.rows))
    rows = case.rows
    off = rows.traffic.categorical["prediction"].numbers() + 20.0 * newer
    versions = Category(newer.astype(np.int32), ("v1", "v2"))
    traffic = replace(
        rows.traffic,
        categorical={"prediction": encoded(off)},
        dimensions={"version": versions, **rows.traffic.dimensions},
    )

    causes = rank(walk(replace(case, rows=replace(rows, traffic=traffic))))

    assert [each.finding.cause for each in causes][:1] == ["new version"]
    assert all(each.finding.cause != "concept" for each in causes)


def test_a_part_is_named_alone_where_the_rest_is_as_ever_and_beside_all_traffic_where_it_is_not() -> None:
    alone = concept(world(1, part="north").numbers(normal(np.random.default_rng(1), world(1).rows), 1.5))
    one = world(1, part="north")
    noise = normal(one.rng, one.rows) + 0.7 * one.since
    both = concept(one.numbers(noise, 1.5))

    assert found(alone) == ["region=north"]
    assert "outside of region=north" in alone[0].summary
    assert sorted(found(both)) == ["all traffic", "region=north"]


@pytest.mark.parametrize(
    ("make", "series"),
    [
        (numbers(shift=1.5, noise=wild), "the mean error in region=south"),
        (numbers(wider=3.0), "the size of errors in region=south"),
        (classes(0.7), "the agreement of labels and predictions in region=south"),
        (lists(0.8), "the mean ndcg@10 in region=south"),
    ],
)
def test_the_moment_is_found_by_what_labels_say_of_predictions(make: Make, series: str) -> None:
    begun = turns(make(world(6, part="south")).rows, UNTIL)[0]

    assert begun.by == series
    assert abs(begun.at - SINCE) <= timedelta(days=1)


def test_from_the_tables_to_the_text_the_part_in_which_times_grew_is_named(store: Store) -> None:
    one = world(8, part="south")
    one.store(store, one.numbers(normal(one.rng, one.rows), 1.5))

    text = as_text(as_json(diagnose(store, Asked("m", UNTIL)))).splitlines()

    assert text[0] == "m: concept (very likely), since 2026-04-01 00:00 UTC, in region=south"
    assert "the mean error in region=south changes most clearly there" in text[2]
