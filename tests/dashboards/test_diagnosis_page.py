from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from tidegauge.clock import ReplayClock
from tidegauge.config import Settings
from tidegauge.dashboards.page import create_app
from tidegauge.errors import TidegaugeError
from tidegauge.store import Store

NOW = datetime(2026, 4, 8, tzinfo=UTC)
MARKUP = "<script>alert(1)</script>"


def answer(model: str, since: datetime | None, until: datetime, days: float) -> dict[str, Any]:
    if model == "unheard-of":
        raise TidegaugeError("there are no predictions of 'unheard-of'")
    began = since or datetime(2026, 4, 1, tzinfo=UTC)
    verdict: dict[str, Any] = {
        "check": "features",
        "level": "bad",
        "cause": "missing",
        "subject": MARKUP,
        "part": "region=south",
        "strength": 6.5,
        "summary": "missing in 100% of the rows",
    }
    began_alone = {"since": "2026-03-28T06:00:00+00:00"}
    said = {"sure": "very likely", "explains": 0.9, "followed by": [], "next": "check the feed"}
    cause = verdict | began_alone | said
    return {
        "model": model,
        "wrong": model != "well",
        "start": "2026-03-01T00:00:00+00:00",
        "since": began.isoformat(),
        "until": until.isoformat(),
        "how": "as asked",
        "predictions": {"before": 1000, "since": 200},
        "causes": [] if model == "well" else [cause],
        "stages": [{"stage": "data", "level": "bad", "verdicts": [verdict]}],
    }


@pytest.fixture
def page(store: Store) -> TestClient:
    return TestClient(create_app(store, Settings(), ReplayClock(NOW, frozen=True), answer))


def test_the_page_names_the_likeliest_cause_and_keeps_markup_as_text(page: TestClient) -> None:
    text = page.get("/diagnosis/returns").text

    assert "Why" in text
    assert "region=south" in text
    assert "very likely; it explains 90 %" in text
    assert "<dt>Since when</dt><dd>2026-03-28 06:00" in text
    assert MARKUP not in text
    assert "&lt;script&gt;" in text


def test_where_nothing_is_wrong_the_page_says_so(page: TestClient) -> None:
    assert "Nothing is wrong" in page.get("/diagnosis/well").text


def test_programs_get_the_same_and_may_say_since_when(page: TestClient) -> None:
    found = page.get("/api/diagnosis/a/b", params={"since": "2026-04-02T10:00"}).json()

    assert (found["model"], found["since"], found["until"]) == ("a/b", "2026-04-02T10:00:00+00:00", NOW.isoformat())


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/diagnosis/unheard-of", 404, "no predictions of 'unheard-of'"),
        ("/api/diagnosis/m?since=soon", 400, "write times as"),
        ("/api/diagnosis/m?history=1", 400, "3 to 400 days"),
        ("/api/diagnosis/m?history=nan", 400, "3 to 400 days"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(
    page: TestClient, path: str, status: int, said: str
) -> None:
    refused = page.get(path)

    assert refused.status_code == status
    assert said in refused.json()["detail"]


def test_a_page_that_makes_no_diagnoses_says_so(store: Store) -> None:
    with TestClient(create_app(store, Settings(), ReplayClock(NOW, frozen=True))) as client:
        assert client.get("/diagnosis/returns").status_code == 404
