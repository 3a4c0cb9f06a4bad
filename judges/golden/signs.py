"""What is on record against an answer, by reason: all SQL that looks for failures.

Of each reason at most ``PER_STRATUM`` records a service and tenant are taken, by hash of their id: what one noisy
tenant fails with never keeps the others' failures from being read.
"""

# ruff: noqa: S608 - the pieces are constants of this file; every value is a bound parameter

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidegauge.config import Golden
from tidegauge.judges.golden.failure import Sign
from tidegauge.model import Window
from tidegauge.store import Params, Store

PER_STRATUM, MOST, SESSIONS = 200, 5_000, 5_000
ALIKE_FROM, LEAST_QUESTION = 0.3, 12
FEW, LEAST_KNOWN = 20, 30  # different numbers that may be classes; labelled rows that tell the usual error
START, END = "{start:DateTime64(6, 'UTC')}", "{end:DateTime64(6, 'UTC')}"
WITHIN = f"timestamp >= {START} AND timestamp < {END}"
TAKEN = f"ORDER BY cityHash64(record_id) LIMIT {PER_STRATUM} BY subject, tenant, reason LIMIT {MOST}"

CALLS = f"""SELECT service AS subject, trace_id AS record_id, timestamp AS at, tenant,
  what.1 AS reason, what.2 AS detail
FROM llm_facts ARRAY JOIN arrayFilter(each -> each.1 != '', [
  (if(error_type != '', 'error', ''), concat(kind, ' ', name, ': ', error_type)),
  (if(refused, 'refused', ''),
    concat(name, if(finish_reason IN ('', 'stop'), '', concat(', finish reason ', finish_reason)))),
  (if(blocked, 'blocked', ''), concat('guardrail ', name))]) AS what
WHERE {WITHIN} AND trace_id != '' AND role != 'training' AND (error_type != '' OR refused OR blocked) {TAKEN}"""

SCORES = f"""SELECT '' AS subject, trace_id AS record_id, timestamp AS at, slices['tenant'] AS tenant,
  if(startsWith(error_type, 'invalid'), 'invalid_verdict', 'low_score') AS reason,
  if(reason = 'low_score', concat(name, ' ', toString(round(assumeNotNull(score), 2)), ': ', explanation),
    concat(name, ': ', error_type)) AS detail, 1 - ifNull(score, 1) AS strength
FROM scores WHERE {WITHIN} AND trace_id != '' AND (startsWith(error_type, 'invalid')
  OR (isNotNull(score) AND (score < {{score_below:Float64}} OR label = 'fail'))) {TAKEN}"""

INJECTIONS = f"""SELECT '' AS subject, trace_id AS record_id, timestamp AS at, '' AS tenant,
  'injection' AS reason, detail
FROM review_queue WHERE {WITHIN} AND trace_id != '' AND review_queue.reason = 'injection_suspected' {TAKEN}"""

FEEDBACK = f"""SELECT service AS subject, if(prediction_id != '', prediction_id, trace_id) AS record_id,
  if(prediction_id != '', 'prediction', 'trace') AS record_kind, timestamp AS at, '' AS tenant,
  'negative_feedback' AS reason, if(kind = 'correction', comment, '') AS expected,
  concat(toString(kind), if(isNull(score), '', concat(' ', toString(assumeNotNull(score)))),
    if(comment = '', '', concat(': ', comment))) AS detail
FROM last_feedback(start = {START}, end = {END}) WHERE record_id != '' AND (kind = 'correction'
  OR (kind = 'thumbs' AND score < 0) OR (kind = 'csat' AND score <= {{csat_at_most:Float64}})) {TAKEN}"""

