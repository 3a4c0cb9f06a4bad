"""Processor time of a year of drift evaluation: one a day, of a model of 14 features and 19 slices.

    .venv/bin/python benchmarks/detector_round.py [--days 275] [--rows-per-day 927] [--reference training|trailing]
        [--pairs off|all] [--rollups auto|always|off]

Prints CPU seconds of the whole process, all threads, in the evaluation alone: not the making of the data.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from tidegauge.collectors.schema import migrate
from tidegauge.config import DailyDiagnosis, Detectors, Reference, Watch
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.store import Store

START = datetime(2026, 4, 1, tzinfo=UTC)
CARRIERS, ORIGINS, NUMERIC, CATEGORICAL = 16, 3, 11, 3
CHUNK = 50_000


def main() -> None:
    """Make the data, run a year, print the figures."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        rng = np.random.default_rng(0)
        if options.reference == "training":
            _fill(store, rng, options.training_rows, START - timedelta(days=90), 90, "training")
        _fill(store, rng, options.days * options.rows_per_day, START, options.days, "production")
        for hours in (24, 168):
            for each in ("findings", "reference_profiles", "sketches", "sketch_buckets", "sketch_binnings"):
                store.execute(f"TRUNCATE TABLE {each}")
            print(json.dumps(_year(store, options, hours)))
        store.close()


def _year(store: Store, options: argparse.Namespace, window_hours: float) -> dict[str, object]:
    watch = Watch(
        reference=Reference(kind=options.reference),
        window_hours=window_hours,
        slices=("carrier", "origin"),
        pairs=options.pairs,
        rollups=options.rollups,
    )
    off = DailyDiagnosis(enabled=False)
    loop = DetectorLoop(store, Detectors(models=(watch,), embedder="off", false_pages_per_month=0, diagnosis=off))
    spent: list[float] = []
    verdicts: Counter[str] = Counter()
    for day in range(1, options.days + 1):
        began = time.process_time()
        found = loop.run(START + timedelta(days=day, minutes=2))
        spent.append(time.process_time() - began)
        verdicts.update(finding.verdict for finding in found)
    return {
        "reference": options.reference,
        "window_hours": window_hours,
        "pairs": options.pairs,
        "evaluations": sum(1 for each in spent if each > 0.01),
        "cpu_s": round(sum(spent), 2),
        "median_ms": round(1000 * float(np.median(spent)), 1),
        "p95_ms": round(1000 * float(np.quantile(spent, 0.95)), 1),
        "worst_ms": round(1000 * max(spent), 1),
        "findings": dict(verdicts),
        "findings_bytes": _stored(store, "findings"),
        "sketches_bytes": _stored(store, "sketches"),
    }


def _stored(store: Store, table: str) -> int:
    """Compressed bytes of a table."""
    sql = "SELECT sum(data_compressed_bytes) FROM system.parts WHERE active AND table = {table:String}"
    found: int = store.value(sql, {"table": table})
    return found


def _fill(store: Store, rng: np.random.Generator, rows: int, start: datetime, days: int, role: str) -> None:
    """Predictions and, for each, a label a few hours later; nothing drifts."""
    for first in range(0, rows, CHUNK):
        count = min(CHUNK, rows - first)
        share = (first + np.arange(count)) / rows
        seconds = (start.timestamp() + share * days * 86_400).astype(np.int64)
        names = [f"{role}-{at}" for at in range(first, first + count)]
        store.insert_arrow("predictions", _predictions(rng, names, seconds, role))
        store.insert_arrow("labels", _labels(rng, names, seconds + 7_200))


def _predictions(rng: np.random.Generator, names: list[str], seconds: np.ndarray, role: str) -> pa.Table:
    count = len(names)
    carriers = np.minimum(rng.geometric(0.2, count) - 1, CARRIERS - 1)
    numbers = rng.normal(carriers[:, None] * 0.05, 1, (count, NUMERIC))
    numbers[rng.random((count, NUMERIC)) < 0.01] = np.nan
    origins, tails = rng.integers(0, ORIGINS, count), rng.integers(0, 3000, count)
    texts = [[f"c{a}", f"o{b}", f"t{c}"] for a, b, c in zip(carriers, origins, tails, strict=True)]
    return pa.table(
        {
            "timestamp": pa.array(seconds * 1_000_000_000, pa.timestamp("ns", "UTC")),
            "prediction_id": names,
            "model": pa.array(["flights"] * count),
            "version": pa.array(["1"] * count),
            "role": pa.array([role] * count),
            "features": maps([f"n{at}" for at in range(NUMERIC)], numbers.ravel(), count),
            "categories": maps(["carrier", "origin", "tail"], np.array(texts).ravel(), count),
            "value": pa.array(np.where(rng.random(count) < 0.3, "1", "0")),
            "score": pa.array(rng.beta(2, 4, count)),
            "slices": maps(["carrier", "origin"], np.array([each[:2] for each in texts]).ravel(), count),
        }
    )


def maps(keys: list[str], values: np.ndarray, count: int) -> pa.MapArray:
    offsets = np.arange(count + 1, dtype=np.int32) * len(keys)
    return pa.MapArray.from_arrays(pa.array(offsets), pa.array(keys * count), pa.array(values))


def _labels(rng: np.random.Generator, names: list[str], seconds: np.ndarray) -> pa.Table:
    return pa.table(
        {
            "timestamp": pa.array(seconds * 1_000_000_000, pa.timestamp("ns", "UTC")),
            "prediction_id": names,
            "model": pa.array(["flights"] * len(names)),
            "value": pa.array(np.where(rng.random(len(names)) < 0.3, "1", "0")),
        }
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=275)
    parser.add_argument("--rows-per-day", type=int, default=927)
    parser.add_argument("--training-rows", type=int, default=80_000)
    parser.add_argument("--pairs", choices=("off", "all"), default="all")
    parser.add_argument("--rollups", choices=("auto", "always", "off"), default="auto")
    parser.add_argument("--reference", choices=("training", "trailing"), default="training")
    return parser.parse_args()


if __name__ == "__main__":
    main()
