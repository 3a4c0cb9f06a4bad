"""What a failed record was: read for the cases, so that they can be compared and shown."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

from tidegauge.judges.golden.failure import Case
from tidegauge.model import Window
from tidegauge.store import Store

AT_ONCE = 500  # ids in one query
LONGEST = 10_000  # characters of a text
BEFORE = timedelta(days=31)  # feedback may come so long after what it is about
# What the user asked is the first input of an agent, chain or model, else of any span; what the user got is the last
# output of a model, else of an agent or chain. The rest is that of the first model call, else of the first span.
TRACES = """SELECT trace_id, min(c.timestamp) AS started, argMinIf(tenant, c.timestamp, tenant != '') AS for_tenant,
  argMinIf(asked, c.timestamp, kind IN ('agent', 'chain', 'llm') AND asked != '') AS question,
  argMinIf(asked, c.timestamp, asked != '') AS any_question,
  argMaxIf(answered, c.timestamp, kind = 'llm' AND answered != '') AS answer,
  argMaxIf(answered, c.timestamp, kind IN ('agent', 'chain') AND answered != '') AS outer_answer,
  argMin((service, intent, model, prompt_version, versions, slices), (kind != 'llm', c.timestamp)) AS call
FROM (SELECT trace_id, kind, service, timestamp, substringUTF8(input, 1, {longest:UInt32}) AS asked,
    substringUTF8(output, 1, {longest:UInt32}) AS answered, tenant, intent, model, prompt_version, versions, slices
  FROM llm_calls WHERE trace_id IN {ids:Array(String)} AND timestamp >= {since:DateTime64(6, 'UTC')}) AS c
GROUP BY trace_id"""
PREDICTIONS = """SELECT prediction_id, model, version, timestamp, trace_id, value, features, categories, slices,
  versions
FROM predictions WHERE prediction_id IN {ids:Array(String)} AND role != 'training'
  AND timestamp >= {since:DateTime64(6, 'UTC')} ORDER BY timestamp LIMIT 1 BY model, prediction_id"""


class Contents:
    """Reads what the cases were. ``mask`` takes out of each text what must not be kept: rows may have come past the
    receiver."""

    def __init__(self, store: Store, mask: Callable[[str], str] = str) -> None:
        self._store, self._mask = store, mask

    def filled(self, cases: Sequence[Case], window: Window) -> list[Case]:
        """The cases whose record is still there, with its own time, service or model, versions, slices and texts."""
        since = window.start - BEFORE
        traces = self._traces([case.record_id for case in cases if case.kind == "trace"], since)
        predictions = self._predictions([case.record_id for case in cases if case.kind == "prediction"], since)
        return [done for case in cases for done in self._one(case, traces, predictions)]

    def _one(
        self,
        case: Case,
        traces: Mapping[str, Mapping[str, Any]],
        predictions: Mapping[str, list[Mapping[str, Any]]],
    ) -> Iterator[Case]:
        if case.kind == "trace" and case.record_id in traces:
            yield self._of_trace(case, traces[case.record_id])
        elif case.kind == "prediction":
            of_model = predictions.get(case.record_id, ())
            yield from (self._of_prediction(case, row) for row in of_model if case.subject in ("", row["model"]))

    def _traces(self, ids: Sequence[str], since: datetime) -> dict[str, Mapping[str, Any]]:
        asked = ({"ids": some, "since": since, "longest": LONGEST} for some in _blocks(ids))
        return {row["trace_id"]: row for params in asked for row in self._store.rows(TRACES, params)}

    def _predictions(self, ids: Sequence[str], since: datetime) -> dict[str, list[Mapping[str, Any]]]:
        found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for some in _blocks(ids):
            for row in self._store.rows(PREDICTIONS, {"ids": some, "since": since}):
                found[row["prediction_id"]].append(row)
        return found

    def _of_trace(self, case: Case, row: Mapping[str, Any]) -> Case:
        service, intent, model, prompt, versions, slices = _values(row["call"])
        tenant = row["for_tenant"] or case.tenant
        parts = {"tenant": tenant, "intent": intent, "prompt_version": prompt, "model": model}
        return replace(
            case,
            subject=service or case.subject,
            at=row["started"],
            trace_id=case.record_id,
            tenant=tenant,
            slices=_filled({**slices, **parts}),
            versions=_filled({**versions, **_filled({"model": model, "prompt": prompt})}),
            text=self._mask(row["question"] or row["any_question"]),
            output=self._mask(row["answer"] or row["outer_answer"]),
            **self._said(case),
        )

    def _of_prediction(self, case: Case, row: Mapping[str, Any]) -> Case:
        features = _features(row, self._mask)
        return replace(
            case,
            subject=row["model"],
            at=row["timestamp"],
            trace_id=row["trace_id"],
            tenant=row["slices"].get("tenant", ""),
            slices=_filled({**row["slices"], "version": row["version"]}),
            versions=_filled({"model": row["model"], "model_version": row["version"], **row["versions"]}),
            text=json.dumps({name: _plain(value) for name, value in features.items()}, ensure_ascii=False),
            output=self._mask(row["value"]),
            features=features,
            **self._said(case),
        )

    def _said(self, case: Case) -> dict[str, Any]:
        """What people and judges wrote may quote the record."""
        reasons = {reason: self._mask(detail) for reason, detail in case.reasons.items()}
        return {"reasons": reasons, "expected": self._mask(case.expected[:LONGEST])}


def _blocks(ids: Sequence[str]) -> Iterator[list[str]]:
    return (list(ids[start : start + AT_ONCE]) for start in range(0, len(ids), AT_ONCE))


def _values(call: Any) -> Sequence[Any]:
    """A named tuple of ClickHouse, which may come as a mapping."""
    return list(call.values()) if isinstance(call, Mapping) else list(call)


def _features(row: Mapping[str, Any], mask: Callable[[str], str]) -> dict[str, float | str]:
    """By name, so that equal rows are equal texts."""
    found: dict[str, float | str] = {name: float(value) for name, value in row["features"].items()}
    found |= {name: mask(value) for name, value in row["categories"].items()}
    return dict(sorted(found.items()))


def _plain(value: float | str) -> float | str | None:
    return None if isinstance(value, float) and not isfinite(value) else value


def _filled(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
