"""Data: features that follow the clock and were shifted against it, and values of yesterday."""

from __future__ import annotations

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.rows import Floats, Ints, Mask
from tidegauge.detectors.diagnose.verdict import MOST_STRENGTH, Level, Stage, Verdict
from tidegauge.detectors.traffic import Category

HOUR_S, DAY_H, DAY_MIN, WEEK_D = 3600, 24, 1440, 7
FOLLOWS = 0.8
"""The share of rows at one offset from the event's time with which a feature is called a clock."""
REPEATED = ((0.85, 0.5), (0.6, 0.15))
"""Shares of hours with the value of the day before: since at least, and on any day before at most."""
STEADY = 0.05
"""A feature whose variance within an hour and part is less than this of the whole is one reading for all its rows."""
FEWEST_HOURS = 8
LATE_H = 6
"""It may have begun so many hours after the moment looked at."""


def clocks(case: Case) -> list[Verdict]:
    """Features that told the hour or the minute of the day and tell another one since."""
    shifts = {
        name: found for name in case.rows.traffic.numeric for found in [_shifted(case, name)] if found is not None
    }
    by_hours: dict[float, list[str]] = {}
    for name, hours in shifts.items():
        by_hours.setdefault(hours, []).append(name)
    return [_clock_verdict(hours, names) for hours, names in by_hours.items()]


def _shifted(case: Case, name: str) -> float | None:
    """By how many hours the feature was shifted against the time of the event; None where it was not or is no clock."""
    values = case.rows.traffic.numeric[name]
    finite, turn = np.isfinite(values), turn_of(values)
    if not turn:
        return None
    per_hour = turn // DAY_H
    offset = np.floor(np.mod(values - np.floor(case.rows.seconds / HOUR_S * per_hour), turn))
    recent = case.before & (case.day >= -WEEK_D)  # further back there may be another daylight saving time
    old, new = (_mode(offset[finite & mask]) for mask in (recent, case.after))
    if old is None or new is None or old == new:
        return None
    return float((new - old + turn / 2) % turn - turn / 2) / per_hour


def turn_of(values: Floats) -> int:
    """24 for values as large as hours of a day, 1440 for minutes of a day, else 0."""
    finite = values[np.isfinite(values)]
    largest = float(finite.max()) if len(finite) else 0.0
    return next((turn for turn in (DAY_H, DAY_MIN) if turn / 2 < largest < turn), 0)


def _mode(values: Floats) -> float | None:
    """The value that most rows have, where most do."""
    found, counts = np.unique(values, return_counts=True)
    if not len(found) or counts.max() < FOLLOWS * len(values):
        return None
    return float(found[np.argmax(counts)])


def _clock_verdict(hours: float, names: list[str]) -> Verdict:
    named = ", ".join(sorted(names))
    dst = abs(hours) == 1
    said = f"{named} went {hours:+g} h against the time of the event" + (": is it daylight saving time?" if dst else "")
    level = Level.SUSPECT if dst else Level.BAD
    strength = 1.5 if dst else MOST_STRENGTH
    numbers = {"hours": hours}
    return Verdict("features", Stage.DATA, level, said, "clock shifted", named, (), strength, frozenset(names), numbers)


def stale(case: Case) -> list[Verdict]:
    """Readings that repeated those of the day before on the first day, hour by hour, and never did before."""
    hour = hours_of(case)
    found = []
    for name, column in case.hourly.items():
        repeats = _repeats(case, case.rows.traffic.numeric[name], hour, column)
        if repeats is None:
            continue
        first, usual = repeats
        if any(first >= least and usual <= most for least, most in REPEATED):
            found.append(_stale_verdict(name, first, usual))
    return found


def _stale_verdict(name: str, first: float, usual: float) -> Verdict:
    said = (
        f"{first:.0%} of the first day's hours repeat the value of the same hour a day earlier, at most {usual:.0%} "
        "on days before: it is read a day late"
    )
    numbers = {"repeated": first, "most before": usual}
    return Verdict("features", Stage.DATA, Level.BAD, said, "stale", name, (), 16.0, frozenset({name}), numbers)


def hours_of(case: Case) -> Ints:
    """The hour of each row, counted from the moment looked at."""
    found: Ints = np.floor((case.rows.seconds - case.since.timestamp()) / HOUR_S).astype(np.int64)
    return found


def steady(case: Case, values: Floats, hour: Ints) -> Category | None:
    """The dimension within whose values the feature has one reading an hour."""
    kept = np.isfinite(values)
    whole = float(np.var(values[kept])) if kept.any() else 0.0
    if whole == 0:
        return None
    for column in case.dimensions.values():
        cell, inside = _cells(hour, column, kept)
        if len(inside) and _within(values[inside], cell) < STEADY * whole:
            return column
    return None


def _cells(hour: Ints, column: Category, kept: Mask) -> tuple[Ints, Ints]:
    """A number for each (hour, part) of the rows kept, and those rows."""
    rows = np.flatnonzero(kept & (column.codes >= 0))
    return (hour[rows] - hour.min()) * len(column.names) + column.codes[rows], rows


def readings(values: Floats, hour: Ints, column: Category) -> Floats:
    """The last value known in each hour (rows) and part (columns); NaN where there is none."""
    cell, rows = _cells(hour, column, np.isfinite(values))
    table = np.full((int(hour.max() - hour.min()) + 1) * len(column.names), np.nan)
    table[cell] = values[rows]
    return table.reshape(-1, len(column.names))


def _within(values: Floats, cell: Ints) -> float:
    count = np.bincount(cell)
    mean = np.bincount(cell, values) / np.maximum(count, 1)
    shared = count[cell] > 1  # a reading alone in its hour says nothing
    return float(np.mean((values[shared] - mean[cell][shared]) ** 2)) if shared.mean() > 0.5 else np.inf


def _repeats(case: Case, values: Floats, hour: Ints, column: Category) -> tuple[float, float] | None:
    """The share of (hour, part) on the first day since with the reading of 24 hours earlier, and the most before."""
    table = readings(values, hour, column)
    known = ~np.isnan(table[DAY_H:]) & ~np.isnan(table[:-DAY_H])
    same = (table[DAY_H:] == table[:-DAY_H]) & known
    shares = _by_day(same.sum(1), known.sum(1), int(hour.min()) + DAY_H)
    before = [share for day, share in shares.items() if day < 0]
    return (shares[0], max(before)) if 0 in shares and len(before) >= 3 else None


def _by_day(same: Ints, known: Ints, first: int) -> dict[int, float]:
    """For each day the largest share among its 24 hours and those that begin up to ``LATE_H`` later.

    Args:
        same: Of the readings ``known`` in each hour.
        first: The hour of the first of them, counted from the moment looked at.
    """
    repeated, of = (np.concatenate([[0], each.cumsum()]) for each in (same, known))
    usual = np.median(of[DAY_H::DAY_H] - of[:-DAY_H:DAY_H]) if len(of) > DAY_H else 0.0
    shares: dict[int, float] = {}
    for start in range(len(known)):
        day, late = divmod(start + first, DAY_H)
        end = min(start + DAY_H, len(known))
        if late <= LATE_H and (late == 0 or day != -1) and of[end] - of[start] >= max(FEWEST_HOURS, usual / 2):
            share = float((repeated[end] - repeated[start]) / (of[end] - of[start]))
            shares[day] = max(share, shares.get(day, 0.0))
    return shares
