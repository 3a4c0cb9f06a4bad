"""Silences on the page and over its API; nobody else's page can write."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from tidegauge import silences
from tidegauge.alerting.silencing import OverPage
from tidegauge.clock import ReplayClock
from tidegauge.config import Settings
from tidegauge.dashboards.page import create_app
from tidegauge.errors import TidegaugeError
from tidegauge.running import Page
from tidegauge.silences import Silence
from tidegauge.store import Store
from tidegauge.web import WebServer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FORM = {"matchers": "service=shop alert=High*", "hours": "2", "author": "ann", "reason": "<b>deploying</b>"}
BODY = {
    "matchers": {"service": "shop"},
    "starts_at": "2026-03-01T12:00:00+00:00",
    "ends_at": "2026-03-01T14:00:00+00:00",
    "author": "ann",
    "reason": "deploying",
}


def page(store: Store, client: str = "127.0.0.1", **settings: Any) -> TestClient:
    app = create_app(store, Settings.model_validate({"page": settings}), ReplayClock(NOW, frozen=True))
    return TestClient(app, base_url="http://tidegauge.test", client=(client, 1), follow_redirects=False)


def test_the_form_adds_a_silence_which_the_page_shows_as_text_and_its_button_ends_it(store: Store) -> None:
    browser = page(store)

    added = browser.post(
        "/silences", data=FORM, headers={"origin": "http://tidegauge.test", "sec-fetch-site": "same-origin"}
    )
    (silence,) = silences.read(store, NOW)
    shown = browser.get("/alerts").text
    ended = browser.post(f"/silences/{silence.silence_id}/end")

    assert (added.status_code, added.headers["location"]) == (303, "/alerts")
    assert (silence.matchers, (silence.ends_at - NOW).seconds) == ({"service": "shop", "alert": "High*"}, 7200)
    assert "&lt;b&gt;deploying" in shown and "<b>deploying" not in shown
    assert ended.status_code == 303
    assert silences.read(store, NOW) == []


def test_the_api_lists_adds_and_ends(store: Store) -> None:
    client = page(store)

    added = client.post("/api/silences", json=BODY)
    listed = client.get("/api/silences").json()
    ended = client.delete(f"/api/silences/{added.json()['silence_id']}")

    assert added.status_code == 201
    assert listed == [added.json()]
    assert ended.status_code == 204
    assert client.get("/api/silences").json() == []
    assert client.delete("/api/silences/nobody").status_code == 404


@pytest.mark.parametrize("headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_another_sites_page_cannot_write(store: Store, headers: dict[str, str]) -> None:
    client = page(store)

    assert client.post("/silences", data=FORM, headers=headers).status_code == 403
    assert client.post("/api/silences", json=BODY, headers=headers).status_code == 403
    assert silences.read(store, NOW) == []


@pytest.mark.parametrize(
    ("client", "writes", "status"),
    [("10.0.0.7", "loopback", 403), ("10.0.0.7", "always", 201), ("127.0.0.1", "never", 403), ("::1", "loopback", 201)],
)
def test_who_may_write_is_set(store: Store, client: str, writes: str, status: int) -> None:
    assert page(store, client, writes=writes).post("/api/silences", json=BODY).status_code == status


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"matchers": {}}, "matchers"),
        ({"ends_at": "soon"}, "Invalid isoformat"),
        ({"ends_at": "2026-03-01T14:00:00"}, "must end after it starts"),
        ({"matchers": "all"}, "not a silence"),
    ],
)
def test_what_is_no_silence_is_refused_with_the_reason(store: Store, body: dict[str, Any], problem: str) -> None:
    answer = page(store).post("/api/silences", json=BODY | body)

    assert answer.status_code == 400
    assert problem in answer.json()["detail"]


def test_what_is_no_json_or_no_form_is_refused(store: Store) -> None:
    client = page(store)

    assert client.post("/api/silences", content="{", headers={"content-type": "application/json"}).status_code == 400
    assert client.post("/api/silences", content="{}").status_code == 415
    assert client.post("/api/silences", json=BODY | {"reason": "x" * 70_000}).status_code == 413
    assert client.post("/silences", data=FORM | {"hours": "nan"}).status_code == 400
    assert client.post("/silences", data=FORM | {"matchers": "shop"}).status_code == 400


def test_the_commands_work_over_the_page_of_a_running_service(store: Store) -> None:
    server = WebServer(create_app(store, Settings(), ReplayClock(NOW, frozen=True)), "127.0.0.1", 0, "test-page")
    remote = OverPage(Page(server.url))
    silence = Silence({"service": "shop"}, NOW, NOW.replace(hour=14), "ann", "deploying")
    try:
        remote.add(silence)
        listed = remote.listed()
        remote.end(silence.silence_id)
        with pytest.raises(TidegaugeError, match=f"no silence '{silence.silence_id}' in force"):
            remote.end(silence.silence_id)
    finally:
        server.close()

    assert listed == [silence]
