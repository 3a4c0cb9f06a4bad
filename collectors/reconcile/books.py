"""The statements that compare the ledger with itself, with ClickHouse's own counts, and those with the tables."""

from __future__ import annotations

from tidegauge.model import Signal

LATEST = "SELECT * FROM ingest_ledger WHERE stored_at >= {since:DateTime64(6)} LIMIT 1 BY token"
OLD_ENOUGH = "stored_at <= {until:DateTime64(6)}"

# What became of the offsets, by partition and log. `appended` is where the books begin.
ACCOUNTS = f"""SELECT topic, partition, argMax(log, (stored_at, first_offset)) AS log,
  sum(messages - duplicates - dead_letters) AS stored, sum(duplicates) AS repeated, sum(dead_letters) AS dead,
  sum(missing) AS lost, sum(last_offset - first_offset + 1 - messages - missing) AS holes, sum(records) AS records
FROM ({LATEST}) GROUP BY topic, partition ORDER BY topic, partition"""  # noqa: S608 - constants

# The end of the ledger, whole: what is committed beyond it was skipped.
ENDS = """SELECT topic, partition, log, max(last_offset) + 1 AS end FROM ingest_ledger GROUP BY topic, partition, log"""

# Offsets that no row has, or that two have, between two rows.
SEAMS = f"""SELECT topic, partition, previous + 1 AS expected, first_offset AS found, last_offset, missing
FROM (SELECT topic, partition, log, first_offset, last_offset, stored_at, missing,
    max(last_offset) OVER (PARTITION BY topic, partition, log ORDER BY first_offset, last_offset
                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS previous,
    row_number() OVER (PARTITION BY topic, partition, log ORDER BY first_offset, last_offset) AS place
  FROM ({LATEST}))
WHERE ((place > 1 AND first_offset != previous + 1) OR missing > 0) AND {OLD_ENOUGH}
ORDER BY topic, partition, found LIMIT 1000"""  # noqa: S608 - constants

# Batches of which ClickHouse counted other than what the sink had sent.
ROWS = f"""SELECT topic, partition, first_offset, last_offset, any(rows) AS sent, sum(counted) AS counted
FROM (SELECT topic, partition, first_offset, last_offset, rows, arrayJoin(tokens) AS token
      FROM ({LATEST}) WHERE {OLD_ENOUGH} AND topic != '{Signal.FRAMES}') AS noted
LEFT JOIN (SELECT token, sum(rows) AS counted FROM ingest_rows
           WHERE stored_at >= {{since:DateTime64(6)}} - INTERVAL 1 HOUR GROUP BY token) AS inserted USING token
GROUP BY topic, partition, first_offset, last_offset HAVING sent != counted
ORDER BY topic, partition, first_offset LIMIT 1000"""  # noqa: S608 - constants

# Inserts that ClickHouse counted and no ledger row names.
STRAY = f"""SELECT token, sum(rows) AS counted FROM ingest_rows
WHERE startsWith(token, 'otlp_') AND stored_at >= {{since:DateTime64(6)}} AND {OLD_ENOUGH}
  AND token NOT IN (SELECT arrayJoin(tokens) FROM ingest_ledger
                    WHERE stored_at >= {{since:DateTime64(6)}} - INTERVAL 1 HOUR)
GROUP BY token ORDER BY token LIMIT 1000"""  # noqa: S608 - constants

# Rows by table and day of event time, as they were counted when they were inserted.
COUNTED = """SELECT table, day, sum(rows) AS counted FROM ingest_rows
WHERE day >= {first:Date} AND day <= {last:Date} AND table IN {tables:Array(String)}
GROUP BY table, day ORDER BY table, day"""

DIRECT = "SELECT table, sum(rows) AS counted FROM ingest_rows WHERE token = {token:String} GROUP BY table"

TABLES: dict[str, tuple[Signal, str]] = {
    "otel_traces": (Signal.TRACES, "Timestamp"),
    "otel_logs": (Signal.LOGS, "Timestamp"),
    **{
        f"otel_metrics_{kind}": (Signal.METRICS, "TimeUnix")
        for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    },
}


def there(table: str) -> str:
    """The rows of a day that ``table`` has now; ClickHouse answers from its parts' own counts."""
    return f"SELECT count() FROM {table} WHERE toDate({TABLES[table][1]}) = {{day:Date}}"  # noqa: S608 - from TABLES
