"""Answers to alerts and the decision log, on the page, over its API and from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from genai_calls import insert_calls
from starlette.testclient import TestClient
from typer.testing import CliRunner

from tidegauge import responses
from tidegauge.alerting import AlertLoop, Rule
from tidegauge.alerting.answering import InDatabase, OverPage
from tidegauge.cli import app
from tidegauge.clock import ReplayClock
from tidegauge.config import Alerting, Settings
from tidegauge.dashboards.page import create_app
from tidegauge.errors import TidegaugeError
from tidegauge.model import Window
from tidegauge.responses import Action
from tidegauge.running import Page
from tidegauge.store import Store
from tidegauge.web import WebServer

NOW = datetime.now(UTC).replace(microsecond=0)
WHO = {"severity": "page", "owner": "team", "runbook": "r", "action": "a"}
NAME = "High <b>rate"
RULE = {"alert": NAME, "metric": "refusal_rate", "by": ["service"], "window": "30m", "above": 0.05, **WHO}
RULES = {"groups": [{"name": "g", "rules": [RULE]}]}


@pytest.fixture
def alert(store: Store) -> Iterator[str]:
    """The id of an alert that fires for a service with markup in its name; another service is fine."""
    for service, refused in (("<i>shop", 50), ("bank", 3)):
        at = NOW - timedelta(minutes=2)
        rows = [
            {"timestamp": at, "trace_id": f"{service}{i}", "service": service, "kind": "llm", "refused": i < refused}
            for i in range(100)
        ]
        insert_calls(store, rows)
    loop = AlertLoop(store, Alerting(), rules=[Rule.model_validate(RULE)], clock=ReplayClock(NOW, frozen=True))
    (fired,) = loop.run(NOW)
    loop.close()
    yield fired.fingerprint


@pytest.fixture
def page(store: Store) -> TestClient:
    made = create_app(store, Settings(), ReplayClock(NOW + timedelta(minutes=1), frozen=True))
    return TestClient(made, base_url="http://tidegauge.test", client=("127.0.0.1", 1), follow_redirects=False)


def stored(store: Store) -> list[tuple[str, str, str]]:
    return [(each.action.value, each.author, each.note) for each in responses.read(store, NOW - timedelta(days=1))]


def test_the_buttons_of_the_page_store_answers_and_the_page_shows_alerts_as_text(
    store: Store, page: TestClient, alert: str
) -> None:
    shown = page.get("/alerts").text
    answers = [
        page.post(f"/alerts/{alert}/answer", data={"action": each, "author": "ann", "note": "<b>"}).status_code
        for each in ("ack", "false", "nonsense")
    ]

    assert "<b>rate" not in shown and "<i>shop" not in shown and "I have it" in shown
    assert answers == [303, 303, 404]
    assert sorted(stored(store)) == [("ack", "ann", "<b>"), ("false", "ann", "<b>")]


def test_the_log_on_the_page_says_why_and_shows_it_as_text(page: TestClient, alert: str) -> None:
    shown = page.get("/alerts/why", params={"rule": NAME}).text
    other = page.get("/alerts/why", params={"rule": "another"}).text

    assert "told that it fires" in shown and "50 % of 100" in shown
    assert "<b>rate" not in shown and "<i>shop" not in shown
    assert "Nothing in the last seven days" in other


def test_another_sites_page_cannot_answer(store: Store, page: TestClient, alert: str) -> None:
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        said = {"action": "ack", "author": "ann"}
        assert page.post(f"/alerts/{alert}/answer", data=said, headers=headers).status_code == 403
        assert page.post(f"/api/alerts/{alert}/ack", json={"author": "ann"}, headers=headers).status_code == 403
    assert stored(store) == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("{alert}/ack", {"author": "ann"}, 201),
        ("{alert}/ack", {"author": ""}, 400),
        ("{alert}/ack", ["ann"], 400),
        ("{alert}/delete", {"author": "ann"}, 404),
        ("') OR 1=1 --/ack", {"author": "ann"}, 400),
    ],
)
def test_the_api_takes_answers_that_fit_and_refuses_others(
    page: TestClient, alert: str, path: str, body: Any, status: int
) -> None:
    assert page.post(f"/api/alerts/{path.format(alert=alert)}", json=body).status_code == status


def test_the_command_reaches_a_running_service_over_its_page(store: Store, alert: str) -> None:
    server = WebServer(create_app(store, Settings(), ReplayClock(NOW, frozen=True)), "127.0.0.1", 0, "page")
    try:
        over, inside = OverPage(Page(server.url)), InDatabase(store)
        over.respond(alert[:12], Action.ACK, "ann", "looking")
        span = Window(NOW - timedelta(hours=1), NOW + timedelta(hours=1))

        assert [each["fingerprint"] for each in over.listed(everything=False)] == [alert]
        assert over.one(alert[:12])["course"][0]["state"] == "firing"
        assert over.why(NAME, span, {"service": "<i>shop"}) == [
            each for each in inside.why(NAME, span, {"service": "<i>shop"}) if each.at <= NOW
        ]
        with pytest.raises(TidegaugeError, match="no alert begins"):
            over.one("ffffff")
    finally:
        server.close()


def test_the_commands_list_show_answer_and_say_why_with_the_values_that_were_seen(
    store: Store, alert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rules.yaml").write_text(json.dumps(RULES))
    (tmp_path / "tidegauge.yaml").write_text(json.dumps({"alerting": {"rules": [str(tmp_path / "rules.yaml")]}}))
    monkeypatch.setattr("tidegauge.alerting.answering.reach", lambda settings: store)

    def run(*words: str) -> str:
        found = CliRunner().invoke(app, ["alerts", *words, "-c", str(tmp_path / "tidegauge.yaml")])
        assert found.exit_code == 0, found.output
        return found.stdout

    listed = run("list")
    run("ack", alert[:12], "--author", "ann")
    since = (NOW - timedelta(minutes=20)).strftime("%Y-%m-%dT%H:%M:%S")
    told = run("why", NAME, "--since", since)
    bank = json.loads(run("why", NAME, "--slice", "service=bank", "--since", since, "--json"))

    assert listed.startswith(f"{alert[:12]}  firing        page")
    assert "told nobody" not in run("show", alert[:12])
    assert "told that it fires" in told and "acknowledged: by ann" in told
    assert bank["decisions"] == []
    (saw,) = bank["seen"]
    assert "for service=bank, the condition held in 0; closest at" in saw and "3 % of 100" in saw
