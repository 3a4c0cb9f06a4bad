"""What the year really does, computed from the data alone: a yardstick for what Tidegauge finds in the stream.

Nothing here uses Tidegauge's detectors. The tables of docs/flights.md come from
``python -m tidegauge.demo.flights.truth``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tidegauge.demo.flights.data import CATEGORICAL, FEATURES
from tidegauge.demo.flights.model import Quality, assess

Floats = NDArray[np.float64]
BINS = 10
DAYS_A_WEEK = 7


@dataclass(frozen=True)
class Shift:
    """How far one week of a feature lies from January to March.

    ``psi``: population stability index over the deciles of the reference (categories: over their values) and one bin
    for missing, half a count added to each bin; 0 upwards. ``ks``: the largest distance of the two distribution
    functions, missing values left out; 0 to 1, nan for a category. ``missing``: the share missing, 0 to 1.
    """

    feature: str
    week: date
    rows: int
    psi: float
    ks: float
    missing: float


@dataclass(frozen=True)
class Performance:
    """The model on the labelled flights of one carrier (empty: all) in one month. ``accuracy`` is 0 to 1."""

    carrier: str
    month: int
    quality: Quality
    accuracy: float
    mean_score: float


def weekly_shifts(training: pl.DataFrame, rows: pl.DataFrame) -> list[Shift]:
    """Every feature in every whole week (Monday to Sunday) of ``rows`` against ``training``."""
    return shifts(training, _weeks(rows))


def shifts(training: pl.DataFrame, parts: dict[date, pl.DataFrame]) -> list[Shift]:
    """Every feature in every part of the rows, named by its first day, against ``training``."""
    return [shift for feature in FEATURES for shift in _feature_shifts(feature, training[feature], parts)]


def monthly_performance(answered: pl.DataFrame) -> list[Performance]:
    """The model month by month, over all and for each carrier; ``answered`` are rows of ``FlightsStream.later``."""
    labelled = answered.filter(pl.col("late").is_not_null()).with_columns(month=pl.col("date").dt.month())
    every = labelled.with_columns(carrier=pl.lit("")).partition_by("carrier", "month", as_dict=True)
    each = labelled.partition_by("carrier", "month", as_dict=True)
    return [performance(str(key[0]), int(key[1]), part) for key, part in sorted((every | each).items())]


def psi(reference_counts: Floats, counts: Floats) -> float:
    """Sum over the bins of (q - p) ln(q / p), with half a count added to each bin. 0 for equal shares."""
    p, q = ((each + 0.5) / (each.sum() + 0.5 * len(each)) for each in (reference_counts, counts))
    return float(np.sum((q - p) * np.log(q / p)))


def ks(sorted_reference: Floats, values: Floats) -> float:
    """The two-sample Kolmogorov-Smirnov statistic; nan when either sample is empty."""
    if not len(sorted_reference) or not len(values):
        return float("nan")
    at = np.sort(values)
    sides: tuple[Literal["left", "right"], ...] = ("left", "right")  # just before each value, and at it
    gaps = [np.abs(_share_below(sorted_reference, at, side) - _share_below(at, at, side)) for side in sides]
    return float(np.max(gaps))


def _share_below(sample: Floats, at: Floats, side: Literal["left", "right"]) -> Floats:
    return np.searchsorted(sample, at, side) / len(sample)


def _weeks(rows: pl.DataFrame) -> dict[date, pl.DataFrame]:
    parts = rows.with_columns(week=pl.col("date").dt.truncate("1w")).partition_by("week", as_dict=True)
    return {key[0]: part for key, part in sorted(parts.items()) if part["date"].n_unique() == DAYS_A_WEEK}


def _feature_shifts(feature: str, reference: pl.Series, weeks: dict[date, pl.DataFrame]) -> Iterator[Shift]:
    if feature in CATEGORICAL:
        yield from _category_shifts(feature, reference, weeks)
        return
    known = np.sort(reference.drop_nans().to_numpy())
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
    base = _binned(reference.to_numpy(), edges)
    for week, rows in weeks.items():
        values = rows[feature].to_numpy()
        present = values[~np.isnan(values)]
        missing = 1 - len(present) / len(values)
        yield Shift(feature, week, len(values), psi(base, _binned(values, edges)), ks(known, present), missing)


def _binned(values: Floats, edges: Floats) -> Floats:
    """Counts in the bins below, between and from ``edges`` on, and of missing values."""
    missing = np.isnan(values)
    inside = np.bincount(np.searchsorted(edges, values[~missing], "right"), minlength=len(edges) + 1)
    return np.append(inside, missing.sum()).astype(np.float64)


def _category_shifts(feature: str, reference: pl.Series, weeks: dict[date, pl.DataFrame]) -> Iterator[Shift]:
    names = pl.Series(
        sorted({*reference.unique(), *(each for rows in weeks.values() for each in rows[feature].unique())})
    )
    base = _counted(reference, names)
    for week, rows in weeks.items():
        missing = float((rows[feature] == "").sum()) / rows.height
        yield Shift(feature, week, rows.height, psi(base, _counted(rows[feature], names)), float("nan"), missing)


def _counted(values: pl.Series, names: pl.Series) -> Floats:
    places = np.searchsorted(names.to_numpy().astype(str), values.to_numpy().astype(str))
    return np.bincount(places, minlength=len(names)).astype(np.float64)


def performance(carrier: str, month: int, rows: pl.DataFrame) -> Performance:
    """The model on ``rows``, which are labelled and belong to ``carrier`` and ``month``."""
    scores, late = rows["score"].to_numpy(), rows["late"].cast(pl.Float64).to_numpy()
    right = float((rows["prediction"] == rows["late"]).sum()) / rows.height
    return Performance(carrier, month, assess(scores, late), right, float(scores.mean()))


def main() -> None:
    """Print every table."""
    from tidegauge.demo.flights.stream import FlightsStream
    from tidegauge.demo.flights.tables import everything

    stream = FlightsStream()
    sys.stdout.write(everything(stream))


if __name__ == "__main__":
    main()
