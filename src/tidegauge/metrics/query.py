"""From a metric, a window and the labels asked for to observations: one statement, one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

from tidegauge.errors import ConfigError
from tidegauge.metrics.intervals import weighted_mean, wilson
from tidegauge.metrics.model import Kind, Metric, Observation, Source
from tidegauge.model import Window
from tidegauge.store import Store

MAX_SERIES = 1000
_MOMENTS = ("weights", "weighted", "squares", "squares_x", "squares_xx")
Estimate = tuple[float, float | None, float | None]


def observe(
    store: Store,
    metric: Metric,
    by: Sequence[str],
    window: Window,
    where: Mapping[str, str] | None = None,
    *,
    max_series: int = MAX_SERIES,
) -> list[Observation]:
    """The metric's value in ``window`` for each combination of the ``by`` dimensions, those with most samples first.

    A combination without records, or whose value cannot be computed, is absent: nothing is never 0. At most
    ``max_series`` combinations come back.

    Raises:
        ConfigError: ``by`` or ``where`` names a dimension that the metric does not have.
        StoreError: ClickHouse refused the query.
    """
    sql, params = statement(metric, by, window, where or {}, max_series)
    found = (_observation(metric, by, row) for row in store.rows(sql, params))
    return [each for each in found if each is not None]


def statement(
    metric: Metric, by: Sequence[str], window: Window, where: Mapping[str, str], max_series: int = MAX_SERIES
) -> tuple[str, dict[str, Any]]:
    """The SQL of ``observe`` and its parameters. Raises ConfigError for an unknown dimension."""
    source = choose(metric, [*by, *where], window)
    params: dict[str, Any] = {"start": window.start, "end": window.end}
    groups = [f"toString({expression(source, name, f'by_key_{i}', params)}) AS by_{i}" for i, name in enumerate(by)]
    filters = [metric.condition] if metric.condition else []
    if source.time:
        filters.append(f"{source.time} >= {{start:DateTime64(6)}} AND {source.time} < {{end:DateTime64(6)}}")
    for i, (name, value) in enumerate(where.items()):
        params[f"where_{i}"] = value
        filters.append(f"toString({expression(source, name, f'where_key_{i}', params)}) = {{where_{i}:String}}")
    columns = [f"{sql.replace('{merge}', source.merge)} AS metric_{name}" for name, sql in metric.columns.items()]
    if any("{minutes:" in each for each in columns):
        params["minutes"] = window.length.total_seconds() / 60
    params["max_series"] = max_series
    lines = [f"SELECT {', '.join(groups + columns)}", f"FROM {source.table}"]
    lines += [f"WHERE {' AND '.join(filters)}"] if filters else []
    lines += [f"GROUP BY {', '.join(f'by_{i}' for i in range(len(by)))}"] if by else []
    lines += ["ORDER BY metric_samples DESC", "LIMIT {max_series:UInt64}"]
    return "\n".join(lines), params


def choose(metric: Metric, dimensions: Sequence[str], window: Window) -> Source:
    """The first source that knows all ``dimensions`` and is exact for ``window``."""
    able = [each for each in metric.sources if all(each.knows(name) for name in dimensions)]
    exact = [each for each in able if not each.minutes or _whole_minutes(window)]
    if not able:
        unknown = [name for name in dimensions if not metric.knows(name)] or list(dimensions)
        raise ConfigError(
            f"metric {metric.name}",
            [f"no source has the dimension(s) {', '.join(unknown)}; there are {', '.join(metric.dimensions)}"],
        )
    return (exact or able)[0]


def label_name(dimension: str) -> str:
    """The label under which a dimension's values appear: ``slice.carrier`` gives ``carrier``."""
    return dimension.partition(".")[2] or dimension


def _whole_minutes(window: Window) -> bool:
    return not any(moment.second or moment.microsecond for moment in (window.start, window.end))


def expression(source: Source, dimension: str, parameter: str, params: dict[str, Any]) -> str:
    """The SQL of a dimension that ``source`` knows; a map's key goes into ``params`` under ``parameter``."""
    if dimension in source.dimensions:
        return source.dimensions[dimension]
    prefix, _, key = dimension.partition(".")
    params[parameter] = key
    return f"{source.maps[prefix]}[{{{parameter}:String}}]"


def _observation(metric: Metric, by: Sequence[str], row: Mapping[str, Any]) -> Observation | None:
    samples = int(row["metric_samples"])
    if samples <= 0:
        return None
    estimate = _ESTIMATES.get(metric.kind, _plain)(row, samples)
    if estimate is None or not isfinite(estimate[0]):
        return None
    labels = {label_name(name): row[f"by_{i}"] for i, name in enumerate(by)}
    return Observation(labels, estimate[0], samples, estimate[1], estimate[2], row.get("metric_note", ""))


def _plain(row: Mapping[str, Any], samples: int) -> Estimate | None:
    return None if row["metric_value"] is None else (float(row["metric_value"]), None, None)


def _rate(row: Mapping[str, Any], samples: int) -> Estimate | None:
    hits = min(int(row["metric_hits"]), samples)
    return (hits / samples, *wilson(hits, samples))


def _mean(row: Mapping[str, Any], samples: int) -> Estimate | None:
    weights, *others = (float(row[f"metric_{name}"]) for name in _MOMENTS)
    return weighted_mean(weights, (others[0], others[1], others[2], others[3]), samples) if weights > 0 else None


def _stored(row: Mapping[str, Any], samples: int) -> Estimate | None:
    found = _plain(row, samples)
    return (found[0], row["metric_low"], row["metric_high"]) if found else None


_ESTIMATES: dict[Kind, Callable[[Mapping[str, Any], int], Estimate | None]] = {
    Kind.RATE: _rate,
    Kind.MEAN: _mean,
    Kind.ESTIMATE: _stored,
}
