"""The pipeline itself: what comes in, how fresh it is, what was put aside."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from tidegauge.dashboards.boards.own_metrics import gauge, increase, mean
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
            "Seconds from event to queryable",
            f"""SELECT {bucket("minute")} AS time, concat('p', toString(round(100 * level))) AS series, value FROM (
  SELECT minute, arrayJoin(arrayZip([0.5, 0.95, 0.99], arrayMap(x -> toFloat64(x), q))) AS pair,
    pair.1 AS level, pair.2 AS value
  FROM (SELECT {bucket("minute")} AS minute, quantilesTDigestMerge(0.5, 0.95, 0.99)(delay_s) AS q
    FROM ingest_delay_1m WHERE {within("minute")} AND {matching("service", "kind")} GROUP BY minute))
ORDER BY time, series""",
            Unit.SECONDS,
            Kind.TIMESERIES,
            "From a record's own time until it was stored, by the time when it was stored.",
        ),
        Panel(
            "Records with a doubtful time",
            f"""SELECT {bucket("minute")} AS time, pair.1 AS series, sum(pair.2) AS value FROM (
  SELECT minute, arrayJoin([('late', late), ('ahead', ahead), ('no time', no_time),
    ('ends before start', ends_before_start)]) AS pair
  FROM ingest_delay_1m WHERE {within("minute")} AND {matching("service", "kind")})
GROUP BY time, series HAVING value > 0 ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "Stored, with their time put right or left out of windows: a day late, of the future, without one.",
            zero_gaps=True,
        ),
        Panel(
            "Accepted and stored per second",
            increase(
                ("tidegauge_accepted_records_total", "tidegauge_stored_records_total"),
                "concat(splitByChar('_', MetricName)[2], ' ', Attributes['signal'])",
                per_second=True,
            ),
            Unit.RATE,
            Kind.TIMESERIES,
            "Answered with success by the receiver, and inserted by the sink.",
        ),
        Panel(
            "Refused, deferred and duplicate requests",
            increase(
                (
                    "tidegauge_rejected_records_total",
                    "tidegauge_deferred_requests_total",
                    "tidegauge_duplicate_requests_total",
                    "tidegauge_auth_failures_total",
                    "tidegauge_client_timeouts_total",
                ),
                "concat(splitByChar('_', MetricName)[2], ' ', Attributes['signal'], Attributes['part'], ' ', "
                "Attributes['reason'])",
            ),
            Unit.COUNT,
            Kind.TIMESERIES,
            "Each with its reason; what is deferred comes again, what is rejected does not.",
        ),
        Panel(
            "Records lost in the services",
            f"""SELECT {bucket("timestamp")} AS time, concat(service, ' ', outcome, ': ', reason) AS series,
  sum(records) AS value
FROM sdk_losses WHERE {within("timestamp")} AND {matching("service")} GROUP BY time, series ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "Dropped or rejected by the SDK in the service, which says so once it reaches the receiver again.",
            zero_gaps=True,
        ),
        Panel(
            "Lag of the sink",
            gauge(("tidegauge_sink_lag_seconds",), "Attributes['topic']", "max"),
            Unit.SECONDS,
            Kind.TIMESERIES,
            "Age of the oldest message in Kafka that is not stored yet, by topic.",
        ),
        Panel(
            "Messages waiting in Kafka",
            gauge(("tidegauge_sink_lag_messages",), "Attributes['topic']"),
            Unit.COUNT,
            Kind.TIMESERIES,
            "Not stored yet, by topic.",
        ),
        Panel(
            "Records in a batch",
            mean("tidegauge_sink_batch_records", "Attributes['signal']"),
            Unit.COUNT,
            Kind.TIMESERIES,
            "Mean of the batches that the sink inserted; small ones are dear, the configuration bounds the largest.",
        ),
        Panel(
            "Seconds for an insert",
            mean("tidegauge_insert_seconds", "Attributes['signal']"),
            Unit.SECONDS,
            Kind.TIMESERIES,
            "Mean of ClickHouse's inserts, all views and rollups included.",
        ),
        Panel(
            "Bytes not yet durable",
            gauge(("tidegauge_pending_bytes",), "'pending'"),
            Unit.COUNT,
            Kind.TIMESERIES,
            "Taken in and not yet acknowledged by Kafka or ClickHouse; bounded by receiver.max_pending_bytes.",
        ),
        Panel(
            "Records unaccounted for",
            gauge(("tidegauge_reconciliation_gap_records",), "Attributes['signal']", "max"),
            Unit.COUNT,
            Kind.TIMESERIES,
            "Accepted, and neither stored, in flight nor put aside. Always 0; `tidegauge reconcile` names the place.",
        ),
        Panel(
            "Personal data and secrets masked",
            increase(("tidegauge_masked_total",), "Attributes['rule']"),
            Unit.COUNT,
            Kind.TIMESERIES,
            "By rule. A sudden rise is a service that began to log what it should not.",
        ),
        Panel(
            "Dead letters",
            increase(("tidegauge_dead_letters_total",), "concat(Attributes['topic'], ' ', Attributes['reason'])"),
            Unit.COUNT,
            Kind.TIMESERIES,
            "Kafka records put aside; `tidegauge dlq list` shows them.",
        ),
        Panel(
            "Failed inserts and lost messages",
            increase(
                (
                    "tidegauge_insert_failures_total",
                    "tidegauge_missing_messages_total",
                    "tidegauge_loop_failures_total",
                ),
                "concat(splitByChar('_', MetricName)[2], ' ', Attributes['code'], Attributes['topic'], "
                "Attributes['loop'])",
            ),
            Unit.COUNT,
            Kind.TIMESERIES,
            "Inserts are tried again; missing messages were removed by Kafka's retention before they were read.",
        ),
    ),
)