JUDGE_AGAINST_PERSON = f"""SELECT '' AS subject, record_id, at, tenant, 'disagreement' AS reason,
  if(said < 0, concat('the judge passed it (', rubrics, '), the user did not'),
    concat('the judge failed it (', failed, '), the user was content')) AS detail
FROM (SELECT trace_id AS record_id, min(s.timestamp) AS at, any(slices['tenant']) AS tenant,
    countIf(label = 'fail') AS fails,
    arrayStringConcat(groupUniqArrayIf(toString(name), label = 'fail'), ', ') AS failed,
    arrayStringConcat(groupUniqArray(toString(name)), ', ') AS rubrics
  FROM scores AS s WHERE {WITHIN} AND trace_id != '' AND label IN ('pass', 'fail') GROUP BY trace_id) AS judged
INNER JOIN (SELECT trace_id AS rated, argMax(score, timestamp) AS said FROM last_feedback(start = {START}, end = {END})
  WHERE kind = 'thumbs' AND trace_id != '' GROUP BY trace_id) AS thumbs ON rated = record_id
WHERE (fails = 0 AND said < 0) OR (fails > 0 AND said > 0) {TAKEN}"""

JUDGES_APART = f"""SELECT '' AS subject, trace_id AS record_id, min(s.timestamp) AS at, any(slices['tenant']) AS tenant,
  'disagreement' AS reason, groupUniqArray(concat(judge, ' says ', label)) AS said,
  concat(toString(name), ': ', arrayStringConcat(arraySort(said), ', ')) AS detail
FROM scores AS s WHERE {WITHIN} AND trace_id != '' AND label IN ('pass', 'fail')
GROUP BY trace_id, name HAVING uniqExact(label) > 1 AND uniqExact(judge) > 1 {TAKEN}"""

RETRIEVALS = f"""SELECT service AS subject, trace_id AS record_id, timestamp AS at, tenant, 'empty_retrieval' AS reason,
  concat(name, ' found nothing') AS detail
FROM llm_calls WHERE {WITHIN} AND trace_id != '' AND kind = 'retrieval' AND role != 'training'
  AND replaceAll(documents, ' ', '') = '[]' {TAKEN}"""

REPHRASED = f"""SELECT subject, record_id, at, tenant, 'rephrased' AS reason,
  concat(if(input = later, 'asked again', 'asked in other words'), ' after ',
    toString(dateDiff('second', at, again)), ' s') AS detail
FROM (
  SELECT service AS subject, trace_id AS record_id, timestamp AS at, tenant,
    substringUTF8(llm_calls.input, 1, 2000) AS input,
    leadInFrame(input) OVER next AS later, leadInFrame(timestamp) OVER next AS again
  FROM (SELECT * FROM llm_calls WHERE {WITHIN} AND kind = 'llm' AND role != 'training' AND trace_id != ''
      AND (service, session) IN (SELECT service, session FROM llm_facts
        WHERE {WITHIN} AND kind = 'llm' AND session != '' GROUP BY service, session HAVING uniq(trace_id) > 1
        ORDER BY cityHash64(session) LIMIT {SESSIONS})
    ORDER BY timestamp LIMIT 1 BY trace_id) AS llm_calls
  WINDOW next AS (PARTITION BY service, session ORDER BY timestamp ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING))
WHERE lengthUTF8(input) >= {LEAST_QUESTION} AND lengthUTF8(later) >= {LEAST_QUESTION}
  AND dateDiff('second', at, again) BETWEEN 0 AND {{rephrased_within_s:Float64}}
  AND ngramDistanceCaseInsensitiveUTF8(input, later) < {ALIKE_FROM} {TAKEN}"""

# A score is the chance of the class that was predicted, or, in models of two classes, of the other one: what is usually
# below a half where a class is predicted is the other's.
LABELS = f"""SELECT 'prediction' AS record_kind, model AS subject, prediction_id AS record_id, timestamp AS at,
  slices['tenant'] AS tenant, 'confident_error' AS reason, label AS expected, confidence AS strength,
  concat('predicted ', value, ' with ', toString(round(confidence, 3)), ', was ', label) AS detail
FROM (
  SELECT *, if(classes <= 2 AND usual < 0.5, 1 - assumeNotNull(score), assumeNotNull(score)) AS confidence
  FROM (SELECT *, avg(score) OVER (PARTITION BY model, value) AS usual,
      uniqExact(value) OVER (PARTITION BY model) AS classes
    FROM labelled(start = {START}, end = {END}, known_by = {END}, model = '') WHERE score BETWEEN 0 AND 1)
  WHERE classes <= 100 AND value != label AND ifNull(toFloat64OrNull(value) != label_number, true)
    AND confidence >= {{confident_from:Float64}})
ORDER BY confidence DESC, record_id LIMIT {PER_STRATUM} BY subject, tenant LIMIT {MOST}"""

