from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tidegauge.demo.flights import FlightsStream, data, tables, truth
from tidegauge.demo.flights.data import FEATURES
from tidegauge.demo.flights.faults import CHOICES

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "flights.md").read_text()


@pytest.fixture(scope="module")
def year() -> pl.DataFrame:
    return data.load()


@pytest.fixture(scope="module")
def shifts(year: pl.DataFrame) -> list[truth.Shift]:
    return truth.weekly_shifts(data.training_part(year), data.later_part(year))


def test_psi_is_nothing_for_equal_shares_and_the_formula_otherwise() -> None:
    assert truth.psi(np.array([10.0, 30.0]), np.array([10.0, 30.0])) == 0
    p, q = np.array([10.5, 30.5]) / 41, np.array([30.5, 10.5]) / 41
    assert truth.psi(np.array([10.0, 30.0]), np.array([30.0, 10.0])) == pytest.approx(((q - p) * np.log(q / p)).sum())


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_ks_agrees_with_scipy(rng: np.random.Generator, digits: int) -> None:
    reference, current = rng.normal(0, 2, 700).round(digits), rng.normal(0.3, 2, 150).round(digits)
    expected = stats.ks_2samp(reference, current).statistic
    assert truth.ks(np.sort(reference), current) == pytest.approx(expected, abs=1e-12)


def test_ks_of_nothing_is_undefined() -> None:
    assert np.isnan(truth.ks(np.array([]), np.array([1.0])))


def test_there_are_39_whole_weeks_of_each_feature(shifts: list[truth.Shift], year: pl.DataFrame) -> None:
    weeks = sorted({each.week for each in shifts})

    assert len(shifts) == 39 * len(FEATURES)
    assert (weeks[0], weeks[-1]) == (date(2013, 4, 1), date(2013, 12, 23))
    counted = sum(each.rows for each in shifts if each.feature == "temp")
    assert counted == data.later_part(year).filter(pl.col("date") < date(2013, 12, 30)).height


def test_the_tables_that_come_from_the_data_alone_are_those_in_the_document(
    year: pl.DataFrame, shifts: list[truth.Shift]
) -> None:
    training, later = data.training_part(year), data.later_part(year)
    before = truth.weekly_shifts(training, training)
    made = [
        tables.flights_table(year),
        tables.missing_table(year),
        tables.outages_table(year),
        tables.destinations_table(training, later),
        tables.summary_table(before, shifts),
        tables.weeks_table(shifts, FEATURES, lambda each: each.psi),
        tables.weeks_table(shifts, data.NUMERIC, lambda each: each.ks),
    ]
    assert [table for table in made if table not in DOCUMENT] == []


def test_every_kind_of_fault_is_in_the_document() -> None:
    assert [choice for choice in CHOICES.values() if f"- `{choice.replace(' - ', '` - ', 1)}\n" not in DOCUMENT] == []


def test_performance_adds_up_over_carriers() -> None:
    later = FlightsStream(sample=0.05).later

    performance = truth.monthly_performance(later)

    for month in range(4, 13):
        [overall] = [each for each in performance if each.month == month and not each.carrier]
        parts = [each for each in performance if each.month == month and each.carrier]
        flights = sum(each.quality.flights for each in parts)
        assert overall.quality.flights == flights
        assert overall.accuracy == pytest.approx(sum(each.accuracy * each.quality.flights for each in parts) / flights)
        assert overall.quality.brier == pytest.approx(
            sum(each.quality.brier * each.quality.flights for each in parts) / flights
        )


def test_the_report_has_every_table_of_the_document() -> None:
    stream = FlightsStream(sample=0.05)

    report = tables.everything(stream)

    headings = [line for line in report.splitlines() if line.startswith("### ")]
    assert headings == [line for line in DOCUMENT.splitlines() if line.startswith("### ")]
