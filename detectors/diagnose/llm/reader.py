"""Reads the requests of an LLM service: the spans of each trace as one row, and what became known of it later."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa

from tidegauge.detectors.diagnose.llm.symptoms import JUDGED
from tidegauge.detectors.diagnose.llm.topics import Drifted
from tidegauge.detectors.diagnose.reader import LOOK_BACK, Asked
from tidegauge.detectors.diagnose.rows import Floats, Hashes, Rows, no_truth
from tidegauge.detectors.traffic import Category, Traffic, encoded
from tidegauge.store import Store

ID = "if(trace_id = '', span_id, trace_id)"
SERVED = "service = {service:String} AND timestamp >= {start:DateTime64(9)} AND timestamp < {end:DateTime64(9)}"
SAMPLED = f"cityHash64({ID}) % {{every:UInt32}} = 0"
EXTENT = f"""SELECT uniq({ID}) AS n, min(timestamp) AS first, max(timestamp) AS last
FROM llm_facts WHERE {SERVED}"""  # noqa: S608
KEYS = f"""SELECT DISTINCT arrayJoin(mapKeys(versions)) AS key FROM llm_facts
WHERE {SERVED} ORDER BY key LIMIT 12"""  # noqa: S608
REQUESTS = f"""SELECT cityHash64({ID}) AS id, toUnixTimestamp64Micro(toDateTime64(min(f.timestamp), 6)) / 1e6 AS at,
  max(f.tenant) AS tenant, max(f.intent) AS intent, maxIf(f.prompt_version, kind = 'llm') AS prompt,
  maxIf(if(f.model = '', f.request_model, f.model), kind = 'llm') AS model, maxIf(f.provider, kind = 'llm') AS provider,
  argMax(f.versions, length(mapKeys(f.versions))) AS tuple,
  countIf(kind = 'llm') AS calls, countIf(kind = 'llm' AND error_type != '') AS failed,
  maxIf(error_type, kind = 'llm') AS error,
  max(f.refused) AS refused, max(f.blocked) AS blocked, maxIf(name, f.blocked) AS guardrail,
  countIf(kind = 'llm' AND finish_reason IN ('length', 'max_tokens', 'MAX_TOKENS')) AS truncated,
  sumIf(duration_s, kind = 'llm') AS llm_s, minIf(time_to_first_token_s, kind = 'llm') AS first_token_s,
  sumIf(f.input_tokens, kind = 'llm') AS input_tokens, sumIf(f.output_tokens, kind = 'llm') AS output_tokens,
  sum(cost_usd) AS cost,
  countIf(kind = 'tool') AS tools, countIf(kind = 'tool' AND error_type != '') AS tool_failed,
  maxIf(name, kind = 'tool' AND error_type != '') AS failed_tool,
  countIf(kind = 'retrieval') AS retrievals, countIf(kind = 'retrieval' AND error_type != '') AS retrieval_failed,
  sumIf(duration_s, kind = 'retrieval') AS retrieval_s
FROM llm_facts AS f WHERE {SERVED} AND {SAMPLED} GROUP BY id ORDER BY at"""  # noqa: S608
SAID = f"""SELECT cityHash64({ID}) AS id, anyIf(c.input, kind = 'llm') AS question,
  maxIf(toInt64(JSONLength(c.documents)), kind = 'retrieval' AND c.documents != '') AS documents,
  countIf(kind = 'retrieval' AND c.documents != '') AS told,
  maxIf(JSONExtractFloat(c.documents, 1, 'score'), kind = 'retrieval' AND JSONHas(c.documents, 1, 'score')) AS top
FROM llm_calls AS c WHERE {SERVED} AND {SAMPLED} AND kind IN ('llm', 'retrieval') GROUP BY id"""  # noqa: S608
OF_THESE = f"trace_id IN (SELECT trace_id FROM llm_facts WHERE {SERVED} AND trace_id != '')"  # noqa: S608
JUDGEMENTS = f"""SELECT cityHash64(trace_id) AS id, name, avg(assumeNotNull(s.score)) AS score FROM scores AS s
WHERE timestamp >= {{start:DateTime64(9)}} AND s.score IS NOT NULL AND {OF_THESE} GROUP BY id, name"""  # noqa: S608
FEEDBACK = f"""SELECT cityHash64(trace_id) AS id, avg(assumeNotNull(s.score)) AS score FROM feedback AS s
WHERE timestamp >= {{start:DateTime64(9)}} AND s.score IS NOT NULL AND kind = 'thumbs' AND {OF_THESE} GROUP BY id"""  # noqa: S608
DRIFTED = """SELECT window_start, window_end, assumeNotNull(f.since) AS run, evidence,
  assumeNotNull(effect / effect_floor) AS times
