"""SQL over Tidegauge's own metrics, which every process sends as OTLP (service ``tidegauge``)."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from tidegauge.dashboards.panels import START, STEP, bucket, within

_OWN = f"ServiceName = 'tidegauge' AND {within('TimeUnix')}"
# One line per process and label set: its own past is what a cumulative value is compared with.
_LINE = "PARTITION BY MetricName, ResourceAttributes['service.instance.id'], cityHash64(toString(Attributes))"
_BEFORE = f"OVER ({_LINE} ORDER BY TimeUnix ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)"


def increase(names: tuple[str, ...], series: str, *, per_second: bool = False) -> str:
    """SQL: how much the counters ``names`` grew in each bucket, added up over processes, by the expression ``series``.

    A counter that fell was restarted: it grew by its new value. One that began within the shown time began at 0.
    """
    value = "sum(grown)" + (f" / {STEP}" if per_second else "")
    return f"""SELECT {bucket("TimeUnix")} AS time, series, {value} AS value
FROM ({_growth(names, series, "Value", "sum")}) GROUP BY time, series ORDER BY time"""


def grown(names: tuple[str, ...]) -> str:
    """SQL: how much the counters ``names`` grew in the shown time, in one number."""
    return f"SELECT sum(grown) AS value FROM ({_growth(names, '', 'Value', 'sum')})"


def gauge(names: tuple[str, ...], series: str, across: str = "sum") -> str:
    """SQL: the gauges ``names`` at the end of each bucket, put together over processes by ``across`` (sum or max)."""
    assert across in ("sum", "max")
    return f"""SELECT time, series, {across}(last) AS value FROM (
  SELECT {bucket("TimeUnix")} AS time, {series} AS series, argMax(Value, TimeUnix) AS last
  FROM otel_metrics_gauge WHERE MetricName IN {_listed(names)} AND {_OWN}
  GROUP BY time, series, ResourceAttributes['service.instance.id'], toString(Attributes))
GROUP BY time, series ORDER BY time"""


def mean(name: str, series: str) -> str:
    """SQL: the mean of what the histogram ``name`` observed in each bucket."""
    count, total = (_growth((name,), series, column, "histogram") for column in ("Count", "Sum"))
    return f"""SELECT time, series, sum(total) / sum(observed) AS value FROM (
  SELECT {bucket("TimeUnix")} AS time, series, 0. AS total, toFloat64(grown) AS observed FROM ({count})
  UNION ALL SELECT {bucket("TimeUnix")} AS time, series, toFloat64(grown), 0. FROM ({total}))
GROUP BY time, series HAVING sum(observed) > 0 ORDER BY time"""


def _growth(names: tuple[str, ...], series: str, column: str, table: str) -> str:
    first = f"if(StartTimeUnix >= {START}, toFloat64(0), toFloat64({column}))"
    return f"""SELECT TimeUnix, {series or "''"} AS series, toFloat64({column}) AS now,
  lagInFrame(now, 1, {first}) {_BEFORE} AS before, if(now >= before, now - before, now) AS grown
  FROM otel_metrics_{table} WHERE MetricName IN {_listed(names)} AND {_OWN}"""


def _listed(names: tuple[str, ...]) -> str:
    return "(" + ", ".join(f"'{name}'" for name in names) + ")"
