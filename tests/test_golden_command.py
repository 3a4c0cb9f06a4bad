"""`tidegauge golden` from the command line, against a running service's page, and the files that it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from genai_calls import insert_calls
from typer.testing import CliRunner, Result

from tidegauge import golden
from tidegauge.app import proposing
from tidegauge.cli import app
from tidegauge.clock import ReplayClock
from tidegauge.config import Settings
from tidegauge.dashboards.page import create_app
from tidegauge.errors import InvalidRecord
from tidegauge.golden import State
from tidegauge.golden_export import export, item
from tidegauge.model import Window
from tidegauge.running import Page
from tidegauge.store import Store
from tidegauge.web import WebServer

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
QUESTIONS = ("Where is my parcel?", "Who signs on Saturday?")


@pytest.fixture
def command(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty configuration, and a running service's page in place of its database."""
    rows = [
        {"timestamp": NOW - timedelta(days=1), "trace_id": f"{number:032x}", "service": "shop", "refused": True}
        | {"input": question, "output": "no", "tenant": "acme", "versions": {"index": "i7"}}
        for number, question in enumerate(QUESTIONS)
    ]
    insert_calls(store, rows)
    chosen = Settings.model_validate({"golden": {"reasons": ["refused"]}, "detectors": {"embedder": "off"}})

    def propose(window: Window, seed: int) -> dict[str, object]:
        return proposing(store, chosen).run(window, NOW, seed).as_json()

    server = WebServer(create_app(store, chosen, ReplayClock(NOW), propose=propose), "127.0.0.1", 0, "page")
    monkeypatch.setattr("tidegauge.cli_golden.reach", lambda settings: Page(server.url))
    path = tmp_path / "tidegauge.yaml"
    path.write_text("{}")
    yield path
    server.close()


def run(path: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["golden", *words, "--config", str(path)])


def test_a_golden_set_is_proposed_decided_and_exported_over_the_page(
    store: Store, command: Path, tmp_path: Path
) -> None:
    proposed = run(command, "propose", "--until", "2026-03-09T00:00:00")
    listed = json.loads(run(command, "list", "--json").stdout)
    first, second = sorted(listed, key=lambda each: each["input"])
    accepted = run(command, "accept", second["candidate_id"][:8], "--author", "ann", "--expected", "In Porto.")
    rejected = run(command, "reject", first["candidate_id"], "--author", "ann", "--note", "fine")
    shown = run(command, "show", second["candidate_id"]).stdout
    out = tmp_path / "set.json"
    written = run(command, "export", str(out))

    assert "shop: 2 proposed of 2 failures, 2 different" in proposed.stdout
    assert (accepted.exit_code, rejected.exit_code, written.exit_code) == (0, 0, 0)
    assert "expected: In Porto." in shown and "accepted by ann" in shown and "index=i7" in shown
    (only,) = json.loads(out.read_text())
    assert (only["input"], only["actual_output"], only["expected_output"]) == (second["input"], "no", "In Porto.")
    assert only["metadata"]["versions"] == {"index": "i7"} and only["source_trace_id"] == second["trace_id"]
    assert "none proposed" in run(command, "list").stdout


def test_wrong_use_ends_in_a_message_and_writes_nothing(command: Path, tmp_path: Path) -> None:
    for words in (
        ("show", "feedbeef"),
        ("export", str(tmp_path / "set.csv")),
        ("list", "--state", "nonsense"),
        ("propose", "--since", "2026-03-09", "--until", "2026-03-01"),
    ):
        assert run(command, *words).exception is not None
    assert not (tmp_path / "set.csv").exists()


def test_every_column_survives_jsonl_and_parquet(store: Store, tmp_path: Path) -> None:
    rows = [{"timestamp": NOW, "trace_id": "ab" * 16, "service": "s", "refused": True, "input": "ü \u2028 'quoted'\n"}]
    insert_calls(store, rows)
    settings = Settings.model_validate({"golden": {"reasons": ["refused"]}, "detectors": {"embedder": "off"}})
    proposing(store, settings).run(Window(NOW - timedelta(days=1), NOW + timedelta(days=1)), NOW)
    found = golden.read(store, State.PROPOSED)
    for name in ("set.jsonl", "set.parquet"):
        assert export(found, tmp_path / name) == 1

    assert [
        golden.from_json(json.loads(line)) for line in (tmp_path / "set.jsonl").read_text().split("\n") if line
    ] == found
    (row,) = pl.read_parquet(tmp_path / "set.parquet").to_dicts()
    assert row["input"] == found[0].input and json.loads(row["reasons"]) == dict(found[0].reasons)
    assert row["timestamp"] == NOW and row["decided_at"] is None
    assert item(found[0], "http://page/")["metadata"]["trace_url"] == f"http://page/traces/{'ab' * 16}"
    export([], tmp_path / "empty.parquet")
    assert pl.read_parquet(tmp_path / "empty.parquet").schema["timestamp"] == pl.Datetime("us", "UTC")
    with pytest.raises(InvalidRecord, match="cannot be written"):
        export([], tmp_path / "no such folder" / "set.json")
