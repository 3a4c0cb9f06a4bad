from __future__ import annotations

import sys

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from tidegauge.demo.flights import data
from tidegauge.demo.flights.model import Fitted, assess, encode, fit, fit_with_a_bug
from tidegauge.errors import MissingExtra


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return data.load(0.15)


@pytest.fixture(scope="module")
def fitted(rows: pl.DataFrame) -> Fitted:
    return fit(data.training_part(rows))


def labelled(rows: pl.DataFrame) -> pl.DataFrame:
    return data.later_part(rows).filter(pl.col("late").is_not_null())


def test_quality_agrees_with_scikit_learn(rng: np.random.Generator) -> None:
    late = rng.integers(0, 2, 500).astype(np.float64)
    scores = np.asarray(np.round(np.clip(late * 0.2 + rng.random(500), 0, 1), 1), dtype=np.float64)  # many ties

    quality = assess(scores, late)

    assert quality.auc == pytest.approx(roc_auc_score(late, scores), abs=1e-12)
    assert quality.brier == pytest.approx(brier_score_loss(late, scores), abs=1e-12)


def test_one_class_alone_has_no_auc() -> None:
    assert np.isnan(assess(np.array([0.1, 0.2]), np.array([1.0, 1.0])).auc)


def test_the_model_ranks_flights_of_days_that_it_has_not_seen(rows: pl.DataFrame, fitted: Fitted) -> None:
    later = labelled(rows)

    quality = assess(fitted.model.score(later), later["late"].to_numpy().astype(float))

    assert 0.65 < quality.auc < 0.75
    assert 0.65 < fitted.quality.auc < 0.75


def test_the_threshold_calls_as_many_training_flights_late_as_were(rows: pl.DataFrame, fitted: Fitted) -> None:
    known = data.training_part(rows)["late"].is_not_null().to_numpy()
    called = fitted.model.decide(fitted.training_scores[known]).mean()
    assert called == pytest.approx(fitted.quality.late_rate, abs=0.001)


def test_a_training_flights_score_does_not_depend_on_the_labels_of_its_days(rows: pl.DataFrame, fitted: Fitted) -> None:
    training = data.training_part(rows)
    first_days = pl.col("date").dt.day().is_between(1, 4) & (pl.col("date").dt.month() == 1)
    flipped = training.with_columns(late=pl.when(first_days).then(1 - pl.col("late")).otherwise(pl.col("late")))

    there = training.select(first_days)["date"].to_numpy()
    same = fit(flipped).training_scores == fitted.training_scores

    assert same[there].all()
    assert not same[~there].all()


def test_the_release_with_a_bug_averages_much_the_same_and_ranks_worse(rows: pl.DataFrame, fitted: Fitted) -> None:
    later = labelled(rows)
    late = later["late"].to_numpy().astype(float)
    bad = fit_with_a_bug(data.training_part(rows), fitted.model, "2013-06-30")

    good_scores, bad_scores = fitted.model.score(later), bad.score(later)

    assert abs(bad_scores.mean() - good_scores.mean()) < 0.06
    assert assess(bad_scores, late).auc < assess(good_scores, late).auc - 0.04


def test_a_category_not_seen_in_training_counts_as_missing(rows: pl.DataFrame, fitted: Fitted) -> None:
    strange = rows.head(3).with_columns(dest=pl.lit("XXX"))

    matrix = encode(strange, fitted.model.tables)

    assert np.isnan(matrix[:, len(data.NUMERIC) + 2]).all()
    assert np.isfinite(fitted.model.score(strange)).all()


def test_two_fits_are_equal(rows: pl.DataFrame, fitted: Fitted) -> None:
    again = fit(data.training_part(rows))

    assert np.array_equal(again.training_scores, fitted.training_scores)
    assert again.quality == fitted.quality


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, rows: pl.DataFrame) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingExtra, match=r"tidegauge\[demo\]"):
        fit(data.training_part(rows))
