"""The pipeline itself: what comes in, how fresh it is, what was put aside."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from tidegauge.dashboards.panels import END, STEP, Board, Kind, Panel, Unit, Variable, bucket, matching, options, within

CAME = f"FROM ingest_1m WHERE {within('minute')} AND {matching('service', 'kind')}"

PIPELINE = Board(
    title="Pipeline",
    uid="tidegauge-pipeline",
    description="Records on their way into the tables.",
    variables=(
        Variable("service", "Service", options("service", "ingest_1m", "minute")),
        Variable("kind", "Kind", options("kind", "ingest_1m", "minute")),
    ),
    panels=(
        Panel(
            "Records",
            f"SELECT sum(records) AS value {CAME}",
            Unit.COUNT,
            Kind.STAT,
            "Stored, in the shown time.",
            width=8,
        ),
        Panel(
            "Newest record",
            f"SELECT dateDiff('second', max(minute), {END}) AS value {CAME} HAVING count() > 0",
            Unit.SECONDS,
            Kind.STAT,
            "Age of the newest minute with a record, at the end of the shown time.",
            width=8,
        ),
        Panel(
            "Services",
            f"SELECT uniqExact(service) AS value {CAME}",
            Unit.COUNT,
            Kind.STAT,
            "That sent anything.",
            width=8,
        ),
        Panel(
            "Records per second, by kind",
            f"""SELECT {bucket("minute")} AS time, kind AS series, sum(records) / {STEP} AS value {CAME}
  GROUP BY time, series ORDER BY time""",
            Unit.RATE,
            Kind.TIMESERIES,
            "Spans, and events by name; by event time.",
            zero_gaps=True,
            stacked=True,
        ),
        Panel(
            "Records per second, by service",
            f"""SELECT {bucket("minute")} AS time, service AS series, sum(records) / {STEP} AS value {CAME}
  GROUP BY time, series ORDER BY time""",
            Unit.RATE,
            Kind.TIMESERIES,
            "A service that falls to 0 has stopped sending, or stopped.",
            zero_gaps=True,
            stacked=True,
        ),
        Panel(
            "Freshness",
            f"""SELECT service, kind, sum(records) AS stored, max(minute) AS newest, dateDiff('second', max(minute),
  {END}) AS age_s
{CAME} GROUP BY service, kind ORDER BY age_s DESC LIMIT 200""",
            Unit.NONE,
            Kind.TABLE,
            "Age at the end of the shown time, the oldest first.",
        ),
        Panel(
            "Dead letters",
            f"""SELECT time, series, greatest(0, last - first) AS value FROM (
  SELECT {bucket("TimeUnix")} AS time, concat(Attributes['topic'], ' ', Attributes['reason']) AS series,
    max(Value) AS last, min(Value) AS first
  FROM otel_metrics_sum WHERE MetricName IN ('tidegauge_dead_letters', 'tidegauge_dead_letters_total')
    AND {within("TimeUnix")}
  GROUP BY time, series)
ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "Kafka records put aside, where a Collector scrapes our /metrics.",
            zero_gaps=False,
        ),
    ),
)
