"""What a world that moves brings, and what only a fault does: each through the tables."""

from __future__ import annotations

import numpy as np
import pytest
from shop import DAYS_BEFORE, DAYS_SINCE, MODEL, SINCE, UNTIL, Shop, pounds

from tidegauge.detectors.diagnose import Asked, Diagnosis, Level, diagnose
from tidegauge.detectors.diagnose.verdict import part_text
from tidegauge.model import Slice
from tidegauge.store import Store


@pytest.fixture
def shop() -> Shop:
    return Shop(np.random.default_rng(5))


def causes(found: Diagnosis) -> list[tuple[str, str, str]]:
    """Bad ones: what, of what, where."""
    bad = (each.finding for each in found.causes if each.finding.level is Level.BAD)
    return [(each.cause, each.subject, part_text(each.part)) for each in bad]


def readings(shop: Shop, late: np.ndarray, table: np.ndarray | None = None) -> np.ndarray:
    """One an hour and region, ``late`` rows with those of the day before."""
    table = shop.rng.normal(60, 15, (24 * 60, 3)) if table is None else table
    hour, region = (shop.at // 3600).astype(int), np.unique(shop.region.astype(str), return_inverse=True)[1]
    found: np.ndarray = np.where(late, table[hour - 24, region], table[hour, region])
    return found


def test_orders_that_all_became_heavier_are_no_other_unit_as_they_cost_and_post_accordingly(
    store: Store, shop: Shop
) -> None:
    pounds(shop)
    shop.price = 5 * shop.weight + shop.rng.normal(60, 10, shop.rows)
    shop.postage = 0.7 * shop.weight + shop.rng.normal(5, 1, shop.rows)
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    (weight,) = [each for each in found.verdicts if each.subject == "weight"]
    assert (weight.cause, weight.level) == ("moved", Level.SUSPECT)
    assert weight.summary.endswith("but fits the other features better as it is")


def test_training_copies_date_other_units_where_the_world_moved_against_them_at_first(store: Store, shop: Shop) -> None:
    day = (shop.at // 86_400).astype(int)
    world = np.where(np.arange(day.max() + 1) < DAYS_BEFORE + 3, -5.5, 8.0)
    world[:DAYS_BEFORE] = shop.rng.normal(0, 5, DAYS_BEFORE)
    shop.weight = 20 + (shop.weight - 10) / 2 + world[day]
    shop.sound = shop.features
    shop.weight = np.where(shop.since, shop.weight * 1.609344, shop.weight)
    shop.store(store, copied=0.3)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    (units,) = [each for each in found.causes if "weight" in each.finding.columns]
    assert (units.finding.cause, found.began(units)) == ("units", SINCE)


def test_a_conversion_is_told_from_training_copies_of_two_values(store: Store, shop: Shop) -> None:
    west = shop.region == "west"
    shop.price = np.where(west, shop.rng.choice(np.array([10.0, 20.0]), shop.rows), shop.price)
    shop.sound = shop.features
    shop.price = np.where(west & shop.since, shop.price * 1.609344, shop.price)
    shop.store(store, copied=0.3)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert causes(found)[0] == ("units", "price", "region=west")


def test_labels_that_are_turned_while_scores_foretell_nothing_are_told(store: Store, shop: Shop) -> None:
    north = (shop.region == "north") & shop.since
    shop.score = 0.3 * shop.score
    shop.label = (shop.rng.random(shop.rows) < np.where(north, 0.1 - 0.1 * shop.score, shop.score)).astype(np.int64)
    shop.label = np.where(north, 1 - shop.label, shop.label)
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert causes(found)[0] == ("labels flipped", "", "region=north")


def test_a_class_that_is_no_longer_labelled_is_no_turned_label(store: Store, shop: Shop) -> None:
    north = (shop.region == "north") & shop.since
    shop.score = 0.3 * shop.score
    shop.label = np.where(north, 1, (shop.rng.random(shop.rows) < shop.score).astype(np.int64))
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert causes(found)[0] == ("concept", "", "region=north")


@pytest.mark.parametrize("late_h", [0, 5])
def test_readings_of_the_day_before_are_told_though_it_began_hours_after_the_moment_asked_for(
    store: Store, shop: Shop, late_h: int
) -> None:
    shop.age = readings(shop, late=shop.after(late_h / 24))
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert ("stale", "age", "all traffic") in causes(found)


def test_a_few_hours_like_those_of_the_day_before_are_no_late_reading(store: Store, shop: Shop) -> None:
    shop.age = np.where(shop.after(5 / 24), np.nan, readings(shop, late=shop.since))
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert causes(found)[0] == ("missing", "age", "all traffic")
    assert "stale" not in {each.cause for each in found.verdicts}


@pytest.mark.parametrize(("version", "level"), [("v1", Level.BAD), ("v2", Level.UNKNOWN)])
def test_a_version_of_the_day_before_has_no_changed_threshold(
    store: Store, shop: Shop, version: str, level: Level
) -> None:
    released = shop.after(-20 / 24)
    shop.version = np.where(released, version, shop.version)
    shop.threshold = np.where(released, 0.3, shop.threshold)
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert next(each for each in found.verdicts if each.check == "decisions").level is level


@pytest.mark.parametrize("sound_days", [0, 1])
def test_half_a_relation_of_which_nothing_is_left_is_sure_and_not_where_a_day_still_has_it(
    store: Store, shop: Shop, sound_days: int
) -> None:
    shop.age = 40 + (shop.price - 110) / 2 + shop.rng.normal(0, 12, shop.rows)
    wrong = np.flatnonzero(shop.since & ~shop.after(DAYS_SINCE - sound_days))
    shop.age[wrong] = shop.rng.permutation(shop.age[wrong])
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    sure = [(each.finding.cause, each.finding.subject) for each in found.causes if each.finding.strength >= 3]
    assert sure == ([] if sound_days else [("joined wrongly", "age")])


def test_rows_of_others_that_look_like_another_unit_in_one_part_are_joined_wrongly(store: Store, shop: Shop) -> None:
    west = shop.region == "west"
    shop.weight = np.where(west, shop.weight / 1.609344, shop.weight)
    shop.price = 5 * shop.weight + shop.rng.normal(60, 15, shop.rows)
    shop.postage = 0.7 * shop.weight + shop.rng.normal(5, 2, shop.rows)
    shop.weight = np.where(shop.since, shop.rng.choice(shop.weight[~west], shop.rows), shop.weight)
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert causes(found)[0] == ("joined wrongly", "weight", "all traffic")
    (west_alone,) = [each for each in found.verdicts if each.part == (Slice("region", "west"),)]
    assert west_alone.cause == "moved"
    assert west_alone.summary.startswith("looks like units in region=west")
    assert west_alone.summary.endswith("fits the other features no longer outside of it either")


def test_training_copies_tell_a_reading_of_the_day_before_that_is_mostly_the_same_any_day(
    store: Store, shop: Shop
) -> None:
    table = np.where(shop.rng.random((24 * 60, 3)) < 0.7, 10.0, shop.rng.integers(1, 9, (24 * 60, 3)))
    shop.age = readings(shop, np.zeros(shop.rows, dtype=np.bool_), table)
    shop.sound = shop.features
    shop.age = readings(shop, shop.since, table)
    shop.store(store, copied=0.3)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert causes(found)[0] == ("stale", "age", "all traffic")
    assert found.causes[0].finding.check == "train/serve skew"


def test_training_copies_tell_rounding_of_what_lay_on_the_grid_for_the_most_part(store: Store, shop: Shop) -> None:
    on_grid = shop.rng.random(shop.rows) < 0.6
    shop.price = np.where(on_grid, 10 * np.round(shop.price / 10), np.round(shop.price))
    shop.sound = shop.features
    shop.price = np.where(shop.since, 10 * np.round(shop.price / 10), shop.price)
    shop.store(store, copied=0.3)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert causes(found)[0] == ("precision lost", "price", "all traffic")


def test_a_release_some_hours_before_the_moment_asked_for_is_named(store: Store, shop: Shop) -> None:
    early = shop.after(-9 / 24)
    shop.version = np.where(early, "v2", shop.version)
    shop.score = np.where(early, shop.rng.random(shop.rows), shop.score)
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert causes(found)[0] == ("new version", "v2", "version=v2")


def test_a_clock_that_is_rounded_in_one_part_is_not_called_late_as_it_repeats_itself_each_day(
    store: Store, shop: Shop
) -> None:
    west = shop.region == "west"
    shop.age = np.floor(shop.at / 3600) % 24
    shop.sound = shop.features
    shop.age = np.where(west & shop.since, 10 * np.round(shop.age / 10), shop.age)
    shop.store(store, copied=0.3)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert "stale" not in {each.cause for each in found.verdicts}
    assert causes(found)[0] == ("precision lost", "age", "region=west")


def test_training_copies_tell_a_clock_that_is_off_in_one_part(store: Store, shop: Shop) -> None:
    west = shop.region == "west"
    shop.age = np.floor(shop.at / 3600) % 24
    shop.sound = shop.features
    shop.age = np.where(west & shop.since, (shop.age + 5) % 24, shop.age)
    shop.store(store, copied=0.3)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert causes(found)[0] == ("clock shifted", "age", "region=west")
    assert found.causes[0].finding.evidence["hours"] == 5


def test_weeks_in_which_features_fit_far_better_than_usual_hide_no_rows_of_others(store: Store, shop: Shop) -> None:
    noise = np.where(shop.after(-10), 10.0, 0.5)
    shop.price = 60 + 5 * shop.weight + noise * shop.rng.normal(0, 1, shop.rows)
    since = np.flatnonzero(shop.since)
    shop.price[since] = shop.rng.permutation(shop.price[since])
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert causes(found)[0] == ("joined wrongly", "price", "all traffic")


def seen(found: Diagnosis, subject: str) -> set[tuple[str | None, str]]:
    """What was seen of a feature, and where."""
    return {(each.cause, part_text(each.part)) for each in found.verdicts if each.subject == subject}


@pytest.mark.parametrize("own", [True, False])
def test_a_value_that_rows_of_one_kind_alone_have_is_theirs_and_no_default(store: Store, shop: Shop, own: bool) -> None:
    kind = shop.price > np.quantile(shop.price, 0.6) if own else shop.rng.random(shop.rows) < 0.4
    new = shop.since & (shop.region == "south") & kind & (shop.rng.random(shop.rows) < 0.2)
    shop.age = np.where(new, -60.0, shop.age)
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert (("default value", "region=south") in seen(found, "age")) != own


def test_a_source_that_fills_in_two_features_at_once_makes_no_kind_of_its_rows(store: Store, shop: Shop) -> None:
    filled = shop.since & (shop.region == "south") & (shop.rng.random(shop.rows) < 0.15)
    shop.age, shop.postage = np.where(filled, -60.0, shop.age), np.where(filled, -60.0, shop.postage)
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert ("default value", "region=south") in seen(found, "age") & seen(found, "postage")


def test_what_is_filled_in_at_night_alone_is_a_default_though_the_clock_sets_its_rows_apart(
    store: Store, shop: Shop
) -> None:
    shop.postage = np.floor(shop.at / 3600) % 24
    night = shop.since & (shop.region == "south") & (shop.postage < 6) & (shop.rng.random(shop.rows) < 0.5)
    shop.age = np.where(night, -60.0, shop.age)
    shop.store(store)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE))

    assert ("default value", "region=south") in seen(found, "age")
