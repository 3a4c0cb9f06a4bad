"""Faults drawn by lot for a day, so that nobody chooses those on which the diagnosis is judged.

Kinds come at most once each; the feature, the part of the traffic and the numbers are drawn as well. Drawn again is
what would leave more than half of the values that it touches as they are, such as inches of rain in mm, or times a
thousand, on dry days.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import polars as pl

from tidegauge.demo.flights import damage, data
from tidegauge.demo.flights.faults import CHOICES, CORRUPTIBLE, ORIGINS, UNITS, Fault, parse_fault

LEAST_PART = 0.03
"""The share of the flights that a carrier has at least, to be drawn."""
LEAST_CHANGED = 0.5
COUNTED = ("units", "missing", "constant", "precision", "skew", "swap", "stale", "outliers")
"""Kinds of which it is counted how many values of the part they make another."""


def drawn_faults(rows: pl.DataFrame, day: date, number: int, days: int = 10) -> list[str]:
    """``number`` faults that begin on ``day``, as ``parse_fault`` reads them; the same for the same day.

    Args:
        rows: The flights as ``data.load`` gives them, without any fault.
        number: 1 to as many as there are kinds.
        days: How long the change must be seen: values of so many days are counted.
    """
    rng = np.random.default_rng(day.toordinal())
    window = rows.filter(pl.col("date").is_between(day - timedelta(days=2), day + timedelta(days=days - 1)))
    kinds = rng.permutation(sorted(CHOICES))[:number]
    return [next(_changing(str(kind), day, window, rows, rng)) for kind in kinds]


def _changing(
    kind: str, day: date, window: pl.DataFrame, rows: pl.DataFrame, rng: np.random.Generator
) -> Iterator[str]:
    """Faults of a kind that change enough, one after the other."""
    carriers = _carriers(window)
    while True:
        text = f"{':'.join([kind, *_arguments(kind, carriers, rng)])}@{day}"
        if kind not in COUNTED or _changed(window, parse_fault(text), rows) >= LEAST_CHANGED:
            yield text


def _carriers(window: pl.DataFrame) -> list[str]:
    shares = window["carrier"].value_counts(normalize=True).filter(pl.col("proportion") >= LEAST_PART)
    return sorted(shares["carrier"].to_list())


def _arguments(kind: str, carriers: list[str], rng: np.random.Generator) -> list[str]:
    def one(names: tuple[str, ...] | list[str]) -> str:
        return str(rng.choice(names))

    usage = CHOICES[kind].partition(" - ")[0]
    part = [one([*ORIGINS, *carriers])] if "PART" in usage and rng.random() < 0.5 else []
    match kind:
        case "swap":
            return [str(each) for each in rng.choice(data.NUMERIC, 2, replace=False)]
        case "labels" | "mix" | "concept" | "new_category":
            return [one(carriers)]
        case "volume":
            return [one(ORIGINS)]
        case "lost":
            return [one(("late", "ontime"))]
        case "delay":
            return [one(("2", "3", "5"))]
        case "duplicates" | "drop" | "version":
            return [one(("0.2", "0.3", "0.5"))]
        case "stale":
            return [one(data.WEATHER)]
    if "FEATURE" not in usage:
        return []
    allowed = {"units": tuple(UNITS), "missing": CORRUPTIBLE, "constant": CORRUPTIBLE}.get(kind, data.NUMERIC)
    return [one(allowed), *part]


def _changed(window: pl.DataFrame, fault: Fault, training: pl.DataFrame) -> float:
    """The least share, over the features of a fault, of the values in its part that it makes another.

    Of outliers, which are few, the share of values that would be another one if they were among them.
    """
    if fault.kind == "outliers":
        values = window.filter(fault.touches())[fault.feature].to_numpy()
        return float(np.mean(np.isfinite(values) & (values != 0)))
    after = damage.damaged(window, fault, training)
    touched = window.select(fault.touches().alias("x"))["x"]
    pairs = [(window[name].filter(touched), after[name].filter(touched)) for name in fault.features]
    return min(float(one.ne_missing(other).mean() or 0.0) for one, other in pairs)  # type: ignore[arg-type]
