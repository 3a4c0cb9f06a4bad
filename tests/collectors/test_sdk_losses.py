"""What a service loses is told to the receiver, stored and watched; so are predictions that ended in an error."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA, NumberDataPoint
from sdk_sink import Sink, attributes

import tidegauge
from tidegauge.clock import ReplayClock
from tidegauge.collectors.sdk import otlp, sender
from tidegauge.collectors.sdk.post import Answer, Lane, Later, Refused, Taken
from tidegauge.collectors.sdk.report import DROPPED, REJECTED, Report
from tidegauge.collectors.sdk.sender import Sender
from tidegauge.metrics import METRICS, Observation, observe
from tidegauge.model import Window

if TYPE_CHECKING:
    from conftest import Pipeline

ORIGIN = otlp.origin({"service.name": "shop"})
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def points(request: bytes) -> dict[str, dict[str, NumberDataPoint]]:
    """Data points by metric and reason, of a request that is OTLP and of the service ``shop``."""
    [resource] = ExportMetricsServiceRequest.FromString(request).resource_metrics
    assert attributes(resource.resource.attributes)["service.name"] == "shop"
    metrics = [metric for scope in resource.scope_metrics for metric in scope.metrics]
    assert all(each.sum.is_monotonic for each in metrics)
    assert {each.sum.aggregation_temporality for each in metrics} <= {AGGREGATION_TEMPORALITY_DELTA}
    return {
        metric.name: {attributes(each.attributes)["tidegauge.reason"]: each for each in metric.sum.data_points}
        for metric in metrics
    }


def counts(request: bytes) -> dict[str, dict[str, int]]:
    return {name: {reason: each.as_int for reason, each in found.items()} for name, found in points(request).items()}


def told(sink: Sink) -> list[dict[str, dict[str, int]]]:
    return [counts(body) for path, body in sink.requests if path == "/v1/metrics"]


# What is said


def test_each_report_has_what_is_new_since_the_last_one_and_from_when_to_when() -> None:
    clock = ReplayClock(NOON, frozen=True)
    report = Report(ORIGIN, clock)
    assert report.request({DROPPED: {}, REJECTED: {}}) == b""
    clock.set(NOON + timedelta(seconds=5))
    first = report.request({DROPPED: {"queue full": 7}, REJECTED: {"label": 1}})
    report.settled()
    clock.set(NOON + timedelta(seconds=9))
    second = report.request({DROPPED: {"queue full": 9, "wrong": 1}, REJECTED: {"label": 1}})
    report.settled()
    assert counts(first) == {DROPPED: {"queue full": 7}, REJECTED: {"label": 1}}
    assert counts(second) == {DROPPED: {"queue full": 2, "wrong": 1}}
    times = [(each.start_time_unix_nano, each.time_unix_nano) for each in (_any(first), _any(second))]
    assert [(end - start) / 1e9 for start, end in times] == [5, 4]
    assert times[0][1] == times[1][0]
    assert report.request({DROPPED: {"queue full": 9, "wrong": 1}, REJECTED: {"label": 1}}) == b""


def _any(request: bytes) -> NumberDataPoint:
    return next(iter(points(request)[DROPPED].values()))


def test_a_report_that_was_put_off_is_given_out_again_byte_for_byte() -> None:
    report = Report(ORIGIN, ReplayClock(NOON))
    first = report.request({DROPPED: {"queue full": 7}})
    assert report.request({DROPPED: {"queue full": 8}}) == first
    report.settled()
    assert counts(report.request({DROPPED: {"queue full": 8}})) == {DROPPED: {"queue full": 1}}


# When it is said


def test_what_was_dropped_and_rejected_is_told_once_with_the_next_success(sink: Sink) -> None:
    sink.statuses = [400]
    client = tidegauge.init("shop", sink.url)
    client.log_prediction("m", {}, prediction=1)
    assert client.flush(20)
    assert told(sink) == []
    client.log_prediction("m", {"x": [1]}, prediction=1)
    client.log_label("m", "", 1)
    client.log_prediction("m", {}, prediction=2)
    client.shutdown()
    assert told(sink) == [
        {
            "tidegauge.sdk.dropped_records": {"refused by the receiver": 1},
            "tidegauge.sdk.rejected_records": {"tidegauge.prediction": 1, "tidegauge.label": 1},
        }
    ]
    assert (client.sent, client.dropped, client.rejected, client.queued) == (1, 1, 2, 0)


def test_where_nothing_was_lost_nothing_is_said(sink: Sink) -> None:
    client = tidegauge.init("shop", sink.url)
    client.log_prediction("m", {}, prediction=1)
    client.shutdown()
    assert [path for path, _ in sink.requests] == ["/v1/logs"]


class Recording:
    """A way to deliver that answers reports as it is told, and takes everything else."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.reports, self.others = list(answers), list[bytes](), list[bytes]()

    def __call__(self, lane: Lane, payload: bytes) -> Answer:
        if lane is not Lane.METRICS:
            self.others.append(payload)
            return Refused("rotten") if b"rotten" in payload else Taken()
        self.reports.append(payload)
        return self.answers.pop(0) if self.answers else Taken()

    def close(self) -> None:
        pass


