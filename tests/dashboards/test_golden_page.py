"""The golden set on the page and over its API: shown as text, decided by buttons, closed to other sites."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from tidegauge import golden
from tidegauge.clock import ReplayClock
from tidegauge.config import Settings
from tidegauge.dashboards.page import create_app
from tidegauge.golden import Candidate, State, digest, from_json, identity
from tidegauge.model import Window
from tidegauge.store import Store

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
WEEK = Window(NOW - timedelta(days=7), NOW)
INPUT, OUTPUT = "<script>alert(1)</script> where is it?", "{{ 7 * 7 }} <b>gone</b>"


def candidate(number: int = 1, **more: Any) -> Candidate:
    known: dict[str, Any] = {
        "candidate_id": identity("<i>shop", "trace", f"t{number}"),
        "written_at": NOW,
        "state": State.PROPOSED,
        "proposed_at": NOW,
        "window": WEEK,
        "subject": "<i>shop",
        "kind": "trace",
        "record_id": f"t{number}",
        "trace_id": f"t{number}",
        "timestamp": NOW - timedelta(days=1),
        "reasons": {"refused": "chat <u>", "low_score": "relevance 0"},
        "strength": 0.9,
        "alike": 3,
        "tenant": "acme",
        "slices": {"tenant": "acme<"},
        "versions": {"prompt": "v2"},
        "input": INPUT,
        "output": OUTPUT,
        "context": ("one", "two"),
        "digest": digest(INPUT),
    }
    return Candidate(**known | more)


@pytest.fixture
def proposed(store: Store) -> Candidate:
    golden.write(store, [candidate()])
    return candidate()


def page(store: Store, client: str = "127.0.0.1", propose: Any = None, **settings: Any) -> TestClient:
    clock = ReplayClock(NOW + timedelta(hours=1), frozen=True)
    app = create_app(store, Settings.model_validate({"page": settings}), clock, propose=propose)
    return TestClient(app, base_url="http://tidegauge.test", client=(client, 1), follow_redirects=False)


def test_the_page_shows_candidates_with_their_reasons_as_text(store: Store, proposed: Candidate) -> None:
    shown = page(store).get("/golden").text

    assert "low score: relevance 0" in shown and "2 more like it" in shown and "Context (2)" in shown
    assert "&lt;script&gt;alert(1)" in shown and "<script>alert" not in shown
    assert "{{ 7 * 7 }}" in shown and "<b>gone" not in shown and "<i>shop" not in shown
    assert '/traces/t1"' in shown
    assert "Look for failures now" not in shown


def test_the_buttons_accept_and_reject(store: Store, proposed: Candidate) -> None:
    browser = page(store)
    other = candidate(2, input="something else")
    golden.write(store, [other])

    for each, decision in ((proposed, "accepted"), (other, "rejected")):
        said = {"decision": decision, "author": "ann", "note": "<b>", "expected": "In Porto."}
        answer = browser.post(f"/golden/{each.candidate_id}/decide", data=said)
        assert (answer.status_code, answer.headers["location"]) == (303, "/golden")

    states = {each.candidate_id: (each.state, each.author, each.expected) for each in golden.read(store)}
    assert states == {
        proposed.candidate_id: (State.ACCEPTED, "ann", "In Porto."),
        other.candidate_id: (State.REJECTED, "ann", ""),
    }
    assert "None proposed" in browser.get("/golden").text
    assert "by ann" in browser.get("/golden?state=accepted").text


def test_the_api_lists_decides_and_says_what_was_wrong(store: Store, proposed: Candidate) -> None:
    client = page(store)
    (listed,) = client.get("/api/golden", params={"state": "proposed", "subject": "<i>shop"}).json()
    missing = client.get("/api/golden", params={"id": "feedbeef"})
    nonsense = client.get("/api/golden", params={"state": "nonsense"})
    nobody = client.post(f"/api/golden/{proposed.candidate_id}/accepted", json={"author": ""})
    no_such = client.post(f"/api/golden/{proposed.candidate_id}/maybe", json={"author": "ann"})
    done = client.post(f"/api/golden/{proposed.candidate_id}/accepted", json={"author": "ann"})

    assert from_json(listed) == proposed
    assert (missing.status_code, nonsense.status_code) == (404, 400)
    assert (nobody.status_code, no_such.status_code, done.status_code) == (400, 400, 201)
    assert done.json()["state"] == "accepted"


def test_failures_are_looked_for_over_the_page_where_the_service_can(store: Store) -> None:
    asked: list[tuple[Window, int]] = []

    def propose(window: Window, seed: int) -> dict[str, Any]:
        asked.append((window, seed))
        return {"candidates": [], "rounds": []}

    client = page(store, propose=propose)
    body = {"since": "2026-03-02T00:00:00", "until": "2026-03-09T00:00:00+00:00", "seed": 4}
    found = client.post("/api/golden/propose", json=body)
    by_button = client.post("/golden/propose")
    backwards = client.post("/api/golden/propose", json=body | {"since": "2026-04-01T00:00:00"})
    nothing = client.post("/api/golden/propose", json={"since": 3})

    assert "Look for failures now" in client.get("/golden").text
    assert (found.status_code, by_button.status_code, backwards.status_code, nothing.status_code) == (
        201,
        303,
        400,
        400,
    )
    assert asked[0] == (Window(datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)), 4)
    assert asked[1][0].length.days == 14
    assert page(store).post("/api/golden/propose", json=body).status_code == 404


@pytest.mark.parametrize(
    ("headers", "client", "writes"),
    [
        ({"origin": "http://evil.example"}, "127.0.0.1", "loopback"),
        ({"sec-fetch-site": "cross-site"}, "127.0.0.1", "loopback"),
        ({}, "10.0.0.7", "loopback"),
        ({}, "127.0.0.1", "never"),
    ],
)
def test_nobody_else_decides(
    store: Store, proposed: Candidate, headers: dict[str, str], client: str, writes: str
) -> None:
    browser = page(store, client, propose=lambda window, seed: pytest.fail("asked"), writes=writes)
    said = {"decision": "accepted", "author": "ann"}

    answers = [
        browser.post(f"/golden/{proposed.candidate_id}/decide", data=said, headers=headers),
        browser.post(f"/api/golden/{proposed.candidate_id}/accepted", json=said, headers=headers),
        browser.post("/golden/propose", headers=headers),
        browser.post("/api/golden/propose", json={}, headers=headers),
    ]

    assert [each.status_code for each in answers] == [403] * 4
    assert golden.one(store, proposed.candidate_id).state is State.PROPOSED
