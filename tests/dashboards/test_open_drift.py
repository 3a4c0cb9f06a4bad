"""Which drift stands first on the overview."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tidegauge.dashboards.page.overview import open_drifts

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
