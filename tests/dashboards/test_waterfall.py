"""The order and the bars of a trace, whatever the spans claim about their parents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tidegauge.dashboards.traces import waterfall

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def span(name: str, parent: str, start_s: float, duration_s: float) -> dict[str, Any]:
    return {
        "span_id": name,
        "parent_span_id": parent,
        "started": NOON + timedelta(seconds=start_s),
        "duration_s": duration_s,
    }


def test_children_follow_their_parent_and_bars_are_shares_of_the_trace() -> None:
    placed = waterfall(
        [span("root", "", 0, 10), span("a", "root", 1, 4), span("b", "root", 6, 4), span("aa", "a", 2, 1)]
    )
    assert [(each.span["span_id"], each.depth) for each in placed] == [("root", 0), ("a", 1), ("aa", 2), ("b", 1)]
    assert [(each.left, each.width) for each in placed] == [(0, 100), (10, 40), (20, 10), (60, 40)]


def test_a_span_whose_parent_never_arrived_stands_at_the_root() -> None:
    placed = waterfall([span("a", "lost", 0, 1), span("b", "a", 0, 1)])
    assert [(each.span["span_id"], each.depth) for each in placed] == [("a", 0), ("b", 1)]


def test_a_ring_of_parents_and_a_span_that_is_its_own_parent_appear_once() -> None:
    placed = waterfall([span("a", "b", 0, 1), span("b", "a", 0, 1), span("c", "c", 0, 1)])
    assert sorted(each.span["span_id"] for each in placed) == ["a", "b", "c"]


def test_spans_that_share_an_id_are_all_shown() -> None:
    assert len(waterfall([span("a", "", 0, 1), span("a", "", 1, 1), span("b", "a", 1, 1)])) == 3


def test_a_trace_without_duration_still_has_visible_bars_inside_the_axis() -> None:
    placed = waterfall([span("a", "", 0, 0), span("b", "a", 0, 0)])
    assert all(each.width > 0 and each.left + each.width <= 100.1 for each in placed)


def test_a_deep_chain_does_not_exhaust_the_stack() -> None:
    rows = [span(str(number), str(number - 1) if number else "", number, 1) for number in range(1500)]
    assert len(waterfall(rows)) == 1500
