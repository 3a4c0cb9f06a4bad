"""Models that predict numbers, classes or lists in a world of known P(X) and P(y given X), as a diagnosis sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.rows import Rows, no_truth
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.store import Store

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]
DAYS_BEFORE, DAYS_SINCE, A_DAY = 28, 7, 200
SINCE = datetime(2026, 4, 1, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=DAYS_SINCE)
REGIONS, DEVICES = ("north", "south", "west"), ("phone", "desk")
CLASSES = ("cat", "dog", "owl", "fox")


@dataclass
class World:
    """What happens to each row. ``size`` and ``load`` are the inputs; ``here`` are the rows of the part in question."""

    rng: np.random.Generator
    drift: float = 0.0
    part: str = ""

    def __post_init__(self) -> None:
        rng, rows = self.rng, (DAYS_BEFORE + DAYS_SINCE) * A_DAY
        self.rows = rows
        start = (SINCE - timedelta(days=DAYS_BEFORE)).timestamp()
        self.seconds = np.sort(start + rng.uniform(0, (DAYS_BEFORE + DAYS_SINCE) * 86_400, rows))
        self.since = self.seconds >= SINCE.timestamp()
        self.region = rng.choice(3, rows, p=[0.5, 0.3, 0.2]).astype(np.int32)
        self.device = rng.choice(2, rows).astype(np.int32)
        self.size = rng.normal(0, 1, rows) + self.drift * self.since
        self.load = rng.normal(0, 1, rows)
        self.changed = self.since & ((self.region == REGIONS.index(self.part)) if self.part else True)

    def numbers(self, noise: Floats, shift: float = 0.0, wider: float = 1.0) -> Case:
        """Minutes: a model that is right but for noise, whose size grows with what it predicts."""
        foretold = 60 + 12 * self.size + 6 * self.load
        spread = 1 + np.clip(foretold, 0, None) / 15
        true = foretold + spread * (noise * np.where(self.changed, wider, 1.0) + shift * self.changed)
        return self._case(np.round(foretold, 3), np.round(true, 3), None)

    def classes(self, mixed_up: float = 0.0, *, scores: bool = True) -> Case:
        """One of four classes, with the probability of the one that is predicted."""
        centres = np.array([[-1.5, 0.0], [0.0, 1.5], [1.5, 0.0], [0.0, -1.5]])
        point = np.stack([self.size, self.load], axis=1)
        odds = np.exp(-((point[:, None] - centres) ** 2).sum(-1))
        chances = odds / odds.sum(1, keepdims=True)
        said = chances.argmax(1)
        drawn = (self.rng.random((self.rows, 1)) > chances.cumsum(1)).sum(1).clip(0, 3)
        other = self.changed & (self.rng.random(self.rows) < mixed_up)
        truth = np.where(other, (drawn + 1) % 4, drawn)
        names = np.array(CLASSES, dtype=object)
        return self._case(names[said], names[truth], chances.max(1) if scores else None)

    def lists(self, shuffled: float = 0.0, *, scores: bool = False) -> Case:
        """Five of eight documents, best first; the right one comes early where the size is large."""
        early = 1 / (1 + np.exp(-1.5 * self.size))
        place = np.where(self.rng.random(self.rows) < early, 0, self.rng.integers(0, 5, self.rows))
        wrong = self.changed & (self.rng.random(self.rows) < shuffled)
        place = np.where(wrong, self.rng.integers(2, 5, self.rows), place)
        lists = np.argsort(self.rng.random((self.rows, 8)), axis=1)[:, :5]
        said = np.array([json.dumps([f"d{each}" for each in one]) for one in lists], dtype=object)
        right = np.array([json.dumps([f"d{one[at]}"]) for one, at in zip(lists, place, strict=True)], dtype=object)
        return self._case(said, right, early if scores else None)

    def store(self, store: Store, case: Case) -> None:
        """Into the tables, as the SDK's events become rows."""
        when, told = (_times(self.seconds + lag) for lag in (0.0, 3600.0))
        names = [f"p{at}" for at in range(self.rows)]
        said, truth = (
            [column.names[code] for code in column.codes]
            for column in (case.rows.traffic.categorical["prediction"], case.rows.label)
        )
        numbers = [list(zip(("size", "load"), each, strict=True)) for each in zip(self.size, self.load, strict=True)]
        slices = [
            [("region", REGIONS[region]), ("device", DEVICES[device])]
            for region, device in zip(self.region, self.device, strict=True)
        ]
        predictions = {
            "timestamp": when,
            "prediction_id": names,
            "model": ["m"] * self.rows,
            "role": ["production"] * self.rows,
            "features": pa.array(numbers, pa.map_(pa.string(), pa.float64())),
            "value": said,
            "slices": pa.array(slices, pa.map_(pa.string(), pa.string())),
        }
        store.insert_arrow("predictions", pa.table(predictions))
        labels = {"timestamp": told, "prediction_id": names, "model": ["m"] * self.rows, "value": truth}
        store.insert_arrow("labels", pa.table(labels))

    def _case(self, said: Texts | Floats, truth: Texts | Floats, score: Floats | None) -> Case:
        lag = np.full(self.rows, 3600.0)
        numeric = {"size": self.size, "load": self.load} | ({"score": score} if score is not None else {})
        dimensions = {"region": Category(self.region, REGIONS), "device": Category(self.device, DEVICES)}
        traffic = Traffic(self.rows, numeric, {"prediction": encoded(said)}, dimensions)
        ids = np.arange(1, self.rows + 1, dtype=np.uint64)
        rows = Rows(traffic, ids, self.seconds, encoded(truth), lag)
        none = no_truth()
        repeats = np.zeros(self.rows, np.bool_), np.zeros(self.rows, np.int64)
        return Case("m", SINCE, UNTIL, rows, repeats, none, none.ids)


Noise = Callable[[np.random.Generator, int], Floats]


def normal(rng: np.random.Generator, rows: int) -> Floats:
    """Errors as most models have them."""
    return rng.normal(0, 1, rows)


def wild(rng: np.random.Generator, rows: int) -> Floats:
    """Errors without a variance: Student's t of 1.2 degrees of freedom."""
    return rng.standard_t(1.2, rows)


def _times(seconds: Floats) -> pa.Array:
    return pa.array((seconds * 1e9).astype(np.int64), pa.timestamp("ns", "UTC"))


def encoded(values: Texts | Floats) -> Category:
    """Texts, or numbers as text, as codes."""
    names, codes = np.unique(values.astype(str), return_inverse=True)
    return Category(codes.astype(np.int32), tuple(map(str, names)))
