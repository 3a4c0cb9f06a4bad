"""Everything that is known of one answer: its versions, its spans, what was said of it later, the drift around it."""

# ruff: noqa: S608 - the pieces are constants of this file; every value is a bound parameter

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tidegauge.dashboards import traces
from tidegauge.dashboards.lineage import versions
from tidegauge.model import Slice
from tidegauge.store import Rows, Store

LIMIT = 200
UNKNOWN = "no prediction and no span has this id; it may be past its retention, or not have arrived yet"
PREDICTION = f"""SELECT timestamp, prediction_id, trace_id, span_id, service, model, version, role, value, score,
  session, slices, versions, features, categories
FROM predictions WHERE %s = {{id:String}} ORDER BY timestamp LIMIT {LIMIT}"""
OF_EITHER = "(prediction_id IN {ids:Array(String)} OR (trace_id != '' AND trace_id = {trace:String}))"
LATER = {
    "labels": """SELECT timestamp, prediction_id, model, value FROM labels WHERE prediction_id IN {ids:Array(String)}
  ORDER BY timestamp DESC""",
    "feedback": f"""SELECT timestamp, span_id, prediction_id, kind, score, comment FROM feedback
  WHERE {OF_EITHER} ORDER BY timestamp""",
    "outcomes": f"SELECT timestamp, prediction_id, name, value FROM outcomes WHERE {OF_EITHER} ORDER BY timestamp",
    "scores": """SELECT timestamp, span_id, name, score, label, explanation, error_type, judge FROM scores
  WHERE trace_id != '' AND trace_id = {trace:String} ORDER BY timestamp""",
    "reviews": """SELECT timestamp, span_id, reason, detail, state FROM review_queue
  WHERE trace_id != '' AND trace_id = {trace:String} ORDER BY timestamp""",
}
TEST = "subject, feature, detector, dimension, slice, window_start, window_end"
# The last verdict of every test whose window holds the moment.
FINDINGS = f"""SELECT {TEST}, last.1 AS finding_id, last.3 AS effect, last.4 AS effect_floor, last.5 AS since FROM (
  SELECT {TEST}, argMax(tuple(finding_id, verdict, effect, effect_floor, since), evaluated_at) AS last FROM findings
  WHERE subject IN {{subjects:Array(String)}} AND window_start <= {{at:DateTime64(6)}}
    AND window_end > {{at:DateTime64(6)}}
  GROUP BY {TEST})
WHERE last.2 = 'drift' ORDER BY effect / nullIf(effect_floor, 0) DESC NULLS LAST, {TEST} LIMIT {LIMIT}"""


def lineage(store: Store, identifier: str) -> dict[str, Any] | None:
    """What is known of a prediction id or a trace id; None where no record has it.

    Returns: ``id``, ``trace_id``, ``versions`` (a list of: of what, the version tuple), ``predictions``, ``spans`` (in
    tree order, each with its ``depth``, ``left`` and ``width``), ``labels`` (the newest first, which is the one in
    force), ``feedback``, ``outcomes``, ``scores``, ``reviews`` and ``findings`` (drift in a window and slice that the
    answer belongs to).
    """
    predictions = _predictions(store, "prediction_id", identifier)
    trace_id = next((row["trace_id"] for row in predictions if row["trace_id"]), "") if predictions else identifier
    predictions = predictions or _predictions(store, "trace_id", identifier)
    spans = traces.spans(store, trace_id) if trace_id else []
    if not predictions and not spans:
        return None
    ids = sorted({row["prediction_id"] for row in predictions if row["prediction_id"]})
    later = {name: store.rows(f"{sql} LIMIT {LIMIT}", {"ids": ids, "trace": trace_id}) for name, sql in LATER.items()}
    return {
        "id": identifier,
        "trace_id": trace_id,
        "versions": _versions(predictions, spans),
        "predictions": predictions,
        "spans": [_placed(each) for each in traces.waterfall(spans)],
        **later,
        "findings": _findings(store, predictions, spans),
    }


def _placed(each: traces.Placed) -> dict[str, Any]:
    return each.span | {"depth": each.depth, "left": each.left, "width": each.width}


def _predictions(store: Store, column: str, identifier: str) -> Rows:
    return store.rows(PREDICTION % column, {"id": identifier})


def _versions(predictions: Rows, spans: Rows) -> list[dict[str, Any]]:
    """Each different version tuple once, with the names of what it made."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for row in predictions:
        _note(found, versions.of_prediction(row), f"prediction {row['prediction_id']}")
    for span in spans:
        if span["call"]:
            _note(found, versions.of_call(span["call"]), f"{span['call']['kind']} {span['call']['name']}")
    return [{"of": names, "versions": dict(each)} for each, names in found.items()]


def _note(found: dict[tuple[tuple[str, str], ...], list[str]], tuple_: Mapping[str, str], name: str) -> None:
    if tuple_:
        names = found.setdefault(tuple(tuple_.items()), [])
        if name not in names:
            names.append(name)


def _findings(store: Store, predictions: Rows, spans: Rows) -> Rows:
    found: dict[str, dict[str, Any]] = {}
    for subjects, at, dimensions in _memberships(predictions, spans):
        for row in store.rows(FINDINGS, {"subjects": subjects, "at": at}):
            sides = Slice(row["dimension"], row["slice"]).sides
            if all(dimensions.get(each.dimension) == each.value for each in sides):
                found[row["finding_id"]] = row
    return list(found.values())


def _memberships(predictions: Rows, spans: Rows) -> Sequence[tuple[list[str], datetime, dict[str, str]]]:
    """Subjects, moment and slice values of each prediction and LLM call; equal ones once."""
    calls = [
        span["call"] | {"timestamp": span["started"], "service": span["service"]} for span in spans if span["call"]
    ]
    named = ("tenant", "intent", "prompt_version", "model", "role")
    found = [([row["model"]], row["timestamp"], {**row["slices"], "version": row["version"]}) for row in predictions]
    found += [
        ([call["service"]], call["timestamp"], {**call["slices"], **{name: call[name] for name in named}})
        for call in calls
        if call["kind"] == "llm"
    ]
    return [each for place, each in enumerate(found) if each not in found[:place]]
