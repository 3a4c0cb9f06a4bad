"""A finding about texts, on the page and in the note of an alert."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from tidegauge.clock import ReplayClock
from tidegauge.config import Settings
from tidegauge.dashboards.page import create_app
from tidegauge.dashboards.page.texts import texts
from tidegauge.metrics.catalogue import METRICS
from tidegauge.metrics.query import observe
from tidegauge.model import Window
from tidegauge.store import Store

END = datetime(2026, 4, 7, tzinfo=UTC)
GREW = "grew: refund, bank (1 % to 23 %); shrank: parcel (40 % to 30 %)"
TOPIC: dict[str, Any] = {
    "name": "refund, bank",
    "terms": ["refund", "bank", "card", "angry"],
    "examples": ["<b>my</b> refund"],
}
TOPIC |= {"reference": 0.01, "current": 0.23, "low": 0.15, "high": 0.31, "p_adjusted": 1e-9, "change": "grew"}


def insert(store: Store, evidence: str) -> None:
    row: dict[str, Any] = {"evaluated_at": END, "finding_id": "texts-1", "subject": "assistant", "feature": "input"}
    row |= {"detector": "topics", "dimension": "", "slice": "", "reference": "trailing", "reference_start": END}
    row |= {"reference_end": END, "window_start": END - timedelta(days=1), "window_end": END, "verdict": "drift"}
    row |= {"statistic": 124.0, "p_value": 1e-9, "p_adjusted": 1e-9, "effect": 0.4, "effect_floor": 0.1}
    store.insert("findings", [row | {"reason": f"{GREW}; floor from 5 reference windows", "evidence": evidence}])


def test_the_page_shows_topics_words_and_texts_as_text(store: Store) -> None:
    found = {"topics": [TOPIC], "examples": ["where is <i>it</i>"], "terms": [_term("refund")]}
    insert(store, json.dumps(found))
    with TestClient(create_app(store, Settings(), ReplayClock(END, frozen=True))) as page:
        shown = page.get("/drift/texts-1").text
        data = page.get("/api/drift/texts-1").json()
    assert "Topics that grew and shrank" in shown and "15 % to 31 %" in shown
    assert "&lt;b&gt;my&lt;/b&gt; refund" in shown and "where is &lt;i&gt;it&lt;/i&gt;" in shown
    assert data["texts"]["topics"][0]["name"] == "refund, bank"


@pytest.mark.parametrize(
    "evidence",
    [
        "nonsense",
        "[1]",
        '{"topics": 3}',
        '{"topics": [{"change": "grew"}, 7, null], "terms": [{"term": 1}], "examples": [5]}',
        '{"topics": [{"change": "grew", "reference": NaN, "current": 1, "low": 0, "high": 1, "p_adjusted": 0}]}',
    ],
)
def test_evidence_that_is_malformed_leaves_the_page_standing(store: Store, evidence: str) -> None:
    assert texts(evidence) in (None, {"topics": [], "examples": [], "terms": []})
    insert(store, evidence)
    with TestClient(create_app(store, Settings(), ReplayClock(END, frozen=True))) as page:
        assert page.get("/drift/texts-1").status_code == 200


def test_an_alert_says_which_topics_grew_and_shrank(store: Store) -> None:
    insert(store, "")
    window = Window(END - timedelta(days=1), END + timedelta(minutes=1))
    (found,) = observe(store, METRICS["drift_findings"], ["subject"], window)
    assert GREW in found.note and "floor" not in found.note


def _term(word: str) -> dict[str, Any]:
    return {"term": word, "reference": 0.0, "current": 0.2}
