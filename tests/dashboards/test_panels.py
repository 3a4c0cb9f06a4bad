"""Every panel's SQL runs, on empty tables and on full ones, and answers in the shape its kind promises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from synthetic import END, HOSTILE

from tidegauge.dashboards.boards import BOARDS
from tidegauge.dashboards.panels import Board, Kind, Panel
from tidegauge.dashboards.query import fill_gaps, menus, run, step_for
from tidegauge.model import Window
from tidegauge.store import Store

LAST_WEEK = Window(END - timedelta(days=7), END)
EVERY = [(board, panel) for board in BOARDS for panel in board.panels]
IDS = [f"{board.uid}: {panel.title}" for board, panel in EVERY]
NEEDS_OTHER_METRICS = {"GPU use"}


def test_uids_and_titles_are_unique() -> None:
    assert len({board.uid for board in BOARDS}) == len(BOARDS)
    for board in BOARDS:
        assert len({panel.title for panel in board.panels}) == len(board.panels)


@pytest.mark.parametrize(("board", "panel"), EVERY, ids=IDS)
def test_a_panel_uses_only_times_and_the_variables_of_its_board(board: Board, panel: Panel) -> None:
    assert panel.parameters <= {"start", "end", "step", *(each.name for each in board.variables)}
    assert panel.description.endswith(".")


def test_every_panel_runs_on_empty_tables_and_finds_nothing(store: Store) -> None:
    answers = {panel.title: run(store, panel, LAST_WEEK, {}) for _, panel in EVERY}
    full = {title for title, data in answers.items() if any(any(row) for row in data.rows)}
    assert full == set()


def test_every_panel_shows_something_of_a_week_of_telemetry_in_the_shape_of_its_kind(week: Store) -> None:
    for board, panel in EVERY:
        data = run(week, panel, LAST_WEEK, {})
        assert data.rows or panel.title in NEEDS_OTHER_METRICS, f"{board.uid}: {panel.title} is empty"
        if data.rows:
            _check_shape(panel, data.columns, data.rows)


def _check_shape(panel: Panel, columns: tuple[str, ...], rows: tuple[tuple[object, ...], ...]) -> None:
    match panel.kind:
        case Kind.TIMESERIES | Kind.HEATMAP:
            assert columns[0] == "time" and "series" not in columns[2:], panel.title
            numbers = columns[2:] if columns[1] == "series" else columns[1:]
            assert {type(value) for row in rows for value in row[-len(numbers) :]} <= {int, float, type(None)}, (
                panel.title
            )
        case Kind.STAT:
            assert len(rows) == 1 and isinstance(rows[0][-1], int | float | None), panel.title
        case Kind.BAR:
            assert len(columns) > 1, panel.title


@pytest.mark.parametrize("value", ["') OR 1=1 --", "\\", "\\'", "`", "нет", HOSTILE, "x" * 10_000, "{start:String}"])
def test_a_hostile_variable_is_a_value_that_matches_nothing(week: Store, value: str) -> None:
    for board, panel in EVERY:
        if panel.kind is Kind.TABLE and board.uid in ("tidegauge-cost", "tidegauge-predictions"):
            assert run(week, panel, LAST_WEEK, {each.name: value for each in board.variables}).rows == ()


def test_variables_offer_what_was_seen_in_the_shown_time(week: Store) -> None:
    health = BOARDS[0]
    assert menus(week, health, LAST_WEEK)["prompt_version"] == ["v7", "v8"]
    assert menus(week, health, Window(END - timedelta(hours=20), END))["prompt_version"] == ["v8"]


def test_a_filter_keeps_only_its_own_rows(week: Store) -> None:
    safety = next(board for board in BOARDS if board.uid == "tidegauge-safety")
    rates = {
        version: run(week, safety.panels[0], LAST_WEEK, {"prompt_version": version}).rows[0][-1]
        for version in ("v7", "v8")
    }
    assert rates["v7"] < 0.05 < rates["v8"]


def test_a_stretch_without_rows_is_zero_for_volumes_and_a_gap_for_rates() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    rows = [{"time": noon + timedelta(minutes=minute), "series": "a", "value": 4} for minute in (0, 1, 2, 6)]
    volumes = fill_gaps(rows, 60, zero=True)
    rates = fill_gaps(rows, 60, zero=False)
    assert [row["value"] for row in volumes] == [4, 4, 4, 0, 0, 0, 4]
    assert [row["value"] for row in rates] == [4, 4, 4, None, None, 4]


def test_a_daily_result_in_hourly_buckets_is_one_line_until_a_day_is_missing() -> None:
    days = [{"time": END + timedelta(days=day), "series": "a", "value": 4} for day in (0, 1, 2, 3, 6)]
    assert [row["value"] for row in fill_gaps(days, 3600, zero=False)] == [4, 4, 4, 4, None, None, 4]


def test_a_change_of_series_is_no_gap() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    rows = [{"time": noon, "series": "a", "value": 4}, {"time": noon + timedelta(hours=4), "series": "b", "value": 2}]
    assert fill_gaps(rows, 60, zero=True) == rows


@pytest.mark.parametrize(
    ("days", "minimum", "step"), [(1, 60, 600), (0.01, 60, 60), (1, 3600, 3600), (3650, 60, 2_592_000)]
)
def test_steps_keep_a_chart_at_about_150_points(days: float, minimum: int, step: int) -> None:
    assert step_for(Window(END - timedelta(days=days), END), minimum) == step
