"""A category that is gone is told, and what went with it is not told beside it."""

from __future__ import annotations

from datetime import timedelta

from drift_stream import Row, Stream, day, drifts, loop, one, unit_change

from tidegauge.store import Store


def older_teams(rows: list[Row]) -> list[Row]:
    """Teams, a tenth of the rows, are 40 years older than others."""
    for row in rows:
        row["features"]["age"] += 40 * (row["categories"]["plan"] == "team")
    return rows


def test_drift_that_a_lost_category_explains_is_compared_without_its_rows_and_other_drift_stays(store: Store) -> None:
    stream, second = Stream(store), timedelta(seconds=1)
    training = older_teams(stream.rows([day(-30) + 700 * second * at for at in range(3000)], "training"))
    usual = older_teams(stream.rows([day(0) + 96 * second * at for at in range(900)]))
    without = [row for row in usual if row["categories"]["plan"] != "team"]
    for row in without:
        unit_change()(row, stream.rng)
    stream.insert(training)
    stream.insert(without)

    findings = loop(store, slices=()).run(day(1.1))

    age = one(findings, "age", "psi")
    assert {feature for feature, *_ in drifts(findings)} == {"plan", "income"}
    assert ("plan", "lost_categories", "") in drifts(findings)
    assert age.reason.startswith("explained by plan nearly without team:")
    assert age.effect is not None and age.effect_floor is not None and age.effect < age.effect_floor
    assert age.n_reference < 3000


def test_without_the_lost_category_being_lost_the_same_drift_is_told(store: Store) -> None:
    stream, second = Stream(store), timedelta(seconds=1)
    stream.insert(older_teams(stream.rows([day(-30) + 700 * second * at for at in range(3000)], "training")))
    stream.insert(stream.rows([day(0) + 96 * second * at for at in range(900)]))

    findings = loop(store, slices=()).run(day(1.1))

    assert {feature for feature, *_ in drifts(findings)} == {"age"}
    assert not one(findings, "age", "psi").reason.startswith("explained")
