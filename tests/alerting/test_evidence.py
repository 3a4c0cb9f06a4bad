"""The course of a metric and sample traces in messages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from genai_calls import insert_calls

from tidegauge.alerting import Rule
from tidegauge.alerting.evidence import Evidencing, course
from tidegauge.alerting.notifiers import slack, webhook
from tidegauge.alerting.notifiers.contract import facts, links, runbook_url
from tidegauge.alerting.states import Evidence, Notice
from tidegauge.errors import StoreError
from tidegauge.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WHO = {"severity": "page", "owner": "team", "runbook": "r", "action": "a"}
RULE = {"alert": "High refusal rate", "metric": "refusal_rate", "by": ["service"], "window": "30m", "above": 0.05} | WHO


def rising(store: Store) -> None:
    """Four windows of 100 calls: 0, 10, 20 and 30 % refused; another service refuses everything."""
    rows = [
        {"timestamp": NOW - timedelta(minutes=30 * (4 - step) - 10), "trace_id": f"{step}-{i:03d}", "service": "shop"}
        | {"refused": i < 10 * step}
        for step in range(4)
        for i in range(100)
    ]
    other = [row | {"service": "other", "refused": True, "trace_id": f"x{row['trace_id']}"} for row in rows]
    insert_calls(store, [row | {"kind": "llm"} for row in rows + other])


def test_an_alert_shows_the_windows_before_it_and_three_answers_that_made_it_fire(
    store: Store, make_alert: Any
) -> None:
    rising(store)
    find = Evidencing(store, [Rule.model_validate(RULE)])

    (alert,) = find([make_alert(at=NOW)])

    assert alert.evidence.course == "············▁▃▆█ 16 windows of 30m, 0 % to 30 %; threshold 5 %"
    assert alert.evidence.traces == ("3-000", "3-001", "3-002")
    message = json.dumps(slack.build([alert], "https://g.example"), ensure_ascii=False)
    assert alert.evidence.course in message and "<https://g.example/traces/3-000|Trace 1>" in message
    assert ("Course", alert.evidence.course) in facts(alert)
    assert webhook.build([alert])["alerts"][0]["traces"] == ["3-000", "3-001", "3-002"]


def test_the_summary_alert_an_end_and_a_rule_that_is_gone_have_none(store: Store, make_alert: Any) -> None:
    rising(store)
    find = Evidencing(store, [Rule.model_validate(RULE)])
    alerts = [
        make_alert(at=NOW, labels={}),
        make_alert(at=NOW, notice=Notice.RESOLVE, open=False),
        make_alert(at=NOW, rule="gone"),
    ]

    assert [each.evidence for each in find(alerts)] == [Evidence()] * 3


def test_a_query_that_fails_costs_the_course_and_not_the_message(
    store: Store, make_alert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise StoreError("too slow", 159)

    monkeypatch.setattr(store, "rows", fail)

    (alert,) = Evidencing(store, [Rule.model_validate(RULE)])([make_alert(at=NOW)])

    assert alert.evidence == Evidence()


def test_of_many_alerts_the_first_three_are_looked_into_and_each_once(
    store: Store, make_alert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def rows(sql: str, params: Any = None) -> list[Any]:
        asked.append(sql)
        return []

    monkeypatch.setattr(store, "rows", rows)
    find = Evidencing(store, [Rule.model_validate(RULE)])
    alerts = [make_alert(at=NOW, labels={"service": f"s{i}"}) for i in range(9)]

    find(alerts)
    find(alerts)

    assert len([sql for sql in asked if "alert_diagnoses" not in sql]) == 16 + 3


@pytest.mark.parametrize(
    ("values", "shown"), [([], ""), ([1.0], ""), ([None, 2.0], ""), ([2.0, 2.0], "▁▁ 2 windows of 1h, 2 to 2")]
)
def test_too_little_to_draw_is_not_drawn(values: list[float | None], shown: str) -> None:
    assert course(values, timedelta(hours=1), None, "score") == shown


def test_a_runbook_in_a_file_is_a_page_and_a_model_has_a_diagnosis(make_alert: Any) -> None:
    alert = make_alert(runbook="docs/runbooks/drift-found.md", labels={"model": "a/b"}, unit="findings")

    assert links(alert, "https://g.example/") == [
        ("Runbook", "https://g.example/runbooks/drift-found"),
        ("Page", "https://g.example/alerts"),
        ("Diagnosis", "https://g.example/diagnosis/a%2Fb"),
    ]
    assert links(alert, "") == []
    assert runbook_url("javascript:x.md", "") == "javascript:x.md"
