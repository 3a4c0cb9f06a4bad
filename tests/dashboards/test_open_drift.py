"""Which drift stands first on the overview."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from tidegauge.clock import ReplayClock
from tidegauge.config import Settings
from tidegauge.dashboards.page import create_app
from tidegauge.dashboards.page.overview import latest_findings, open_drifts
from tidegauge.metrics.sources import PART
from tidegauge.model import ALL, Slice
from tidegauge.store import Store

WINDOW = datetime(2026, 6, 1, tzinfo=UTC)


def finding(feature: str, detector: str, times: float, began_weeks_ago: int = 0, part: str = "") -> dict[str, Any]:
    return {
        "subject": "fraud",
        "feature": feature,
        "detector": detector,
        "dimension": "country" if part else "",
        "slice": part,
        "verdict": "drift",
        "effect": 0.1 * times,
        "effect_floor": 0.1,
        "since": WINDOW - timedelta(weeks=began_weeks_ago),
        "window_start": WINDOW,
    }


def names(*findings: dict[str, Any]) -> list[str]:
    return [each.finding["feature"] for each in open_drifts(list(findings))]


def test_outcomes_come_before_integrity_outputs_and_inputs() -> None:
    found = names(
        finding("income", "psi", 9),
        finding("score", "ks", 5),
        finding("age", "missing", 3),
        finding("error", "error_rate", 2),
    )
    assert found == ["error", "age", "score", "income"]


def test_what_is_new_comes_before_what_has_been_drifting_for_months() -> None:
    assert names(finding("summer", "psi", 60, began_weeks_ago=12), finding("fault", "psi", 2)) == ["fault", "summer"]


def test_all_traffic_comes_before_a_slice_of_the_same_size() -> None:
    first, second = open_drifts([finding("income", "psi", 2, part="fr"), finding("income", "psi", 2)])
    assert (first.finding["slice"], second.finding["slice"]) == ("", "fr")


def test_several_detectors_of_one_feature_are_one_line_that_began_with_the_first_of_them() -> None:
    (one,) = open_drifts([finding("income", "psi", 2, began_weeks_ago=3), finding("income", "ks", 4)])
    assert (one.detectors, one.times) == (("ks", "psi"), 4.0)
    assert one.since == WINDOW - timedelta(weeks=3)
    assert not one.new


def stored(
    store: Store,
    weeks_ago: int,
    verdict: str,
    part: str = "",
    feature: str = "income",
    reason: str = "",
    dimension: str = "country",
) -> None:
    end = WINDOW - timedelta(weeks=weeks_ago)
    slices = {"dimension": dimension if part else "", "slice": part}
    row = (
        finding(feature, "psi", 2) | slices | {"verdict": verdict, "reason": reason, "since": end - timedelta(weeks=1)}
    )
    more = {
        "window_start": end - timedelta(weeks=1),
        "window_end": end,
        "evaluated_at": end,
        "finding_id": str(uuid4()),
    }
    store.insert("findings", [row | more | {"n_reference": 900, "n_current": 90}])


def open_now(store: Store) -> list[tuple[str, str]]:
    drifts = open_drifts(latest_findings(store, WINDOW + timedelta(hours=1)))
    return [(each.finding["feature"], each.finding["slice"]) for each in drifts]


def test_a_slice_without_a_row_in_the_newest_window_is_no_longer_open(store: Store) -> None:
    stored(store, 1, "drift", part="fr")
    stored(store, 1, "stable")
    assert open_now(store) == [("income", "fr")]

    stored(store, 0, "stable")
    assert open_now(store) == []


def test_labels_that_are_still_to_come_do_not_hide_the_last_window_that_had_them(store: Store) -> None:
    stored(store, 1, "drift", feature="label")
    stored(store, 1, "drift", feature="label", part="fr")
    stored(store, 0, "undetermined", feature="label", reason="labels pending: 3 of 90 predictions have theirs")
    stored(store, 0, "stable")

    assert open_now(store) == [("label", ""), ("label", "fr")]


@pytest.mark.parametrize(
    "part",
    [
        ALL,
        Slice("country", "R & D"),
        Slice.pair(Slice("country", "de"), Slice("shop", "R & D")),
        Slice.pair(Slice("a&b", "x"), Slice("c", "&&")),
        Slice("country & device", "other"),
    ],
)
def test_sql_writes_a_part_of_the_traffic_as_python_does(store: Store, part: Slice) -> None:
    sql = f"SELECT {PART} FROM (SELECT {{d:String}} AS dimension, {{s:String}} AS slice)"
    assert store.value(sql, {"d": part.dimension, "s": part.value}) == str(part)


def test_a_pair_stands_on_the_page_as_two_slices(store: Store) -> None:
    stored(store, 0, "drift", part="de & ios", dimension="country & device")
    with TestClient(create_app(store, Settings(), ReplayClock(WINDOW + timedelta(hours=1), frozen=True))) as page:
        shown = page.get("/").text
    assert '<span class="tag">country = de</span> and <span class="tag">device = ios</span>' in shown