FROM findings AS f WHERE subject = {service:String} AND feature IN ('input', 'input_weekly') AND dimension = ''
  AND verdict = 'drift' AND f.since IS NOT NULL AND effect_floor > 0 AND evidence != ''
  AND window_end > {start:DateTime64(6)} AND window_end <= {end:DateTime64(6)} ORDER BY window_end DESC LIMIT 1000"""
TEXTS = ("tenant", "intent", "prompt", "model", "provider")
NAMED = {"error": "error", "guardrail": "guardrail", "failed tool": "failed_tool"}
MOST_REQUESTS = 60_000


@dataclass(frozen=True)
class Requests:
    """Requests as rows: symptoms as numbers, who asked and what answered as dimensions; what was asked, as text.

    ``named`` says which error, guardrail or tool it was; ``keys`` are the dimensions that are parts of the version.
    """

    rows: Rows
    questions: tuple[str, ...]
    named: dict[str, Category]
    keys: tuple[str, ...]


class ServiceReader:
    """Reads what a diagnosis needs of one service: five queries of its spans, and one of what detectors found."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def extent(self, service: str, until: datetime, start: datetime | None = None) -> tuple[int, datetime, datetime]:
        """How many requests there were before ``until``, the first and the last; from the last 400 days at most."""
        found = self._store.rows(EXTENT, {"service": service, "start": start or until - LOOK_BACK, "end": until})[0]
        return found["n"], found["first"], found["last"]

    def read(self, asked: Asked, start: datetime, requests: int) -> Requests:
        """Requests from ``start`` to ``asked.until``; one in k of more than 60,000."""
        params: dict[str, Any] = {"service": asked.model, "start": start, "end": asked.until}
        params["every"] = max(1, ceil(requests / min(asked.max_rows, MOST_REQUESTS)))
        keys = [row["key"] for row in self._store.rows(KEYS, params)]
        table = self._store.arrow(REQUESTS, params)
        ids = np.asarray(table["id"].to_numpy(), dtype=np.uint64)
        said = self._store.arrow(SAID, params)
        place = _places(ids, np.asarray(said["id"].to_numpy(), dtype=np.uint64))
        numbers = _numbers(table) | _found(said, place, _column(table, "retrievals"))
        numbers |= self._later(params, ids)
        dimensions = {name: encoded(table[name]) for name in TEXTS} | _versions(table["tuple"], keys)
        traffic = Traffic(len(ids), numbers, {}, _apart(dimensions), params["every"])
        questions = said["question"].to_pylist()
        none = no_truth().values
        label = Category(np.full(len(ids), -1, np.int32), none.names)
        rows = Rows(traffic, ids, _column(table, "at"), label, np.full(len(ids), np.nan), params["every"])
        versions = tuple(name for name in traffic.dimensions if name in ("prompt", "model", *keys))
        named = {name: encoded(table[column]) for name, column in NAMED.items()}
        return Requests(rows, tuple(questions[at] if at >= 0 else "" for at in place), named, versions)

    def drifted(self, service: str, start: datetime, until: datetime) -> list[Drifted]:
        """Windows in which detectors found drift of texts, with topics that changed; none without such detectors."""
        rows = self._store.rows(DRIFTED, {"service": service, "start": start, "end": until})
        found = [(row, _changed(row["evidence"])) for row in rows]
        return [
            Drifted(row["window_start"], row["window_end"], row["run"], row["times"], topics)
            for row, topics in found
            if topics
        ]

    def _later(self, params: dict[str, Any], ids: Hashes) -> dict[str, Floats]:
        """Scores of judges by name, and thumbs."""
        judged = self._store.arrow(JUDGEMENTS, params)
        found = {}
        names = np.array(judged["name"].to_pylist(), dtype=object)
        for name in sorted(set(names)):
            rows = judged.filter(pa.array(names == name))
            found[f"{JUDGED}{name}"] = _joined(ids, rows)
        thumbs = self._store.arrow(FEEDBACK, params)
        return found | ({"feedback": _joined(ids, thumbs)} if len(thumbs) else {})


