"""A few traces that stand for a metric's value: those that made it bad."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tidegauge.metrics.model import Metric
from tidegauge.metrics.query import expression
from tidegauge.metrics.sources import CALLS, SCORES
from tidegauge.model import Window
from tidegauge.store import Store

WORST: Mapping[str, str] = MappingProxyType(
    {
        "refusal_rate": "toFloat64(refused)",
        "guardrail_block_rate": "toFloat64(blocked)",
        "llm_error_rate": "toFloat64(error_type != '')",
        "tool_error_rate": "toFloat64(error_type != '')",
        "latency_p50": "duration_s",
        "latency_p95": "duration_s",
        "latency_p99": "duration_s",
        "ttft_p95": "ifNull(time_to_first_token_s, 0)",
        "tokens_per_minute": "toFloat64(input_tokens + output_tokens)",
        "cost_usd": "toFloat64(cost_usd)",
        "cost_per_request": "toFloat64(cost_usd)",
        "quality_score": "ifNull(1 - score, 0)",
        "low_score_rate": "ifNull(1 - score, 0)",
    }
)
"""Metric -> SQL of how much one record adds to what is bad about it; records with 0 are no examples."""


def examples(store: Store, metric: Metric, window: Window, where: Mapping[str, str], most: int = 3) -> list[str]:
    """Ids of the traces that were worst in ``window``, each once; empty for metrics that are of no single answers.

    Args:
        where: Dimension and value, as for ``observe``.

    Raises:
        StoreError: ClickHouse refused the query.
    """
    source = next((each for each in (CALLS, SCORES) if each in metric.sources), None)
    worst = WORST.get(metric.name)
    if source is None or worst is None or not all(source.knows(name) for name in where):
        return []
    params: dict[str, object] = {"start": window.start, "end": window.end, "most": most}
    filters = ["timestamp >= {start:DateTime64(6)}", "timestamp < {end:DateTime64(6)}", "trace_id != ''"]
    filters += [f"({metric.condition})"] if metric.condition else []
    for i, (name, value) in enumerate(where.items()):
        params[f"where_{i}"] = value
        filters.append(f"toString({expression(source, name, f'where_key_{i}', params)}) = {{where_{i}:String}}")
    table = "llm_facts" if source is CALLS else source.table
    sql = f"""SELECT trace_id, max({worst}) AS worst FROM {table} WHERE {" AND ".join(filters)}
        GROUP BY trace_id HAVING worst > 0 ORDER BY worst DESC, max(timestamp) DESC, trace_id
        LIMIT {{most:UInt32}}"""  # noqa: S608 - constants and whitelisted names
    return [row["trace_id"] for row in store.rows(sql, params)]
