"""The year of flights through the drift detectors alone: straight into the tables, day by day, without the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tidegauge.config import DailyDiagnosis, Detectors, Watch
from tidegauge.demo.flights.stream import FlightsStream
from tidegauge.detectors.finding import Finding
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.store import Store

AFTER_MIDNIGHT = timedelta(minutes=2)
FILLED = ("predictions", "labels", "findings", "reference_profiles", "performance")


class Direct:
    """Stands in for the SDK's client; the rows it stores are those that the SDK's events become."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def log_predictions(
        self,
        model: str,
        frame: pl.DataFrame,
        *,
        features: Sequence[str],
        prediction: str,
        score: str | None,
        prediction_id: str | None,
        timestamp: str | None,
        slices: Sequence[str],
        version: str,
        role: str,
    ) -> list[str]:
        """Store one prediction a row of ``frame``."""
        assert score and prediction_id and timestamp
        texts = [name for name in features if frame.schema[name] == pl.String]
        numeric = [name for name in features if name not in texts]
        columns = {
            "timestamp": frame[timestamp].dt.cast_time_unit("ns").to_arrow(),
            "prediction_id": frame[prediction_id].to_arrow().cast(pa.string()),
            "model": pa.array([model] * frame.height),
            "version": pa.array([version] * frame.height),
            "role": pa.array([role] * frame.height),
            "features": _maps(frame, numeric, pa.float64()),
            "categories": _maps(frame, texts, pa.string()),
            "value": frame[prediction].cast(pl.String).to_arrow().cast(pa.string()),
            "score": frame[score].to_arrow(),
            "slices": _maps(frame, slices, pa.string()),
        }
        self._store.insert_arrow("predictions", pa.table(columns))
        return frame[prediction_id].to_list()

    def log_labels(
        self, model: str, prediction_ids: Sequence[str], labels: Sequence[Any], *, timestamps: Sequence[datetime] | None
    ) -> None:
        """Store one label for each id."""
        columns = {
            "timestamp": pa.array(timestamps, pa.timestamp("us", "UTC")).cast(pa.timestamp("ns", "UTC")),
            "prediction_id": list(prediction_ids),
            "model": [model] * len(prediction_ids),
            "value": [str(each) for each in labels],
        }
        self._store.insert_arrow("labels", pa.table(columns))


def replay(store: Store, stream: FlightsStream, watch: Watch) -> list[Finding]:
    """Empty the tables, log the training set, then each day; what the detectors found after each that has flights."""
    for table in FILLED:
        store.execute(f"TRUNCATE TABLE {table}")
    off = DailyDiagnosis(enabled=False)
    settings = Detectors(models=(watch,), embedder="off", false_pages_per_month=0, diagnosis=off)
    client, loop = Direct(store), DetectorLoop(store, settings)
    stream.send_training(client)
    findings: list[Finding] = []
    for day in stream.days():
        stream.send_day(client, day)
        if day.predictions_frame.height:
            findings += loop.run(day.end + AFTER_MIDNIGHT)
    return findings


def _maps(frame: pl.DataFrame, names: Sequence[str], kind: pa.DataType) -> pa.MapArray:
    """A map of the columns ``names`` for each row."""
    rows = frame.height
    offsets = pa.array([at * len(names) for at in range(rows + 1)], pa.int32())
    values = np.stack([frame[name].to_numpy() for name in names], axis=1).reshape(-1)
    return pa.MapArray.from_arrays(offsets, pa.array(list(names) * rows, pa.string()), pa.array(values, kind))
