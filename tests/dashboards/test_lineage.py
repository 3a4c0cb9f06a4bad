"""Lineage: from an answer to the versions that made it, and from a version to all it touched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from tidegauge.cli import app as command_line
from tidegauge.clock import ReplayClock
from tidegauge.config import Settings
from tidegauge.dashboards.lineage import Selection, affected, export, lineage
from tidegauge.dashboards.lineage.affected import Affected
from tidegauge.dashboards.lineage.source import source
from tidegauge.dashboards.lineage.text import affected_text, lineage_text
from tidegauge.dashboards.page import create_app
from tidegauge.errors import InvalidRecord, TidegaugeError
from tidegauge.model import Window
from tidegauge.store import Store

AT = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
DAY = Window(AT - timedelta(hours=12), AT + timedelta(hours=12))
TRACE = "ab" * 16


def event(name: str, at: datetime, attributes: dict[str, str], trace: str = "") -> dict[str, Any]:
    return {
        "Timestamp": at,
        "TraceId": trace,
        "ServiceName": "scorer",
        "EventName": name,
        "ResourceAttributes": {"service.name": "scorer"},
        "LogAttributes": attributes,
    }


def prediction(number: int, *, at: datetime = AT, version: str = "7", tenant: str = "acme", data: str = "9f2c") -> Any:
    return event(
        "tidegauge.prediction",
        at,
        {
            "tidegauge.prediction.id": f"p{number}",
            "tidegauge.model.name": "fraud",
            "tidegauge.model.version": version,
            "tidegauge.prediction.value": "fraud",
            "tidegauge.prediction.score": "0.91",
            "tidegauge.feature.amount": "41.5",
            "tidegauge.tenant": tenant,
            "tidegauge.version.training_data_hash": data,
            "tidegauge.version.base_model": "gbm-3",
        },
        TRACE if number == 1 else "",
    )


def label(at: datetime, value: str) -> dict[str, Any]:
    named = {"tidegauge.prediction.id": "p1", "tidegauge.model.name": "fraud", "tidegauge.label.value": value}
    return event("tidegauge.label", at, named)


def span(number: int, parent: int, name: str, **attributes: str) -> dict[str, Any]:
    return {
        "Timestamp": AT + timedelta(milliseconds=number),
        "TraceId": TRACE,
        "SpanId": f"{number:016x}",
        "ParentSpanId": f"{parent:016x}" if parent else "",
        "SpanName": name,
        "ServiceName": "scorer",
        "ResourceAttributes": {"service.name": "scorer"},
        "SpanAttributes": attributes,
        "Duration": 250_000_000,
        "StatusCode": "Unset",
    }


def finding(identifier: str, verdict: str, dimension: str = "", slice_: str = "", days: int = 0) -> dict[str, Any]:
    start = AT.replace(hour=0, minute=0) + timedelta(days=days)
    return {
        "evaluated_at": AT + timedelta(days=1),
        "finding_id": identifier,
        "subject": "fraud",
        "feature": "amount",
        "detector": "psi",
        "dimension": dimension,
        "slice": slice_,
        "window_start": start,
        "window_end": start + timedelta(days=1),
        "verdict": verdict,
        "effect": 0.4,
        "effect_floor": 0.1,
        "since": start,
    }


@pytest.fixture
def told(store: Store) -> Iterator[Store]:
    store.insert("otel_logs", [prediction(1), prediction(2, tenant="globex"), prediction(3, version="8", data="77aa")])
    store.insert("otel_logs", [prediction(4, at=AT + timedelta(hours=2)), prediction(5, at=AT + timedelta(days=3))])
    store.insert("otel_logs", [label(AT + timedelta(days=9), "honest"), label(AT + timedelta(days=2), "fraud")])
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4.1",
        "gen_ai.prompt.version": "v2",
        "gen_ai.usage.input_tokens": "120",
        "tidegauge.version.retrieval_index": "idx-5",
        "tidegauge.tenant": "acme",
        "tidegauge.refused": "true",
    }
    spans = [span(1, 0, "POST /score"), span(2, 1, "chat \x1b[31mred", **chat)]
    store.insert("otel_traces", spans)
    store.insert(
        "findings",
        [
            finding("all", "drift"),
            finding("its-slice", "drift", "tenant", "acme"),
            finding("other-slice", "drift", "tenant", "globex"),
            finding("its-pair", "drift", "tenant & version", "acme & 7"),
            finding("other-pair", "drift", "tenant & version", "acme & 8"),
            finding("calm", "stable"),
            finding("next-day", "drift", days=1),
        ],
    )
    yield store
    store.execute("TRUNCATE TABLE otel_traces")


def test_a_prediction_leads_to_its_version_tuple_its_trace_its_labels_and_the_drift_around_it(told: Store) -> None:
    found = lineage(told, "p1")

    assert found is not None
    assert found["trace_id"] == TRACE
    of_prediction, of_call = (each["versions"] for each in found["versions"])
    assert of_prediction == {
        "model": "fraud",
        "model_version": "7",
        "base_model": "gbm-3",
        "training_data_hash": "9f2c",
    }
    assert of_call == {"retrieval_index": "idx-5", "model": "gpt-4.1", "prompt": "v2"}
    assert [(each["name"], each["depth"]) for each in found["spans"]] == [("POST /score", 0), ("chat \x1b[31mred", 1)]
    assert [row["value"] for row in found["labels"]] == ["honest", "fraud"]
    assert {row["finding_id"] for row in found["findings"]} == {"all", "its-slice", "its-pair"}
    assert "tenant=acme & version=7" in lineage_text(found)


def test_a_trace_leads_to_the_same(told: Store) -> None:
    found = lineage(told, TRACE)

    assert found is not None
    assert [row["prediction_id"] for row in found["predictions"]] == ["p1"]
    assert len(found["spans"]) == 2
    assert len(found["labels"]) == 2


def test_an_unknown_id_is_unknown(told: Store) -> None:
    assert lineage(told, "') OR 1=1 --") is None


def test_the_text_shows_which_label_is_in_force_and_lets_no_data_draw_on_the_terminal(told: Store) -> None:
    found = lineage(told, "p1")
    assert found is not None

    text = lineage_text(found)

    assert "\x1b" not in text
    assert "refused" in text
    lines = [line.split() for line in text.splitlines() if "honest" in line or "earlier" in line]
    assert lines == [
        ["2026-05-13", "10:30:00", "honest", "in", "force"],
        ["2026-05-06", "10:30:00", "fraud", "earlier"],
    ]


def test_a_version_leads_to_what_it_touched_by_tenant_service_and_hour(told: Store) -> None:
    found = affected(told, Selection({"model_version": "7", "training_data_hash": "9f2c"}), DAY)

    assert (found.predictions, found.calls, found.labelled) == (3, 0, 1)
    assert found.by("tenant") == {("acme",): (2, 0), ("globex",): (1, 0)}
    assert list(found.by("hour").values()) == [(2, 0), (1, 0)]
    assert (found.first, found.last) == (AT, AT + timedelta(hours=2))


def test_a_version_of_an_llm_leads_to_calls_and_traces(told: Store) -> None:
    by_prompt = affected(told, Selection({"prompt": "v2"}), DAY)
    by_index = affected(told, Selection({"retrieval_index": "idx-5"}), DAY)
    by_both = affected(told, Selection({"retrieval_index": "idx-5", "prompt": "v1"}), DAY)

    assert (by_prompt.calls, by_prompt.traces, by_prompt.by("service")) == (1, 1, {("scorer",): (0, 1)})
    assert by_index.calls == 1
    assert (by_both.calls, by_both.predictions, by_both.first) == (0, 0, None)
    assert "nothing" in affected_text(by_both)


def test_a_selection_names_the_parts_of_the_tuple_when_it_is_given_another() -> None:
    with pytest.raises(InvalidRecord, match=r"'colour' is no part.*training_data_hash"):
        Selection({"colour": "red"})
    with pytest.raises(InvalidRecord, match="no version is given"):
        Selection({})


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_each_touched_record_goes_into_a_file(told: Store, tmp_path: Path, suffix: str) -> None:
    found = affected(told, Selection({"base_model": "gbm-3"}), Window(AT - timedelta(days=1), AT + timedelta(days=4)))
    out = tmp_path / f"touched{suffix}"

    written = export(told, found, out)

    read: dict[str, Any] = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson}
    frame = read[suffix](out)
    assert written == frame.height == 5
    assert frame["id"].to_list() == ["p1", "p2", "p3", "p4", "p5"]
    assert frame["tenant"].to_list() == ["acme", "globex", "acme", "acme", "acme"]


def test_a_file_of_another_kind_is_refused_by_name(told: Store, tmp_path: Path) -> None:
    found = affected(told, Selection({"base_model": "gbm-3"}), DAY)

    with pytest.raises(InvalidRecord, match=r"touched\.xlsx.*\.csv, \.parquet, \.jsonl"):
        export(told, found, tmp_path / "touched.xlsx")


def test_the_page_answers_the_same_so_that_the_commands_work_beside_a_running_service(told: Store) -> None:
    page = TestClient(create_app(told, Settings(), ReplayClock(AT + timedelta(hours=3))))

    whole = page.get("/api/traces/p1").json()
    counted = page.get("/api/affected", params={"model_version": "7", "from": "-1d"}).json()
    listed = page.get("/api/affected.jsonl", params={"model_version": "7", "from": "-1d"})

    assert whole["trace_id"] == TRACE
    assert lineage_text(whole).startswith("p1   trace abab")
    assert Affected.from_json(counted).by("tenant") == {("acme",): (2, 0), ("globex",): (1, 0)}
    assert [json.loads(line)["id"] for line in listed.text.splitlines()] == ["p1", "p2", "p4"]
    assert page.get("/api/traces/nobody").status_code == 404
    assert page.get("/api/affected").status_code == 400
    assert page.get("/api/affected.exe", params={"model": "fraud"}).status_code == 404


def test_a_command_without_a_version_is_a_usage_error() -> None:
    answer = CliRunner().invoke(command_line, ["affected"])

    assert answer.exit_code == 2
    assert "--training-data-hash" in answer.output.replace("\n", "").replace("│", "").replace(" ", "")


def test_a_database_that_was_never_made_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(TidegaugeError, match=r"there is no database in .*nowhere"):
        source(Settings(data_dir=tmp_path / "nowhere"))

    assert not (tmp_path / "nowhere").exists()
