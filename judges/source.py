"""What judging reads and records in ClickHouse."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tidegauge.errors import ConfigError
from tidegauge.judges.estimate import Estimate, Scored, Undetermined, mean_score
from tidegauge.judges.rubric import Material
from tidegauge.judges.sampling import Candidate, Spread
from tidegauge.model import Window
from tidegauge.store import Store

COLUMNS = (
    "service", "name", "provider", "request_model", "model", "finish_reason", "refused",
    "tenant", "intent", "role", "prompt_name", "prompt_version",
)  # fmt: skip
MAPS = re.compile(r"^(slices|versions)\.([^\x00-\x1f]{1,200})$")
SETTLE = timedelta(seconds=30)  # the other spans of a trace may come later than its LLM call
FIRST_LOOK_BACK = timedelta(days=2)  # how far before the first round
LATENESS = timedelta(hours=24)  # calls that arrive this late behind the newest judged one are still found
SPREAD_OF = timedelta(days=14)

CANDIDATES = """
SELECT trace_id, span_id, timestamp, {stratum} AS stratum FROM llm_facts AS c
LEFT ANTI JOIN (SELECT trace_id, span_id FROM judge_samples WHERE timestamp >= {{start:DateTime64(6, 'UTC')}}) AS s
  ON c.trace_id = s.trace_id AND c.span_id = s.span_id
WHERE kind = 'llm' AND error_type = '' AND length(c.trace_id) = 32 AND length(c.span_id) = 16
  AND match(concat(c.trace_id, c.span_id), '^[0-9a-f]+$')
  AND timestamp >= {{start:DateTime64(6, 'UTC')}} AND timestamp <= {{end:DateTime64(6, 'UTC')}}
ORDER BY timestamp, trace_id, span_id LIMIT 1 BY trace_id, span_id LIMIT {{most:UInt32}}
"""
CALLS = """
SELECT trace_id, span_id, service, input, output, model, slices, tenant, intent, prompt_version FROM llm_calls
WHERE kind = 'llm' AND trace_id IN {traces:Array(String)}
"""
CONTEXTS = """
SELECT TraceId AS trace_id, SpanAttributes['tidegauge.retrieval.context'] AS context,
  SpanAttributes['gen_ai.retrieval.documents'] AS documents,
  mapFilter((k, v) -> k LIKE 'retrieval.documents.%.document.content', SpanAttributes) AS contents
FROM otel_traces WHERE TraceId IN {traces:Array(String)}
  AND (context != '' OR documents != '' OR notEmpty(contents))
ORDER BY Timestamp
"""
SPREADS = """
SELECT stratum, count() AS scores, varPop(assumeNotNull(score)) AS variance FROM scores
WHERE timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND isNotNull(score)
GROUP BY stratum
"""
SPENT = """
SELECT sum(cost_usd) FROM judge_samples
WHERE judged_at >= {start:DateTime64(6, 'UTC')} AND judged_at < {end:DateTime64(6, 'UTC')}
"""
ALREADY = "SELECT trace_id, span_id, name FROM scores WHERE trace_id IN {traces:Array(String)}"
SCORED = """
SELECT stratum, inclusion_probability AS probability, score FROM scores
WHERE name = {rubric:String} AND isNotNull(score)
  AND timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}