def _changed(evidence: str) -> tuple[tuple[str, str, float, float], ...]:
    """The topics of a finding that changed; what is malformed is left out, as anybody may have written it."""
    try:
        data = json.loads(evidence)
        listed = data.get("topics", []) if isinstance(data, dict) else []
        changed = [each for each in listed if each.get("change") in ("grew", "shrank")]
        return tuple((str(x["name"]), x["change"], float(x["reference"]), float(x["current"])) for x in changed)
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()


def _column(table: pa.Table, name: str) -> Floats:
    return np.asarray(table[name].cast(pa.float64()).fill_null(np.nan).to_numpy(), dtype=np.float64)


def _numbers(table: pa.Table) -> dict[str, Floats]:
    """The symptoms that spans tell; nan where one does not apply to a request."""
    of = {name: _column(table, name) for name in table.column_names if _is_number(table, name)}
    called, tried, searched = of["calls"] > 0, of["tools"] > 0, of["retrievals"] > 0
    answered = called & (of["failed"] < of["calls"])
    tokens = of["input_tokens"] + of["output_tokens"]
    return {
        "failed": np.where(called, of["failed"] > 0, np.nan),
        "blocked": (of["blocked"] > 0).astype(np.float64),
        "refused": np.where(answered, of["refused"] > 0, np.nan),
        "truncated": np.where(answered, of["truncated"] > 0, np.nan),
        "no_usage": np.where(answered, tokens == 0, np.nan),
        "tool_failed": np.where(tried, of["tool_failed"] > 0, np.nan),
        "retrieval_failed": np.where(searched, of["retrieval_failed"] > 0, np.nan),
        "retrieval_s": _log(of["retrieval_s"], searched),
        "llm_s": _log(of["llm_s"], answered),
        "first_token_s": _log(of["first_token_s"], answered),
        "input_tokens": _log(of["input_tokens"], answered),
        "output_tokens": _log(of["output_tokens"], answered),
        "cost": _log(of["cost"], answered),
        "price": _log(of["cost"] / np.maximum(tokens, 1) * 1e6, answered & (tokens > 0)),
    }


def _is_number(table: pa.Table, name: str) -> bool:
    kind = table.schema.field(name).type
    return name != "id" and (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _log(values: Floats, where: np.ndarray[Any, np.dtype[np.bool_]]) -> Floats:
    kept = where & (values > 0)
    found: Floats = np.where(kept, np.log(np.where(kept, values, 1.0)), np.nan)
    return found


def _found(said: pa.Table, place: np.ndarray[Any, np.dtype[np.int64]], retrievals: Floats) -> dict[str, Floats]:
    """What retrieval found: whether nothing, and the score of the best; nan where it is not told."""
    told, documents, top = (_column(said, name) for name in ("told", "documents", "top"))
    if not len(told):
        none = np.full(len(place), np.nan)
        return {"empty": none, "top": none}
    known = (place >= 0) & (retrievals > 0) & (told[place] > 0)
    some = known & (documents[place] > 0)
    return {"empty": np.where(known, documents[place] == 0, np.nan), "top": np.where(some, top[place], np.nan)}


def _places(ids: Hashes, known: Hashes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where each id stands in ``known``, -1 where it does not."""
    if not len(known):
        return np.full(len(ids), -1, dtype=np.int64)
    order = np.argsort(known)
    at = order[np.minimum(np.searchsorted(known[order], ids), len(known) - 1)]
    return np.where(known[at] == ids, at, -1).astype(np.int64)


def _joined(ids: Hashes, table: pa.Table) -> Floats:
    place = _places(ids, np.asarray(table["id"].to_numpy(), dtype=np.uint64))
    scores = np.append(_column(table, "score"), np.nan)
    found: Floats = scores[place]
    return found


def _versions(column: pa.ChunkedArray, keys: list[str]) -> dict[str, Category]:
    tuples = [dict(each) for each in column.to_pylist()]
    return {key: encoded(pa.chunked_array([pa.array([str(each.get(key, "")) for each in tuples])])) for key in keys}


def _apart(dimensions: dict[str, Category]) -> dict[str, Category]:
    """Dimensions with a value, without those that part the requests just as an earlier one does."""
    found: dict[str, Category] = {}
    for name, column in dimensions.items():
        if (column.codes >= 0).any() and not any(_alike(column, other) for other in found.values()):
            found[name] = column
    return found


def _alike(one: Category, other: Category) -> bool:
    both = (one.codes >= 0) & (other.codes >= 0)
    pairs = set(zip(one.codes[both].tolist(), other.codes[both].tolist(), strict=True))
    single = len(set(one.codes[both].tolist())) > 1
    return single and len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
