"""``tidegauge hooks``, as a person uses it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tidegauge import hooks
from tidegauge.alerting.hooks import deciding
from tidegauge.cli import app
from tidegauge.config import Settings
from tidegauge.errors import InvalidRecord
from tidegauge.hooks import Proposal, State
from tidegauge.store import Store

HOOK = {"name": "retrain", "kind": "retrain", "match": {"alert": "x"}, "url": "https://example.org/hook"}


@pytest.fixture
def run(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    reached = deciding.InDatabase(store, Settings.model_validate({"alerting": {"hooks": [HOOK]}}))
    monkeypatch.setattr(deciding, "deciding", lambda settings: reached)
    monkeypatch.chdir(tmp_path)
    now = datetime.now(UTC)
    for key in "ab":
        made = Proposal(
            key * 32, State.PROPOSED, "retrain", "retrain", "Drift", "f" * 32, {"model": "m"}, "[]", now, now,
            now + timedelta(hours=1), ("ops",), "tidegauge", "drift\x1b[31m found",
        )  # fmt: skip
        hooks.propose(store, made)
    return CliRunner(env={"USER": "ann"})


def test_proposals_are_listed_shown_approved_rejected_and_called(run: CliRunner) -> None:
    listed = run.invoke(app, ["hooks", "list"]).stdout
    approved = run.invoke(app, ["hooks", "approve", "aaaaaa", "--note", "go"]).stdout
    rejected = run.invoke(app, ["hooks", "reject", "bbbbbb"]).stdout
    called = run.invoke(app, ["hooks", "call", "retrain", "--slice", "model=n", "--note", "new data"]).stdout
    shown = run.invoke(app, ["hooks", "show", "aaaaaa"]).stdout
    everything = json.loads(run.invoke(app, ["hooks", "list", "--all", "--json"]).stdout)

    assert listed.count("proposed") == 2 and "drift [31m found" in listed
    assert approved == "aaaaaaaaaaaa: approved; retrain is called in the next round\n"
    assert rejected == "bbbbbbbbbbbb: rejected; retrain is not called\n"
    assert called.endswith(": retrain is called in the next round\n")
    assert "labels: model=m; told: ops" in shown and "by ann: go" in shown
    assert sorted(each["state"] for each in everything) == ["approved", "approved", "rejected"]


def test_what_cannot_be_is_refused_with_the_reason(run: CliRunner) -> None:
    run.invoke(app, ["hooks", "reject", "aaaaaa"])

    with pytest.raises(InvalidRecord, match="is rejected already by ann"):
        run.invoke(app, ["hooks", "approve", "aaaaaa"], catch_exceptions=False)
    with pytest.raises(InvalidRecord, match=r"no hook 'other'; alerting\.hooks has retrain"):
        run.invoke(app, ["hooks", "call", "other", "--note", "x"], catch_exceptions=False)
    with pytest.raises(InvalidRecord, match="no proposal begins with"):
        run.invoke(app, ["hooks", "show", "cccccc"], catch_exceptions=False)
