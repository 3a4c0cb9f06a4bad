"""Scores as OTLP: log events ``gen_ai.evaluation.result``, the way any other evaluator would send them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tidegauge.judges.parser import NoVerdict, Verdict
from tidegauge.judges.rubric import Rubric
from tidegauge.judges.sampling import Draw
from tidegauge.judges.source import Call
from tidegauge.model import Export, Signal

EVENT = "gen_ai.evaluation.result"
SCOPE = "tidegauge.judges"


@dataclass(frozen=True, slots=True)
class Score:
    """What one rubric says about one call."""

    draw: Draw
    call: Call
    rubric: Rubric
    judge: str
    result: Verdict | NoVerdict
    suspicions: tuple[str, ...] = ()

    @property
    def service(self) -> str:
        """The service whose call was judged."""
        return self.call.service


def export(scores: Sequence[Score], now: datetime) -> Export:
    """One request with an event for each score, at the judged call's time, observed at ``now``."""
    request = ExportLogsServiceRequest()
    service = attrgetter("service")
    for name, group in groupby(sorted(scores, key=service), key=service):
        resource = request.resource_logs.add()
        resource.resource.attributes.extend(_pairs({"service.name": name}))
        scope = resource.scope_logs.add()
        scope.scope.name = SCOPE
        scope.log_records.extend(_record(each, now) for each in group)
    return Export(Signal.LOGS, request.SerializeToString(), len(scores))


def _record(score: Score, now: datetime) -> LogRecord:
    candidate = score.draw.candidate
    return LogRecord(
        time_unix_nano=_nanoseconds(candidate.at),
        observed_time_unix_nano=_nanoseconds(now),
        event_name=EVENT,
        trace_id=bytes.fromhex(candidate.trace_id),
        span_id=bytes.fromhex(candidate.span_id),
        attributes=_pairs(_attributes(score)),
    )


def _attributes(score: Score) -> dict[str, str | float]:
    fixed: dict[str, str | float] = {
        "gen_ai.evaluation.name": score.rubric.name,
        "tidegauge.judge.model": score.judge,
        "tidegauge.judge.rubric": score.rubric.identity,
        "tidegauge.judge.stratum": score.draw.candidate.stratum,
        "tidegauge.judge.inclusion_probability": score.draw.probability,
    }
    slices = {f"tidegauge.slice.{name}": value for name, value in score.call.slices.items()}
    suspected = {"tidegauge.judge.suspicion": ",".join(score.suspicions)} if score.suspicions else {}
    return fixed | _outcome(score.result) | slices | suspected


def _outcome(result: Verdict | NoVerdict) -> dict[str, str | float]:
    if isinstance(result, NoVerdict):
        detail = {"gen_ai.evaluation.explanation": result.detail} if result.detail else {}
        return {"error.type": f"{result.outcome}:{result.reason}", **detail}
    return {
        "gen_ai.evaluation.score.value": result.score,
        "gen_ai.evaluation.score.label": result.label,
        "gen_ai.evaluation.explanation": result.explanation,
    }


def _pairs(attributes: Mapping[str, str | float]) -> Iterable[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in attributes.items()]


def _value(value: str | float) -> AnyValue:
    return AnyValue(string_value=value) if isinstance(value, str) else AnyValue(double_value=value)


def _nanoseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000