def deliver(made: Sender, *texts: str) -> None:
    for each in texts:
        made.offer(Lane.LOGS, each.encode(), 1, ORIGIN)
        assert made.flush(10)


@pytest.mark.parametrize("answer", [Later("busy"), Refused("HTTP 404", unknown=True)])
def test_a_receiver_that_takes_no_report_now_or_ever_costs_no_record(
    monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(sender, "REPORT_EVERY_S", 0.0)
    post = Recording(*[answer] * 4)
    made = Sender(lambda: post, origin=ORIGIN, linger_s=0)
    deliver(made, "rotten", "one", "two", "three")
    made.close(10)
    assert (made.sent, made.drops, len(post.others)) == (3, {"refused by the receiver": 1}, 4)
    assert len(set(post.reports)) == 1
    assert len(post.reports) > 1 if isinstance(answer, Later) else len(post.reports) == 1


def test_reports_are_seconds_apart_and_the_last_one_goes_when_the_client_ends() -> None:
    post = Recording()
    made = Sender(lambda: post, origin=ORIGIN, linger_s=0)
    deliver(made, "rotten", "one", "rotten", "two", "rotten", "three")
    assert len(post.reports) <= 1
    made.close(10)
    assert [counts(each) for each in post.reports] == [
        {DROPPED: {"refused by the receiver": 1}},
        {DROPPED: {"refused by the receiver": 2}},
    ]


def test_a_receiver_that_refuses_everything_is_told_nothing() -> None:
    post = Recording()
    made = Sender(lambda: post, origin=ORIGIN, linger_s=0)
    deliver(made, "rotten", "rotten")
    made.close(10)
    assert post.reports == []


# What comes of it


def last_hour(pipeline: Pipeline, metric: str, *by: str) -> list[Observation]:
    now = datetime.now(UTC)
    return observe(pipeline.store, METRICS[metric], by, Window(now - timedelta(hours=1), now + timedelta(minutes=1)))


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_rule_can_watch_what_services_lose(direct: Pipeline, protocol: Any) -> None:
    url = direct.server.grpc_url if protocol == "grpc" else direct.server.http_url
    client = tidegauge.init("shop", url, protocol=protocol)
    for _ in range(3):
        client.log_prediction("m", {"x": [1]}, prediction=1)
    client.log_prediction("m", {"x": 1}, prediction=1)
    client.shutdown(10)
    direct.flush()
    [found] = last_hour(direct, "sdk_lost_records", "service", "outcome", "reason")
    assert found.labels == {"service": "shop", "outcome": "rejected", "reason": "tidegauge.prediction"}
    assert found.value == 3


def test_predictions_that_ended_in_an_exception_are_counted_with_their_type_tenant_and_trace(direct: Pipeline) -> None:
    client = tidegauge.init("shop", direct.server.http_url, resource={"tidegauge.version.base_model": "b7"})

    @tidegauge.track_predictions(model="churn", version="2")
    def predict(visits: int) -> str:
        return "stays" if 10 / visits else "leaves"

    with client.request("ask", tenant="acme", intent="renew") as request:
        for visits in (1, 2, 5, 0):
            with suppress(ZeroDivisionError):
                predict(visits)
    client.shutdown(10)
    direct.flush()

    [found] = last_hour(direct, "prediction_error_rate", "service", "model", "version", "slice.tenant", "slice.intent")
    assert (found.value, found.samples) == (0.25, 4)
    assert found.labels == {"service": "shop", "model": "churn", "version": "2", "tenant": "acme", "intent": "renew"}
    span = "start = now() - INTERVAL 1 HOUR, end = now() + INTERVAL 1 HOUR"
    [row] = direct.store.rows(f"SELECT error_type, trace_id, versions FROM prediction_errors({span})")
    assert row == {"error_type": "ZeroDivisionError", "trace_id": request.trace_id, "versions": {"base_model": "b7"}}


def test_an_error_belongs_to_its_window_and_where_its_clock_is_wrong_to_that_of_storing(direct: Pipeline) -> None:
    now = datetime.now(UTC)
    named = {"tidegauge.model.name": "m", "error.type": "E"}
    times = {"in time": now - timedelta(minutes=10), "epoch": datetime(1970, 1, 1, tzinfo=UTC)}
    times |= {"ahead": now + timedelta(days=400), "earlier": now - timedelta(days=3)}
    rows = [
        {"Timestamp": at, "EventName": "tidegauge.prediction.error", "LogAttributes": named, "ServiceName": name}
        for name, at in times.items()
    ]
    direct.store.insert("otel_logs", rows)
    found = last_hour(direct, "prediction_error_rate", "service")
    assert {each.labels["service"] for each in found} == {"in time", "epoch", "ahead"}
    days = Window(now - timedelta(days=4), now - timedelta(days=2))
    [before] = observe(direct.store, METRICS["prediction_error_rate"], ["service"], days)
    assert before.labels == {"service": "earlier"}
