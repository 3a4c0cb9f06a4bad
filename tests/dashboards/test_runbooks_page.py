"""Runbooks as pages, and hooks to decide on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from starlette.testclient import TestClient

from tidegauge import hooks
from tidegauge.alerting.hooks.deciding import OverPage
from tidegauge.alerting.rules import STARTER
from tidegauge.clock import ReplayClock
from tidegauge.config import Settings
from tidegauge.dashboards.page import create_app
from tidegauge.hooks import Proposal, State
from tidegauge.running import Page
from tidegauge.store import Store
from tidegauge.web import WebServer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOOK = {"name": "retrain", "kind": "retrain", "match": {"alert": "x"}, "url": "https://example.org/hook"}


def app(store: Store, **page: Any) -> Any:
    settings = Settings.model_validate({"page": page, "alerting": {"hooks": [HOOK]}})
    return create_app(store, settings, ReplayClock(NOW, frozen=True))


def browse(store: Store, client: str = "127.0.0.1", **page: Any) -> TestClient:
    made = app(store, **page)
    return TestClient(made, base_url="http://tidegauge.test", client=(client, 1), follow_redirects=False)


def propose(store: Store, key: str, note: str = "drift <b>found</b>") -> None:
    ends = NOW + timedelta(hours=1)
    labels = {"model": "<script>"}
    hooks.propose(
        store,
        Proposal(key, State.PROPOSED, "retrain", "retrain", "Drift", "f", labels, "[]", NOW, NOW, ends, note=note),
    )


def test_every_runbook_of_the_starter_rules_is_a_page(store: Store) -> None:
    rules = [rule for group in yaml.safe_load(STARTER.read_text())["groups"] for rule in group["rules"]]
    named = {Path(rule["runbook"]).stem for rule in rules}
    client = browse(store)

    found = {name: client.get(f"/runbooks/{name}") for name in named}

    assert {each.status_code for each in found.values()} == {200}
    assert all("<h2>What to do</h2>" in each.text for each in found.values())
    assert all(f'href="/runbooks/{name}"' in client.get("/runbooks").text for name in named)


def test_ones_own_runbooks_stand_beside_them_and_hold_text_alone(store: Store, tmp_path: Path) -> None:
    text = "# Mine\n<script>alert(1)</script> [x](javascript:alert(1)) [y](https://y.example)"
    (tmp_path / "mine.md").write_text(text)
    (tmp_path / "drift-found.md").write_text("# Ours instead\n")
    (tmp_path.parent / "outside.md").write_text("# no")
    client = browse(store, runbooks=str(tmp_path))

    shown = client.get("/runbooks/mine").text

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown and 'href="javascript' not in shown
    assert 'href="https://y.example"' in shown
    assert "Ours instead" in client.get("/runbooks/drift-found").text
    for name in ("nobody", "..%2Foutside", "%2e%2e%2foutside", "mine.md"):
        assert client.get(f"/runbooks/{name}").status_code == 404


def test_a_proposal_is_shown_as_text_and_its_buttons_decide(store: Store) -> None:
    propose(store, "a" * 32)
    propose(store, "b" * 32)
    client = browse(store)

    before = client.get("/hooks").text
    answer = client.post(f"/hooks/{'a' * 32}/decide", data={"action": "approve", "author": "ann", "note": "go"})
    again = client.post(f"/hooks/{'a' * 32}/decide", data={"action": "reject", "author": "ben"})
    after = client.get("/hooks").text

    assert before.count("Approve: call it") == 2 and "<script>" not in before and "drift &lt;b&gt;" in before
    assert (answer.status_code, answer.headers["location"], again.status_code) == (303, "/hooks", 400)
    assert after.count("Approve: call it") == 1
    assert "ann: go" in after
    assert hooks.one(store, "a" * 32).state is State.APPROVED


def test_only_those_who_may_write_decide(store: Store) -> None:
    propose(store, "a" * 32)
    path = f"/hooks/{'a' * 32}/decide"

    assert browse(store, "10.0.0.7").post(path, data={"action": "approve", "author": "x"}).status_code == 403
    assert browse(store).post(path, data={}, headers={"origin": "http://evil.example"}).status_code == 403
    assert browse(store).post(path, data={"action": "explode", "author": "x"}).status_code == 400
    assert browse(store).post("/api/hooks/retrain/explode", json={"author": "x"}).status_code == 404
    assert browse(store).post("/api/hooks/nobody/call", json={"author": "x", "note": "y"}).status_code == 400
    assert hooks.one(store, "a" * 32).state is State.PROPOSED


def test_the_commands_decide_and_call_over_the_page_of_a_running_service(store: Store) -> None:
    propose(store, "a" * 32)
    server = WebServer(app(store), "127.0.0.1", 0, "test-page")
    remote = OverPage(Page(server.url))
    try:
        remote.decide("a" * 8, State.REJECTED, "ann", "labels late")
        called = remote.call("retrain", {"model": "m"}, "ben", "new data")
        listed = remote.listed()
        shown = remote.one("a" * 8)
    finally:
        server.close()

    assert {each["state"] for each in listed} == {"rejected", "approved"}
    assert (shown["decided_by"], shown["said"]) == ("ann", "labels late")
    assert (called["labels"], called["decided_by"]) == ({"model": "m"}, "ben")
