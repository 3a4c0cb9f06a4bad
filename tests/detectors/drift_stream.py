"""A seeded stream of predictions to put faults into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tidegauge.config import DailyDiagnosis, Detectors, Reference, Watch
from tidegauge.detectors.finding import Finding
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.store import Store

DAY0 = datetime(2026, 4, 1, tzinfo=UTC)
PORTS = ("AA", "BB", "CC")
Row = dict[str, Any]
Change = Callable[[Row, np.random.Generator], None]


def day(number: float) -> datetime:
    """The start of a day of the stream, which begins on day 0."""
    return DAY0 + timedelta(days=number)


@dataclass
class Stream:
    """Makes predictions of one model: features age, income, port; score, prediction and label agree with them."""

    store: Store
    seed: int = 7
    model: str = "risk"
    version: str = "1"
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def training(self, rows: int = 3000) -> None:
        """Rows of the training set, with labels."""
        self.insert(self.rows([day(-30) + timedelta(seconds=at) for at in range(rows)], "training"), labels_after_h=1)

    def days(
        self, first: int, last: int, change: Change | None = None, rows: int = 900, labels_after_h: float | None = None
    ) -> None:
        """``rows`` predictions on each day of first..last (last left out), each put through ``change``."""
        for number in range(first, last):
            made = self.rows([day(number) + timedelta(seconds=at * 86_400 / rows) for at in range(rows)])
            for row in made:
                if change:
                    change(row, self.rng)
            self.insert(made, labels_after_h)

    def rows(self, times: Sequence[datetime], role: str = "production") -> list[Row]:
        """One prediction at each of ``times``, not stored yet."""
        count, rng = len(times), self.rng
        truth, wrong = rng.random(count) < 0.3, rng.random(count) < 0.1
        said = truth != wrong
        columns = zip(
            times,
            rng.choice(PORTS, count, p=[0.5, 0.3, 0.2]).tolist(),
            rng.normal(40, 10, count).tolist(),
            rng.lognormal(3, 0.5, count).tolist(),
            rng.choice(["free", "pro", "team"], count, p=[0.6, 0.3, 0.1]).tolist(),
            np.where(said, "yes", "no").tolist(),
            np.where(said, rng.beta(4, 2, count), rng.beta(2, 4, count)).tolist(),
            np.where(truth, "yes", "no").tolist(),
            strict=True,
        )
        return [self._row(role, *each) for each in columns]

    def _row(self, role: str, at: datetime, *drawn: Any) -> Row:
        self.made += 1
        port, age, income, plan, said, score, label = drawn
        return {
            "timestamp": at,
            "prediction_id": f"{self.model}-{self.seed}-{self.made}",
            "model": self.model,
            "version": self.version,
            "role": role,
            "features": {"age": age, "income": income},
            "categories": {"plan": plan},
            "value": said,
            "score": score,
            "slices": {"port": port},
            "label": label,
        }

    def insert(self, rows: Sequence[Row], labels_after_h: float | None = None) -> None:
        """Store predictions, and their labels so long after them, if at all."""
        labels = [
            {
                "timestamp": row["timestamp"] + timedelta(hours=labels_after_h or 0),
                "prediction_id": row["prediction_id"],
                "model": row["model"],
                "value": row["label"],
            }
            for row in rows
        ]
        self.store.insert("predictions", [{key: row[key] for key in row if key != "label"} for row in rows])
        if labels_after_h is not None:
            self.store.insert("labels", labels)


def settings(**changes: Any) -> Detectors:
    """Daily windows against the training rows, sliced by port; neither tests of every hour nor diagnoses."""
    watch = {"reference": Reference(kind="training"), "slices": ("port",)} | changes
    off = DailyDiagnosis(enabled=False)
    return Detectors(models=(Watch(**watch),), embedder="off", false_pages_per_month=0, diagnosis=off)


def loop(store: Store, **changes: Any) -> DetectorLoop:
    """A new loop, as after a restart."""
    return DetectorLoop(store, settings(**changes))


def drifts(findings: Sequence[Finding]) -> set[tuple[str, str, str]]:
    """Feature, detector and slice of what drifted."""
    return {(each.feature, each.detector, each.slice) for each in findings if each.verdict == "drift"}


def one(findings: Sequence[Finding], feature: str, detector: str, part: str = "") -> Finding:
    """The only finding of a feature, detector and slice."""
    (found,) = (each for each in findings if (each.feature, each.detector, each.slice) == (feature, detector, part))
    return found


def unit_change(port: str = "") -> Change:
    """Income in other units, in one port or in all."""

    def change(row: Row, _: np.random.Generator) -> None:
        if port in ("", row["slices"]["port"]):
            row["features"]["income"] *= 100

    return change
