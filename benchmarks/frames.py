"""Processor time of a prediction of 20 features on its way by the columnar lane, stage by stage.

    .venv/bin/python benchmarks/frames.py [--rounds 7] [--rows 10000]

Each stage stands beside a bound (what pyarrow or ClickHouse need for the wide table) and beside the same rows as
OTLP log records, in the same run, alternating. Minima of CPU seconds of all threads of this process.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pyarrow as pa
from race import Work, race

from tidegauge.collectors import frames
from tidegauge.collectors.frames import Frame, Roles
from tidegauge.collectors.frames.rows import stored
from tidegauge.collectors.masking import Masker
from tidegauge.collectors.otlp import count
from tidegauge.collectors.schema import insert_exports, migrate
from tidegauge.collectors.sdk import frames as sdk
from tidegauge.collectors.sdk.frames_otlp import otlp_requests
from tidegauge.config import Masking
from tidegauge.model import Signal
from tidegauge.store import Store

NUMERIC, CATEGORIES = 14, 6
WIDE = (
    [f"n{n} Float64" for n in range(NUMERIC)]
    + [f"c{n} LowCardinality(String)" for n in range(CATEGORIES)]
    + ["carrier LowCardinality(String)", "y UInt8", "p Float64", "t DateTime64(9, 'UTC')"]
)
ROLES = Roles(prediction="y", score="p", timestamp="t", slices=("carrier",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    data = wide(options.rows)
    frame = described(data)
    report("In the service: from a polars frame to requests", options, service(data, frame))
    report("In the receiver", options, receiver(frame))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        store.execute(f"CREATE TABLE wide ({', '.join(WIDE)}) ENGINE = MergeTree ORDER BY t")
        store.execute("CREATE TABLE frames_nowhere AS frames_in ENGINE = Null")
        for batches in (1, 5):
            report(
                f"In the store: {batches} x {options.rows:,} rows an insert",
                options,
                ingest(store, frame, batches),
                batches,
            )
        store.close()


def wide(rows: int) -> pl.DataFrame:
    """Seeded rows of the last hours."""
    rng = np.random.default_rng(1)
    first = datetime.now(UTC) - timedelta(hours=2)
    numbers = {f"n{n}": rng.normal(size=rows) for n in range(NUMERIC)}
    texts = {f"c{n}": rng.choice(["red", "green", "blue"], rows) for n in range(CATEGORIES)}
    own = {
        "carrier": rng.choice(["AA", "UA", "DL"], rows),
        "y": rng.integers(0, 2, rows, np.uint8),
        "p": rng.random(rows),
    }
    times = pl.datetime_range(first, first + timedelta(seconds=rows - 1), "1s", eager=True)
    return pl.DataFrame({**numbers, **texts, **own, "t": times})


def described(data: pl.DataFrame) -> Frame:
    """What the SDK makes of ``data``."""
    return sdk.predictions(sdk.table(data), "bench", ROLES, {"service.name": "bench"}, 1)


def service(data: pl.DataFrame, frame: Frame) -> Work:
    plain = sdk.table(data)

    def log_predictions() -> None:
        made = described(data)
        list(sdk.requests(made))
        sdk.ids(made)

    return {
        "bound: pyarrow writes the table": lambda: frames.serialize(plain, compression=None),
        "log_predictions: check, lz4, ids": log_predictions,
        "the same as OTLP": lambda: (list(otlp_requests(frame)), sdk.ids(frame)),
    }


def receiver(frame: Frame) -> Work:
    [payload] = [frames.encode(each) for each in frames.parts(frame)]
    requests = [request for request, _ in otlp_requests(frame)]
    masker = Masker(Masking())
    return {
        "bound: pyarrow reads the stream": lambda: pa.ipc.open_stream(pa.py_buffer(payload)).read_all(),
        "sizes, types, values checked": lambda: count(Signal.FRAMES, payload),
        "tenant stamped": lambda: frames.stamp(payload, "acme"),
        "masked": lambda: masker.mask(Signal.FRAMES, payload),
        "OTLP: checked": lambda: [count(Signal.LOGS, each) for each in requests],
        "OTLP: masked": lambda: [masker.mask(Signal.LOGS, each) for each in requests],
    }


def ingest(store: Store, frame: Frame, batches: int) -> Work:
    """As many copies as ``batches`` in one insert, each under ids of its own."""
    plain = pa.concat_tables([frame.table] * batches).combine_chunks()
    copies = [replace(frame, layout=replace(frame.layout, frame=f"copy{n}")) for n in range(batches)]
    payloads = [frames.encode(each) for each in copies]
    requests = [request for each in copies for request, _ in otlp_requests(each)]
    rows = pa.concat_tables([stored(each) for each in copies]).unify_dictionaries().combine_chunks()
    number = itertools.count()
    return {
        "bound: the wide table into one MergeTree": lambda: store.insert_arrow("wide", plain),
        "the columns of predictions made": lambda: [stored(frames.read(each)) for each in payloads],
        "read by ClickHouse and dropped": lambda: store.insert_arrow("frames_nowhere", rows),
        "all of it, with every view": lambda: insert_exports(
            store, Signal.FRAMES, payloads, f"frames {next(number)} {batches}"
        ),
        "the same as OTLP": lambda: insert_exports(store, Signal.LOGS, requests, f"logs {next(number)} {batches}"),
    }


def report(title: str, options: argparse.Namespace, work: Work, batches: int = 1) -> None:
    """Run and print microseconds a prediction, and how many times the first line that is."""
    best = race(options.rounds, work)
    first = next(iter(best.values()))
    print(f"\n{title}; microseconds a prediction")
    for name, seconds in best.items():
        print(f"  {name:<44} {seconds / options.rows / batches * 1e6:8.3f}   {seconds / first:7.2f} x")


if __name__ == "__main__":
    main()
