"""Bounded joins with later truth, the view of predictions, and a flood of slice values: CPU seconds and rows read.

.venv/bin/python benchmarks/storage.py [--predictions 1000000] [--flood 1000000]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from tidegauge.collectors.schema import CardinalityLoop, migrate
from tidegauge.config import Rollups
from tidegauge.store import Store

START = datetime(2025, 6, 1, tzinfo=UTC)
ROUNDS, BATCH = 4, 20_000
MADE = """INSERT INTO predictions (timestamp, prediction_id, model, role, value) SELECT
toDateTime64('2025-03-01', 9, 'UTC') + toIntervalSecond(intDiv(number * 365 * 86400, {rows:UInt64})),
hex(MD5(toString(number))), 'm', 'production', 'a' FROM numbers({rows:UInt64})"""
LABELS = """INSERT INTO labels (timestamp, prediction_id, model, value) SELECT
timestamp + toIntervalSecond(cityHash64(prediction_id) % 1728000), prediction_id, model, 'a' FROM predictions"""
JOIN = """SELECT avg(value = label) AS accuracy, count() AS n FROM labelled(start = {start:DateTime64(6)},
end = {end:DateTime64(6)}, known_by = {end:DateTime64(6)} + toIntervalDay({days:UInt32}), model = '')"""
EVENTS = """CREATE TABLE events ENGINE = Memory AS SELECT now64(9) AS Timestamp, 'tidegauge.prediction' AS EventName,
CAST(map('tidegauge.model.name', 'm', 'tidegauge.model.version', '1', 'tidegauge.role', 'production'),
  'Map(LowCardinality(String), String)') AS ResourceAttributes,
CAST(mapConcat(map('tidegauge.prediction.id', toString(number), 'tidegauge.prediction.value', 'a',
  'tidegauge.prediction.score', '0.5', 'tidegauge.slice.port', 'AA', 'tidegauge.tenant', 't'),
  mapFromArrays(arrayMap(i -> concat('tidegauge.feature.f', toString(i)), range(20)),
    arrayMap(i -> toString(cityHash64(number, i) / 1e9), range(20)))), 'Map(LowCardinality(String), String)')
  AS LogAttributes FROM numbers({rows:UInt64})"""
FLOOD = """INSERT INTO predictions (timestamp, model, role, value, slices) SELECT now64(9), 'm', 'production', 'a',
map('user', concat({tag:String}, toString(number)), 'port', 'AA') FROM numbers({first:UInt64}, {rows:UInt64})"""
SLICES = """SELECT slice, sum(predictions) AS n FROM predictions_1h WHERE dimension = 'user' GROUP BY slice
ORDER BY n DESC LIMIT 10"""


def main() -> None:
    """Fill a database in a folder that is thrown away, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--flood", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        _view(store)
        _joins(store, options.predictions)
        _flood(store, options.flood)
        store.close()


def _view(store: Store) -> None:
    store.execute(EVENTS, {"rows": BATCH})
    query = str(store.value("SELECT as_select FROM system.tables WHERE name = 'predictions_mv'"))
    names = "Timestamp, EventName, ResourceAttributes, LogAttributes"
    for table in ("nothing", "events_in"):
        store.execute(f"CREATE TABLE {table} AS otel_logs ENGINE = Null")
    store.execute("CREATE TABLE predictions_out AS predictions ENGINE = Null")
    source = query.replace(f"{store.database}.otel_logs", "events_in")
    store.execute(f"CREATE MATERIALIZED VIEW events_mv TO predictions_out AS {source}")
    insert = f"INSERT INTO {{}} ({names}) SELECT {names} FROM events"
    without, with_view = (_cpu(partial(store.execute, insert.format(table))) for table in ("nothing", "events_in"))
    print(f"view of predictions, 20 features: {(with_view - without) / BATCH * 1e6:.2f} us each")


def _joins(store: Store, rows: int) -> None:
    store.execute(MADE, {"rows": rows})
    store.execute(LABELS)
    for length in (1, 30):
        for days in (30, 92):
            params = {"start": START, "end": START + timedelta(days=length), "days": days}
            cpu_s = _cpu(partial(store.rows, JOIN, params))
            plan = store.rows(f"EXPLAIN ESTIMATE {JOIN}", params)
            read = ", ".join(f"{row['rows']:,} of {row['table']}" for row in plan)
            print(f"{length} days of {rows:,} a year, labels of {days} days after: {cpu_s:.3f} s, read {read}")


def _flood(store: Store, rows: int) -> None:
    loop = CardinalityLoop(store, Rollups())
    for tag in ("before", "after"):
        began = time.process_time()
        for first in range(0, rows, BATCH):
            store.execute(FLOOD, {"tag": tag, "first": first, "rows": BATCH})
        spent = time.process_time() - began
        kept = store.value("SELECT uniq(slice) FROM predictions_1h WHERE dimension = 'user'")
        decided, read = _cpu(lambda: loop.run(datetime.now(UTC))), _cpu(partial(store.rows, SLICES))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"{rows:,} slice values, {tag} the cap: {spent / rows * 1e6:.1f} us each, {kept:,} kept apart, "
            f"decision {decided:.3f} s, query {read:.3f} s, peak {peak} MiB"
        )


def _cpu(work: Callable[[], Any]) -> float:
    """The least CPU seconds of the process, of some rounds."""
    spent = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


if __name__ == "__main__":
    main()
