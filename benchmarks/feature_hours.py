"""What the hourly tests of many features cost: counting their hours, learning a baseline from weeks, one hour more.

    .venv/bin/python benchmarks/feature_hours.py [--features 500] [--slices 20] [--per-hour 500] [--days 14]

A model of so many features, one in five a text of five names, in all traffic and so many values of a slice, with so
many predictions in each hour of the days. Given are CPU seconds of the process, all threads: "count" is what the
sequential round needs to count all hours, told as microseconds a value (a row, a feature and, with all traffic, two
parts that it is in); "learn" is what it needs to read them all and make the baseline of every stream, once a day;
"hour_s" is one hour more, counted and looked at, the least of the rounds; "rss_mib" the most memory, with the engine.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from detector_round import maps

from tidegauge.collectors.schema import migrate
from tidegauge.config import Detectors, Reference, Watch
from tidegauge.detectors.sequential.round import SequentialRound
from tidegauge.detectors.sequential.sources import Sources
from tidegauge.model import Window
from tidegauge.store import Store

START = datetime(2026, 4, 6, tzinfo=UTC)
HOUR, MODEL, NAMES = timedelta(hours=1), "wide", 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=500)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--per-hour", type=int, default=500)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        print(json.dumps(vars(given) | measured(store, given)), flush=True)
        store.close()


def measured(store: Store, given: argparse.Namespace) -> dict[str, float]:
    rng, end = np.random.default_rng(0), START + timedelta(days=given.days)
    hours = given.days * 24
    for at in range(hours + given.rounds):
        fill(store, rng, START + at * HOUR, given)
    watch = Watch(reference=Reference(kind="fixed", start=START, end=end), slices=("place",))
    settings = Detectors(models=(watch,), embedder="off", lag_s=0)
    sources, span, now = Sources(store, settings), Window(START, end), end + timedelta(minutes=1)

    def count() -> None:
        while not sources.ready(MODEL, "features", watch, [span], now):
            pass

    counted = spent(count)
    learned = spent(lambda: sources.learned(MODEL, "features", "fixed", span, watch, now))
    looked = SequentialRound(store, settings)
    list(looked.run(MODEL, now))  # yesterday's hours, and the families are made
    steps = [
        spent(lambda moment=now + at * HOUR: list(looked.run(MODEL, moment)))  # type: ignore[misc]
        for at in range(1, given.rounds + 1)
    ]
    values = hours * given.per_hour * given.features
    return {
        "streams": given.features * (given.slices + 1),
        "count_s": round(counted, 1),
        "count_us_a_value": round(counted / values * 1e6, 3),
        "learn_s": round(learned, 1),
        "hour_s": round(min(steps), 2),
        "rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "table_mib": round(store.value(SIZE) / 2**20, 1),
    }


SIZE = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'feature_hours'"


def fill(store: Store, rng: np.random.Generator, hour: datetime, given: argparse.Namespace) -> None:
    n, texts = given.per_hour, given.features // NAMES
    seconds = np.arange(n) * (3600 / n)
    at = [hour + timedelta(seconds=each) for each in seconds.tolist()]
    numbers = [f"number_{k:03d}" for k in range(given.features - texts)]
    words = [f"text_{k:03d}" for k in range(texts)]
    table = {
        "timestamp": pa.array(at, pa.timestamp("ns", "UTC")),
        "sent_at": pa.array(at, pa.timestamp("ns", "UTC")),
        "prediction_id": pa.array([f"{hour:%m%d%H}-{k}" for k in range(n)]),
        "model": pa.array([MODEL] * n),
        "role": pa.array(["production"] * n),
        "features": maps(numbers, rng.normal(5, 1, n * len(numbers)), n),
        "categories": maps(words, rng.integers(0, NAMES, n * len(words)).astype(str), n),
        "slices": maps(["place"], rng.integers(0, given.slices, n).astype(str), n),
        "value": pa.array(["1"] * n),
        "score": pa.array(rng.random(n)),
    }
    store.insert_arrow("predictions", pa.table(table))


def spent(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
