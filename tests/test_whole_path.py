"""From what an instrumented service sends to a finding, an alert and a page; embedded and through Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import polars as pl
import pytest
from pydantic import SecretStr

import tidegauge
from tidegauge.app import Service
from tidegauge.clock import ReplayClock
from tidegauge.config import (
    Alerting,
    Detectors,
    Kafka,
    Page,
    PagerDutyReceiver,
    Receiver,
    Reference,
    Settings,
    SlackReceiver,
    Watch,
)
from tidegauge.demo.inbox import Inbox, Message
from tidegauge.store import Store

if TYPE_CHECKING:
    from broker import KafkaBroker
    from selenium.webdriver import Chrome

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
RULES = """
groups:
  - name: test
    rules:
      - alert: High refusal rate
        metric: refusal_rate
        by: [service, prompt_version]
        window: 1h
        above: 0.05
        for: 30m
        min_samples: 30
        severity: page
        owner: me
        runbook: docs/runbooks/high-refusal-rate.md
        action: Roll it back.
      - alert: Drift found
        metric: drift_findings
        by: [subject]
        window: 2d
        above: 0
        severity: triage
        owner: me
        runbook: docs/runbooks/drift-found.md
        action: Look at the feature.
"""


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    inbox.close()


@pytest.fixture(params=["direct", pytest.param("kafka", marks=pytest.mark.kafka)])
def settings(request: pytest.FixtureRequest, store: Store, inbox: Inbox, tmp_path: Path) -> Settings:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    kafka = Kafka()
    if request.param == "kafka":
        broker: KafkaBroker = request.getfixturevalue("kafka_broker")
        kafka = Kafka(bootstrap_servers=(broker.bootstrap,), group_id=f"whole-{tmp_path.name}", flush_after_s=0.1)
    return Settings.model_validate(
        {
            "clickhouse": {"dsn": store.dsn, "database": store.database},
            "receiver": Receiver(http_port=0, grpc_port=0),
            "kafka": kafka,
            "page": Page(port=0),
            "detectors": Detectors(
                models=(Watch(reference=Reference(kind="training"), slices=("country",)),), embedder="off"
            ),
            "alerting": Alerting(
                rules=(rules,),
                receivers=(
                    SlackReceiver(name="channel", url=SecretStr(f"{inbox.url}/slack")),
                    PagerDutyReceiver(name="on-call", routing_key=SecretStr("key"), url=f"{inbox.url}/pagerduty"),
                ),
                allow_internal_addresses=True,
            ),
        }
    )


def predictions(rng: np.random.Generator, start: datetime, rows: int, shifted: str = "") -> pl.DataFrame:
    """Traffic of one day; in the country ``shifted`` the feature income comes in other units."""
    country = rng.choice(["de", "fr", "it"], rows)
    income = rng.normal(50, 10, rows)
    return pl.DataFrame(
        {
            "at": [start + DAY * float(each) for each in np.sort(rng.random(rows))],
            "income": np.where(country == shifted, income / 12, income),
            "age": rng.normal(40, 8, rows),
            "country": country,
            "answer": rng.choice(["yes", "no"], rows),
        }
    )


def send(client: tidegauge.Client, frame: pl.DataFrame, role: str = "") -> None:
    client.log_predictions(
        "credit",
        frame,
        features=["income", "age"],
        prediction="answer",
        timestamp="at",
        slices=["country"],
        version="7",
        role=role,
    )


def ask(client: tidegauge.Client, clock: ReplayClock, start: datetime, refused: int) -> str:
    """Sixty calls within half an hour, ``refused`` of them declined; returns a trace id."""
    for number in range(60):
        clock.set(start + timedelta(seconds=30 * number))
        with client.request("chat", tenant="acme") as root:
            with client.retrieval("manual", query="how") as found:
                found.documents([{"id": "page-1", "score": 0.9}])
            with client.llm_call("small-1", prompt_version="v2") as call:
                call.output("<script>alert(1)</script>")
                call.usage(10, 5)
                if number < refused:
                    call.refused()
    return root.trace_id


def test_what_a_service_sends_becomes_findings_alerts_and_a_page(
    settings: Settings, inbox: Inbox, rng: np.random.Generator, browser: Chrome
) -> None:
    clock = ReplayClock(MONDAY, frozen=True)
    service = Service(settings, clock=clock, manual=True)
    client = tidegauge.init(
        "shop", service.receiver_url, clock=clock, capture_content=True, strict=True, on_full="wait"
    )
    assert service.transport
    assert service.store

    send(client, predictions(rng, MONDAY - 30 * DAY, 6_000), role="training")
    send(client, predictions(rng, MONDAY, 1_500, shifted="fr"))
    evening = MONDAY + timedelta(hours=23)
    trace = ask(client, clock, evening, refused=20)
    assert client.flush()
    service.transport.flush(60)
    clock.set(MONDAY + DAY + timedelta(minutes=2))
    service.tick(clock.now())
    clock.advance(timedelta(minutes=31))
    trace = ask(client, clock, clock.now(), refused=20)
    assert client.flush()
    service.transport.flush(60)
    client.shutdown()
    service.tick(clock.now())

    found = service.store.rows(
        "SELECT feature, dimension, slice, since, effect, p_adjusted FROM findings WHERE verdict = 'drift'"
    )
    assert {(row["feature"], row["slice"]) for row in found} >= {("income", "fr"), ("income", "")}
    assert not [row for row in found if row["feature"] == "age" or row["slice"] in ("de", "it")]
    assert all(row["since"] == MONDAY and row["p_adjusted"] < 0.05 for row in found)
    the_page_shows_it(browser, service.page_url, trace)
    service.close()
    the_receivers_got_it(inbox.take())
    assert client.dropped == client.rejected == 0


def the_receivers_got_it(messages: list[Message]) -> None:
    slack = " ".join(json.dumps(each.body) for each in messages if each.service == "Slack")
    events: list[dict[str, Any]] = [each.body for each in messages if each.service == "PagerDuty"]
    assert "Drift found" in slack and "credit" in slack
    assert [each["event_action"] for each in events] == ["trigger"]
    assert "High refusal rate" in events[0]["payload"]["summary"]
    assert events[0]["dedup_key"]


def the_page_shows_it(browser: Chrome, url: str, trace: str) -> None:
    browser.get(url)
    overview = browser.find_element("tag name", "body").text
    assert "Drift found" in overview and "High refusal rate" in overview
    assert any(
        "income" in row.text and "fr" in row.text for row in browser.find_elements("css selector", "table tbody tr")
    )
    browser.get(f"{url}/traces/{trace}")
    shown = browser.find_element("tag name", "main").get_attribute("textContent") or ""
    assert "retrieval manual" in shown and "chat small-1" in shown
    assert "<script>alert(1)</script>" in shown


def test_a_bad_request_changes_nothing_for_the_next_one(settings: Settings) -> None:
    service = Service(settings, clock=ReplayClock(MONDAY, frozen=True), manual=True)
    headers = {"content-type": "application/x-protobuf"}
    try:
        refused = httpx.post(f"{service.receiver_url}/v1/traces", content=b"\xff\xff", headers=headers)
        fine = httpx.post(f"{service.receiver_url}/v1/traces", content=b"", headers=headers)
    finally:
        service.close()

    assert refused.status_code == 400
    assert b"ExportTraceServiceRequest" in refused.content
    assert fine.status_code == 200


def test_rounds_over_an_empty_database_find_nothing_and_alert_nobody(settings: Settings, inbox: Inbox) -> None:
    service = Service(settings, clock=ReplayClock(MONDAY, frozen=True), manual=True)
    try:
        done = service.tick(MONDAY + DAY)
    finally:
        service.close()

    assert done["detectors"] == []
    assert inbox.take() == []
