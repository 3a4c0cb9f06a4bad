"""A small model in production for two months: two regions, features that know of each other, labels a day later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidegauge.store import Store

MODEL = "returns"
BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
DAYS_BEFORE, DAYS_SINCE, A_DAY = 30, 7, 240
SINCE = BEGAN + timedelta(days=DAYS_BEFORE)
UNTIL = SINCE + timedelta(days=DAYS_SINCE)


@dataclass
class Shop:
    """Columns, one row a prediction; ``since`` are the rows after the change. Whoever breaks it changes columns."""

    rng: np.random.Generator
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        rng, self.rows = self.rng, (DAYS_BEFORE + DAYS_SINCE) * A_DAY
        self.at = np.sort(rng.uniform(0, (DAYS_BEFORE + DAYS_SINCE) * 86_400, self.rows))
        self.since = self.after(0)
        self.ids = np.array([f"p{number}" for number in range(self.rows)], dtype=object)
        self.region = rng.choice(np.array(["north", "south", "west"], dtype=object), self.rows, p=[0.5, 0.3, 0.2])
        self.weight = rng.gamma(4.0, 2.5, self.rows)
        self.price = 5 * self.weight + rng.normal(60, 10, self.rows)
        self.postage = 0.7 * self.weight + rng.normal(5, 1, self.rows)
        self.age = rng.normal(40, 12, self.rows)
        odds = (self.price - 110) / 25 + (self.age - 40) / 20
        self.score = 1 / (1 + np.exp(-odds))
        self.label = (rng.random(self.rows) < self.score).astype(np.int64)
        self.threshold = np.full(self.rows, 0.5)
        self.version = np.full(self.rows, "v1", dtype=object)
        self.embedder = np.full(self.rows, "mini-1", dtype=object)
        self.sound = self.features

    @property
    def features(self) -> list[NDArray[np.float64]]:
        """As they are served; ``sound`` are those that training has."""
        return [self.age, self.postage, self.price, self.weight]

    def after(self, days: float) -> NDArray[np.bool_]:
        """The rows from so many days after the change on."""
        found: NDArray[np.bool_] = self.at >= (DAYS_BEFORE + days) * 86_400
        return found

    def store(self, store: Store, copied: float = 0.0) -> None:
        """Into the tables, as the SDK's events become rows; of a share of them also the sound copies of training."""
        chosen = self.rng.random(self.rows) < copied
        for role, values in (("production", self.features), ("training", [each[chosen] for each in self.sound])):
            kept = chosen if role == "training" else np.ones(self.rows, dtype=np.bool_)
            if kept.any():
                store.insert_arrow("predictions", self._predictions(role, kept, values))
        store.insert_arrow("labels", self._labels())

    def _predictions(self, role: str, kept: NDArray[np.bool_], values: list[NDArray[np.float64]]) -> pa.Table:
        rows = int(kept.sum())
        at = pa.array([BEGAN + timedelta(seconds=float(each)) for each in self.at[kept]], pa.timestamp("us", "UTC"))
        columns = {
            "timestamp": at.cast(pa.timestamp("ns", "UTC")),
            "prediction_id": list(self.ids[kept]),
            "model": [MODEL] * rows,
            "version": list(self.version[kept]),
            "role": [role] * rows,
            "features": _maps(["age", "postage", "price", "weight"], list(values), pa.float64()),
            "categories": _maps(["region"], [self.region[kept]], pa.string()),
            "value": [str(int(each)) for each in (self.score >= self.threshold)[kept]],
            "score": self.score[kept],
            "slices": _maps(["region"], [self.region[kept]], pa.string()),
            "versions": _maps(["embedding_model"], [self.embedder[kept]], pa.string()),
        }
        return pa.table(columns)

    def _labels(self) -> pa.Table:
        known = [BEGAN + timedelta(seconds=float(each), hours=20) for each in self.at]
        kept = [at for at in range(self.rows) if known[at] < UNTIL]
        labels = {
            "timestamp": pa.array([known[at] for at in kept], pa.timestamp("us", "UTC")).cast(
                pa.timestamp("ns", "UTC")
            ),
            "prediction_id": [self.ids[at] for at in kept],
            "model": [MODEL] * len(kept),
            "value": [str(self.label[at]) for at in kept],
        }
        return pa.table(labels)


Break = Callable[[Shop], None]


def nothing(shop: Shop) -> None:
    """As ever."""


def pounds(shop: Shop) -> None:
    """The weight comes in pounds."""
    shop.weight = np.where(shop.since, shop.weight / 0.45359237, shop.weight)


def blind_in_the_south(shop: Shop) -> None:
    """The age is missing in one region."""
    shop.age = np.where(shop.since & (shop.region == "south"), np.nan, shop.age)


def stopped(shop: Shop) -> None:
    """No predictions any more."""
    kept = ~shop.since
    columns = {name: each for name, each in vars(shop).items() if isinstance(each, np.ndarray)}
    vars(shop).update({name: each[kept] for name, each in columns.items()})
    shop.sound, shop.rows = [each[kept] for each in shop.sound], int(kept.sum())


def turned_in_the_north(shop: Shop) -> None:
    """Labels of one region mean the opposite."""
    shop.label = np.where(shop.since & (shop.region == "north"), 1 - shop.label, shop.label)


def shuffled(shop: Shop) -> None:
    """The price of another order."""
    other: NDArray[np.float64] = shop.price.copy()
    other[shop.since] = shop.rng.permutation(other[shop.since])
    shop.price = other


def released(shop: Shop) -> None:
    """A release that guesses answers a third."""
    chosen = shop.since & (shop.rng.random(shop.rows) < 0.33)
    shop.version = np.where(chosen, "v2", shop.version)
    shop.score = np.where(chosen, shop.rng.random(shop.rows), shop.score)


LATER = SINCE + timedelta(days=3)


def pounds_then_blind(shop: Shop) -> None:
    """The weight comes in pounds, and three days later the age is missing in one region."""
    pounds(shop)
    later = shop.after(3)
    shop.age = np.where(later & (shop.region == "south"), np.nan, shop.age)


def exchanged_in_the_west(shop: Shop) -> None:
    """The smallest region fills the age in for the price and the other way round."""
    here = shop.since & (shop.region == "west")
    shop.age, shop.price = np.where(here, shop.price, shop.age), np.where(here, shop.age, shop.price)


def exchanged_alike(shop: Shop) -> None:
    """Ages have the numbers that prices have, of other orders; three days on, each comes with the other's values."""
    shop.age = shop.rng.permutation(shop.price)
    later = shop.after(3)
    shop.age, shop.price = np.where(later, shop.price, shop.age), np.where(later, shop.age, shop.price)


def other_embedder(shop: Shop) -> None:
    """Texts are embedded by another model."""
    shop.embedder = np.where(shop.since, "mini-2", shop.embedder)


def _maps(names: list[str], columns: list[NDArray[np.generic]], kind: pa.DataType) -> pa.MapArray:
    rows = len(columns[0])
    values = [each[row] for row in range(rows) for each in columns]
    offsets = pa.array([at * len(names) for at in range(rows + 1)], pa.int32())
    return pa.MapArray.from_arrays(offsets, pa.array(names * rows, pa.string()), pa.array(values, kind))
