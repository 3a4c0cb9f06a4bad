"""Running panels: their parameters in, plain JSON values out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from tidegauge.dashboards.panels import Board, Kind, Panel, Variable
from tidegauge.model import Window
from tidegauge.store import Rows, Store

LIMITS = " SETTINGS max_execution_time = 30, max_result_rows = 50000, result_overflow_mode = 'break'"
STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000)
BUCKETS = 150


@dataclass(frozen=True, slots=True)
class Data:
    """A panel's answer: rows of JSON values, and the bucket width in seconds that was used."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    step_s: int

    def as_json(self) -> dict[str, Any]:
        """For the page's charts."""
        return {"columns": self.columns, "rows": self.rows, "step_s": self.step_s}


def step_for(window: Window, minimum_s: int = 60) -> int:
    """Width of a time bucket in seconds, so that a window has at most 150 of them.

    >>> from tidegauge.model import Window
    >>> step_for(Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)))
    600
    """
    wanted = max(window.length.total_seconds() / BUCKETS, minimum_s)
    return next((step for step in STEPS_S if step >= wanted), math.ceil(wanted / 86_400) * 86_400)


def run(store: Store, panel: Panel, window: Window, variables: Mapping[str, str]) -> Data:
    """The panel's answer for ``window``; a variable that is not given means all.

    Raises:
        StoreError: ClickHouse refused the statement, or it took longer than 30 s.
    """
    step_s = step_for(window, panel.min_step_s)
    rows = store.rows(panel.sql + LIMITS, parameters(panel.parameters, window, step_s, variables))
    if panel.kind is Kind.TIMESERIES:
        rows = fill_gaps(rows, step_s, zero=panel.zero_gaps)
    columns = tuple(rows[0]) if rows else ()
    return Data(columns, tuple(tuple(plain(value) for value in row.values()) for row in rows), step_s)


def parameters(
    names: frozenset[str], window: Window, step_s: int, variables: Mapping[str, str]
) -> dict[str, datetime | int | str]:
    """Values for the bound parameters ``names``."""
    known: dict[str, datetime | int | str] = {"start": window.start, "end": window.end, "step": step_s}
    return {name: known[name] if name in known else variables.get(name, "") for name in names}


def choices(store: Store, variable: Variable, window: Window) -> list[str]:
    """What a variable can be set to in ``window``."""
    return [str(row["option"]) for row in store.rows(variable.sql + LIMITS, {"start": window.start, "end": window.end})]


def menus(store: Store, board: Board, window: Window) -> dict[str, list[str]]:
    """The choices of every variable of ``board``."""
    return {each.name: choices(store, each, window) for each in board.variables}


def fill_gaps(rows: Rows, step_s: int, *, zero: bool) -> Rows:
    """Put a row into every hole of a series, so that no line is drawn across a stretch without data.

    With ``zero`` every step without a row between two rows of a series becomes 0. Else a None breaks the line where two
    rows are further apart than a step and than 1.5 times the series' usual distance: a daily result is not a row of
    holes. Rows come back by series and time.
    """
    if not rows or "time" not in rows[0]:
        return rows
    numbers = [name for name in rows[0] if name not in ("time", "series")]
    ordered = sorted(rows, key=lambda row: (str(row.get("series", "")), row["time"]))
    step, filled = timedelta(seconds=step_s), ordered[:1]
    allowed = {} if zero else _usual_distances(ordered)
    for before, row in pairwise(ordered):
        series = row.get("series")
        if before.get("series") == series and row["time"] - before["time"] > max(step, allowed.get(series, step)):
            filled += _hole(before, row, step, dict.fromkeys(numbers, 0 if zero else None), zero)
        filled.append(row)
    return filled


def _usual_distances(ordered: Rows) -> dict[Any, timedelta]:
    """1.5 times the median distance between the rows of each series."""
    distances: dict[Any, list[timedelta]] = {}
    for before, row in pairwise(ordered):
        if before.get("series") == row.get("series"):
            distances.setdefault(row.get("series"), []).append(row["time"] - before["time"])
    return {series: 1.5 * sorted(each)[len(each) // 2] for series, each in distances.items()}


def _hole(before: dict[str, Any], after: dict[str, Any], step: timedelta, empty: Mapping[str, Any], zero: bool) -> Rows:
    missing = math.ceil((after["time"] - before["time"]) / step) - 1
    places = sorted({1, missing}) if not zero or missing > 1000 else range(1, missing + 1)
    return [{**before, **empty, "time": before["time"] + step * place} for place in places]


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: no NaN or infinity, times in ISO 8601 and UTC.

    >>> plain(float("nan")), plain(datetime(2026, 1, 1, tzinfo=UTC)), plain({"a": 1})
    (None, '2026-01-01T00:00:00Z', {'a': 1})
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return (
                (value if value.tzinfo else value.replace(tzinfo=UTC))
                .astimezone(UTC)
                .isoformat()
                .replace("+00:00", "Z")
            )
        case date() | UUID():
            return str(value)
        case bytes():
            return value.decode(errors="replace")
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case Sequence():
            return [plain(each) for each in value]
    return str(value)