# Numbers that are foretold: more than twenty different ones, and scores that are no chances of a class. The usual error
# is the median of the model's; where most are exact, that of the others says how large an error is.
NUMBERS = f"""SELECT 'prediction' AS record_kind, model AS subject, prediction_id AS record_id, timestamp AS at,
  slices['tenant'] AS tenant, 'large_error' AS reason, label AS expected,
  concat('predicted ', value, ', was ', label, if(usual = 0, ': most are exact',
    concat(': ', if(isFinite(error), toString(round(error / usual, 1)), 'countless'), ' times the usual error, ',
      toString(round(usual, 2 - toInt32(floor(log10(usual)))))))) AS detail,
  if(isFinite(error), error / (error + erring), 1) AS strength
FROM (
  SELECT *, assumeNotNull(abs(toFloat64OrNull(value) - label_number)) AS error,
    quantileExactIf(0.5)(error, isFinite(error)) OVER (PARTITION BY model) AS usual,
    quantileExactIf(0.5)(error, isFinite(error) AND error > 0) OVER (PARTITION BY model) AS erring,
    count() OVER (PARTITION BY model) AS known
  FROM (SELECT *, uniqExact(value) OVER (PARTITION BY model) AS different,
      uniqExact(label) OVER (PARTITION BY model) AS outcomes,
      avg(ifNull(score BETWEEN 0 AND 1, 0)) OVER (PARTITION BY model) AS chances,
      avg(isNotNull(toFloat64OrNull(value)) AND isNotNull(label_number)) OVER (PARTITION BY model) AS numeric
    FROM labelled(start = {START}, end = {END}, known_by = {END}, model = ''))
  WHERE greatest(different, outcomes) > {FEW} AND chances < 0.5 AND numeric >= 0.99
    AND isNotNull(toFloat64OrNull(value)) AND isNotNull(label_number))
WHERE known >= {LEAST_KNOWN} AND NOT (error <= 0 OR error < {{large_error_times:Float64}} * usual)
ORDER BY strength DESC, record_id LIMIT {PER_STRATUM} BY subject, tenant LIMIT {MOST}"""

SOURCES: Mapping[str, tuple[str, ...]] = {
    CALLS: ("error", "refused", "blocked"),
    SCORES: ("low_score", "invalid_verdict"),
    INJECTIONS: ("injection",),
    FEEDBACK: ("negative_feedback",),
    JUDGE_AGAINST_PERSON: ("disagreement",),
    JUDGES_APART: ("disagreement",),
    RETRIEVALS: ("empty_retrieval",),
    REPHRASED: ("rephrased",),
    LABELS: ("confident_error",),
    NUMBERS: ("large_error",),
}
"""Query -> the reasons that it finds; what nobody asks for is not run."""


def signs(store: Store, settings: Golden, window: Window) -> Iterator[Sign]:
    """Everything in ``window`` that ``settings`` counts as a failure; drift is another matter (``drifted``)."""
    wanted = frozenset(settings.reasons)
    params = {"start": window.start, "end": window.end} | {
        name: getattr(settings, name)
        for name in ("score_below", "csat_at_most", "confident_from", "large_error_times", "rephrased_within_s")
    }
    for sql, reasons in SOURCES.items():
        if wanted.intersection(reasons):
            yield from (each for each in _found(store, sql, params) if each.reason in wanted)


def _found(store: Store, sql: str, params: Params) -> Iterator[Sign]:
    for row in store.rows(sql, params):
        yield _sign(row)


def _sign(row: Mapping[str, Any]) -> Sign:
    return Sign(
        row.get("record_kind", "trace"),
        row["record_id"],
        row["reason"],
        row["detail"],
        row["at"],
        row["subject"],
        row["tenant"],
        row.get("strength", 0.0),
        row.get("expected", ""),
    )
