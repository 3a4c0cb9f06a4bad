"""Processor time of comparing two windows: from rows, and from counts, of 20 numeric and 5 categorical features.

    .venv/bin/python benchmarks/rollups.py [--rows 10000 100000 1000000] [--rounds 5]
    .venv/bin/python benchmarks/rollups.py --step-minutes 5 [--days 28] [--per-hour 100]

Each window has so many rows. PSI, KL, Jensen-Shannon, KS, Wasserstein, chi-squared, missing and new categories of all
traffic, both ways, in one run: CPU seconds of the process, all threads, the least of the rounds. "once" is what
counting the two windows cost, which is paid as they close; "query" is a query that asks for nothing, of which a
comparison needs three: what there is, what is counted, and the counts of both sides.

With --step-minutes: a window of an hour that moves by so many minutes, against the days before. "first_s" is until
all is counted, in so many "turns"; "step_ms" what a step costs then, the new stretch counted; "compared_ms" the
comparison alone, from so many stretches on both sides; "kib_a_stretch" what one takes on disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median

import numpy as np
import pyarrow as pa
from detector_round import maps

from tidegauge.collectors.schema import migrate
from tidegauge.config import Reference, Watch
from tidegauge.detectors import drift
from tidegauge.detectors.predictions import Predictions, Scope
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.references import Datum
from tidegauge.detectors.sketches import Rollup
from tidegauge.detectors.verdicts import judge
from tidegauge.model import ALL, Window
from tidegauge.store import Store

START = datetime(2026, 4, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NUMERIC, CATEGORICAL, CHUNK = 20, 5, 50_000
MAX_ROWS = 100_000
WATCH = Watch(reference=Reference(kind="fixed", start=START, end=START + DAY), rollups="always")
DIMENSIONS = ("version",)


def main() -> None:
    """For each size: make two days of rows, compare them both ways, print the figures."""
    options = _options()
    if options.step_minutes:
        print(json.dumps(_stepped(options.step_minutes, options.days, options.per_hour, options.rounds)), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        for rows in options.rows:
            _fill(store, f"m{rows}", rows)
            print(json.dumps(_measured(store, f"m{rows}", rows, options.rounds)), flush=True)
        store.close()


def _measured(store: Store, model: str, rows: int, rounds: int) -> dict[str, object]:
    before, now = Window(START, START + DAY), Window(START + DAY, START + 2 * DAY)
    datum = Datum("fixed", before.start, before.end, Scope(model, before), rows)
    bounded = Predictions(store, MAX_ROWS)

    rollup = Rollup(store, bounded, MAX_ROWS, 50)

    def counted() -> int:
        rollup._kept.clear()
        pair = rollup.pair(model, WATCH, now, datum, rows, DIMENSIONS, now.end)
        assert pair
        return _compared(*pair)

    def exact() -> int:
        whole = Predictions(store, 10**9)
        sides = [Profile(whole.read(Scope(model, each), rows, DIMENSIONS)) for each in (before, now)]
        return _compared(*sides)

    once = _least(counted, 1)
    at_first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    from_counts = _least(counted, rounds)
    in_between = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    from_rows = _least(exact, 1 if rows > 10**5 else rounds)
    at_last = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows_each": rows,
        "from_counts_ms": round(1000 * from_counts, 1),
        "from_rows_ms": round(1000 * from_rows, 1),
        "query_ms": round(1000 * _least(lambda: store.arrow("SELECT 1"), rounds), 1),
        "once_s": round(once, 2),
        "answers": counted(),
        "peak_mib_after": {
            "counting": at_first // 1024,
            "from counts": in_between // 1024,
            "from rows": at_last // 1024,
        },
    }


def _stepped(minutes: int, days: int, per_hour: int, rounds: int) -> dict[str, object]:
    watch = Watch(window_hours=1, step_hours=minutes / 60, rollups="always", floor_from_reference=False)
    step, first = timedelta(minutes=minutes), START + days * DAY + HOUR
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        _fill(store, "m", 24 * per_hour, days + 1)
        rollup = Rollup(store, Predictions(store, MAX_ROWS), MAX_ROWS, 50)

        def pair(end: datetime) -> tuple[drift.Side, drift.Side] | None:
            now = Window(end - HOUR, end)
            before = Window(now.start - days * DAY, now.start)
            datum = Datum("trailing", before.start, before.end, Scope("m", before), 24 * days * per_hour)
            return rollup.pair("m", watch, now, datum, per_hour, DIMENSIONS, now.end)

        def compared(end: datetime) -> int:
            rollup._kept.clear()
            sides = pair(end)
            assert sides
            return _compared(*sides)

        began, turns, end = time.process_time(), 1, first + 7 * step
        while not pair(end):
            turns += 1
        once, steps = time.process_time() - began, []
        for _ in range(rounds):
            end += step
            steps.append(_least(partial(compared, end), 1))
        again = _least(partial(compared, end), rounds)
        store.execute("OPTIMIZE TABLE sketches FINAL")
        taken = store.value("SELECT sum(bytes_on_disk) FROM system.parts WHERE table = 'sketches' AND active")
        counted = store.value("SELECT count() FROM sketch_buckets")
        store.close()
    return {
        "step_minutes": minutes,
        "first_s": round(once, 2),
        "turns": turns,
        "step_ms": round(1000 * median(steps), 1),
        "compared_ms": round(1000 * again, 1),
        "from_stretches": len(rollup._known["m"]),
        "counted": counted,
        "kib_a_stretch": round(taken / counted / 1024, 1),
    }


def _compared(reference: drift.Side, current: drift.Side) -> int:
    claims = judge(list(drift.hypotheses(reference, current, [ALL])), 0.05)
    return len(claims)


def _least(work: Callable[[], object], rounds: int) -> float:
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def _fill(store: Store, model: str, rows: int, days: int = 2) -> None:
    rng = np.random.default_rng(0)
    for day in range(days):
        for first in range(0, rows, CHUNK):
            count = min(CHUNK, rows - first)
            seconds = START.timestamp() + 86_400 * (day + (first + np.arange(count)) / rows)
            store.insert_arrow("predictions", _predictions(rng, model, seconds.astype(np.int64)))


def _predictions(rng: np.random.Generator, model: str, seconds: np.ndarray) -> pa.Table:
    count = len(seconds)
    numbers = rng.normal(size=(count, NUMERIC))
    numbers[rng.random((count, NUMERIC)) < 0.01] = np.nan
    names = np.array([f"c{at}" for at in range(30)])
    texts = names[np.minimum(rng.geometric(0.2, (count, CATEGORICAL)), 29)]
    ids = rng.integers(0, 2**62, count)
    return pa.table(
        {
            "timestamp": pa.array(seconds * 1_000_000_000, pa.timestamp("ns", "UTC")),
            "prediction_id": [f"{each:x}" for each in ids],
            "model": pa.array([model] * count),
            "version": pa.array(["1"] * count),
            "features": maps([f"n{at}" for at in range(NUMERIC)], numbers.ravel(), count),
            "categories": maps([f"t{at}" for at in range(CATEGORICAL)], texts.ravel(), count),
        }
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step-minutes", type=int, default=0)
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--per-hour", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    main()