"""
POPULATIONS = """
SELECT stratum, count() AS calls FROM judge_samples
WHERE timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} GROUP BY stratum
"""


@dataclass(frozen=True, slots=True)
class Call:
    """A chosen call with everything a judge may need."""

    service: str
    material: Material
    slices: Mapping[str, str] = field(default_factory=dict)


class Source:
    """Reads for ``JudgeLoop``; the calls are divided by the columns in ``strata``.

    Raises:
        ConfigError: a name in ``strata`` is no column that may divide the sample.
    """

    def __init__(self, store: Store, strata: Sequence[str]) -> None:
        self._store = store
        self._stratum, self._keys = _stratum_sql(strata)

    def candidates(self, now: datetime, most: int) -> list[Candidate]:
        """Calls that no round has decided yet, oldest first, at most ``most``."""
        last = self._store.value("SELECT max(timestamp) FROM judge_samples HAVING count() > 0")
        start = last - LATENESS if last else now - FIRST_LOOK_BACK
        params = {"start": start, "end": now - SETTLE, "most": most} | self._keys
        rows = self._store.rows(CANDIDATES.format(stratum=self._stratum), params)
        return [Candidate(row["trace_id"], row["span_id"], row["stratum"], row["timestamp"]) for row in rows]

    def calls(self, chosen: Sequence[Candidate]) -> dict[tuple[str, str], Call]:
        """The texts of the chosen calls by trace and span id, with the context that their trace retrieved."""
        traces = sorted({each.trace_id for each in chosen})
        if not traces:
            return {}
        found = contexts(self._store, traces)
        rows = self._store.rows(CALLS, {"traces": traces})
        return {(row["trace_id"], row["span_id"]): _call(row, found.get(row["trace_id"], [])) for row in rows}

    def spreads(self, now: datetime) -> dict[str, Spread]:
        """How much the scores of the last days scatter in each stratum."""
        rows = self._store.rows(SPREADS, {"start": now - SPREAD_OF, "end": now})
        return {row["stratum"]: Spread(row["scores"], row["variance"]) for row in rows}

    def spent(self, now: datetime) -> float:
        """US dollars that judging has cost on the day (UTC) of ``now``."""
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return float(self._store.value(SPENT, {"start": day, "end": day + timedelta(days=1)}) or 0.0)

    def already(self, chosen: Sequence[Candidate]) -> set[tuple[str, str, str]]:
        """Trace, span and rubric name of scores that a round stored before it was killed."""
        traces = sorted({each.trace_id for each in chosen})
        rows = self._store.rows(ALREADY, {"traces": traces}) if traces else []
        return {(row["trace_id"], row["span_id"], row["name"]) for row in rows}


def contexts(store: Store, traces: Sequence[str]) -> dict[str, list[str]]:
    """What each trace retrieved, as text, in order of time; a trace that retrieved nothing is missing."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in store.rows(CONTEXTS, {"traces": list(traces)}) if traces else []:
        found[row["trace_id"]].append(_context(row))
    return found


def mean_over(store: Store, rubric: str, window: Window) -> Estimate | Undetermined:
    """The mean score of every call in ``window``, judged or not, estimated from the sample. ``rubric``: its name."""
    params = {"rubric": rubric, "start": window.start, "end": window.end}
    scored = [Scored(**row) for row in store.rows(SCORED, params)]
    return mean_score(scored, {row["stratum"]: row["calls"] for row in store.rows(POPULATIONS, params)})


def _stratum_sql(names: Sequence[str]) -> tuple[str, dict[str, str]]:
    parts, keys, problems = [], {}, []
    for place, name in enumerate(names):
        in_map = MAPS.match(name)
        if in_map:
            keys[f"key{place}"] = in_map[2]
            parts.append(f"{in_map[1]}[{{key{place}:String}}]")
        elif name in COLUMNS:
            parts.append(f"toString({name})")
        else:
            problems.append(f"judges.strata: {name!r} is none of {', '.join(COLUMNS)}, slices.<name>, versions.<name>")
    if problems:
        raise ConfigError("judges", problems)
    return f"arrayStringConcat([{', '.join(parts)}], '|')" if parts else "''", keys


def _call(row: Mapping[str, Any], contexts: Iterable[str]) -> Call:
    named = {name: row[name] for name in ("tenant", "intent", "prompt_version", "model")}
    slices = {name: value for name, value in (named | row["slices"]).items() if value}
    return Call(row["service"], Material(row["input"], row["output"], "\n\n".join(filter(None, contexts))), slices)


def _context(row: Mapping[str, Any]) -> str:
    """The retrieved text: ours, OpenInference's, or that inside the documents of the GenAI conventions."""
    if row["context"]:
        return str(row["context"])
    return "\n\n".join(row["contents"].values()) or "\n\n".join(_documents(row["documents"]))


def _documents(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    items = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return [str(item[key]) for item in items for key in ("content", "text") if isinstance(item.get(key), str)]
