"""Texts compared from sums of random features, every minute."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from genai_calls import insert_calls
from pydantic import ValidationError
from test_drift_texts import ORDERS, REFUNDS, Hashed, evaluated

from tidegauge.config import Detectors, Reference, Watch
from tidegauge.detectors.embedding.stretches import MOST_WINDOWS, stretch_of
from tidegauge.detectors.finding import Finding
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.detectors.spans import own_windows
from tidegauge.model import Window
from tidegauge.store import Store

START = datetime(2026, 4, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WATCH = Watch(
    reference=Reference(kind="trailing", days=0.25, gap_days=0), window_hours=1, step_hours=1 / 4, slices=("tier",)
)
SETTINGS = Detectors(services=(WATCH,), windows_per_run=1, weekly_texts=0, max_texts=600)


def hours(store: Store, first: float, last: float, share: float = 0.0, tier: str = "") -> None:
    """Five calls a minute; ``share`` of them (in ``tier``, or everywhere) are about refunds, the rest about orders."""
    rng = np.random.default_rng([int(first * 4), 9])
    rows = []
    for at in range(round((last - first) * 300)):
        here = ("free", "paid")[at % 2]
        words = REFUNDS if rng.random() < share and tier in ("", here) else ORDERS
        rows.append(
            {
                "timestamp": START + first * HOUR + timedelta(seconds=12 * at),
                "trace_id": f"{first}-{at}",
                "span_id": f"{at}",
                "service": "assistant",
                "kind": "llm",
                "input": " ".join(rng.choice(words, 6)),
                "slices": {"tier": here},
            }
        )
    insert_calls(store, rows)


def looked_at(store: Store, at: float, embedder: Hashed | None = None, **changes: object) -> list[Finding]:
    """What the window that ends ``at`` hours gives; the one before it counts as evaluated."""
    settings = SETTINGS.model_copy(update=changes)
    end = START + at * HOUR
    evaluated(store, end - HOUR / 4, detector="random_features")
    return DetectorLoop(store, settings, embedder or Hashed()).run(end + timedelta(minutes=2))


def everywhere(findings: Sequence[Finding]) -> Finding:
    (found,) = [each for each in findings if not each.slice]
    return found


def test_a_new_topic_is_found_from_sums_and_explained_and_no_vector_is_read_twice(store: Store) -> None:
    hours(store, 0, 6)
    hours(store, 6, 7, share=0.3)
    embedder = Hashed()
    found = everywhere(looked_at(store, 7, embedder))
    assert (found.detector, found.verdict, found.reference) == ("random_features", "drift", "trailing")
    assert found.n_current == 300 and found.n_reference == 1800
    evidence = json.loads(found.evidence)
    assert {term["term"] for term in evidence["terms"]} <= set(REFUNDS)
    assert "grew: " in found.reason and "floor from 6 reference windows" in found.reason
    asked = len(embedder.asked)
    hours(store, 7, 7.25, share=0.3)
    again = everywhere(looked_at(store, 7.25, embedder))
    assert again.verdict == "drift"
    assert len(embedder.asked) - asked <= 75 + 1800, "only stretches that are new"


def test_the_same_topics_are_stable_and_each_stretch_is_summed_once(store: Store) -> None:
    hours(store, 0, 7)
    assert everywhere(looked_at(store, 7)).verdict == "stable"
    rows = store.value("SELECT sum(rows) FROM text_sums WHERE dimension = ''")
    assert rows == 2100
    looked_at(store, 7.25)
    assert store.value("SELECT sum(rows) FROM text_sums WHERE dimension = ''") == rows
    parts = store.rows("SELECT dimension, slice, sum(rows) AS n FROM text_sums GROUP BY ALL ORDER BY slice")
    assert [(each["slice"], each["n"]) for each in parts] == [("", 2100), ("free", 1050), ("paid", 1050)]


def test_a_topic_in_one_slice_is_found_there(store: Store) -> None:
    hours(store, 0, 6)
    hours(store, 6, 7, share=0.5, tier="paid")
    assert {each.slice for each in looked_at(store, 7) if each.verdict == "drift"} >= {"paid"}


def test_too_few_stretches_are_undetermined(store: Store) -> None:
    hours(store, 6, 7)
    found = everywhere(looked_at(store, 7))
    assert (found.verdict, found.reason) == ("undetermined", "0 stretches with rows are too few: 8 are needed")


def test_sums_of_another_embedding_model_are_refused(store: Store) -> None:
    hours(store, 0, 7.25)
    looked_at(store, 7)
    store.execute("DELETE FROM otel_traces WHERE Timestamp < toDateTime64('2026-04-01 06:15:00', 9, 'UTC')")
    other = Hashed()
    other.name = "another-model"
    found = everywhere(looked_at(store, 7.25, other))
    assert found.verdict == "undetermined"
    assert "embedded by hashed-words, the window by another-model" in found.reason


@pytest.mark.parametrize(
    ("window_hours", "step_hours", "seconds"),
    [(1, 1 / 60, 60), (1, 1, 120), (24, 24, 3600), (24, 0.25, 900), (168, 24, 21_600), (0.1, 0.1, 0)],
)
def test_stretches_are_whole_minutes_at_least_24_in_a_window(
    window_hours: float, step_hours: float, seconds: int
) -> None:
    assert stretch_of(Watch(window_hours=window_hours, step_hours=step_hours)) == seconds


def test_the_windows_drawn_from_a_reference_move_with_the_current_one() -> None:
    reference = [Window(START, START + timedelta(days=28))]
    now = Window(START + timedelta(days=29), START + timedelta(days=29) + HOUR)
    later = Window(now.start + timedelta(minutes=1), now.end + timedelta(minutes=1))
    first, second = (own_windows(reference, each, MOST_WINDOWS) for each in (now, later))
    assert len(first) == 8
    assert [each.start + timedelta(minutes=1) for each in first] == [each.start for each in second]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"step_hours": 0.0166}, "needs windows and steps of whole minutes"),
        ({"reference": {"kind": "training"}}, "training rows are not summed"),
    ],
)
def test_what_cannot_be_summed_is_refused_on_start(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Detectors.model_validate({"services": [{"rollups": "always", **changes}]})


def test_a_weekly_sample_has_500_texts_or_none() -> None:
    with pytest.raises(ValidationError, match="weekly_texts must be 0 or at least 500, got 100"):
        Detectors(weekly_texts=100)
