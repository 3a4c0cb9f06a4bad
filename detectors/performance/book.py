"""The table ``performance``: what was measured and estimated so far, which is all that is remembered of it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import sqrt
from typing import Any, Literal, TypeAlias

from tidegauge.detectors.performance.baseline import Baseline, Past
from tidegauge.detectors.performance.measured import Measured
from tidegauge.detectors.predictions import HISTORY
from tidegauge.metrics.intervals import Z95
from tidegauge.model import Slice, Window
from tidegauge.store import Store

Stage = Literal["open", "final", "training"]
Kind = Literal["realised", "estimated"]
Key: TypeAlias = tuple[Slice, str]
LABELS, OUTCOMES = "labels", "outcomes"
"""Metrics of the rows that say of a window how many labels it has, and that its outcomes were looked at."""
WINDOWS = """SELECT window_start AS a, window_end AS b, argMax((labels_share, stage), evaluated_at) AS e
FROM performance WHERE model = {model:String} AND metric = {metric:String} AND stage != 'training'
  AND window_end >= {since:DateTime64(6, 'UTC')} GROUP BY a, b ORDER BY b"""
ENDS = """SELECT DISTINCT window_end AS b, stage = 'training' AS training FROM performance
WHERE model = {model:String} AND metric = 'labels' AND stage IN ('final', 'training')
  AND (stage = 'training' OR window_end >= {since:DateTime64(6, 'UTC')})"""
PAST = """SELECT dimension, slice, metric, window_end, stage, value, low, high, n, verdict, estimated
FROM performance_latest WHERE model = {model:String} AND kind = 'realised' AND stage IN ('final', 'training')
  AND window_end IN {ends:Array(DateTime64(6, 'UTC'))} AND isNotNull(value)
ORDER BY window_end DESC"""
ESTIMATED = """SELECT dimension, slice, metric, value FROM performance_latest
WHERE model = {model:String} AND kind = 'estimated' AND isNotNull(value)
  AND window_start = {start:DateTime64(6, 'UTC')} AND window_end = {end:DateTime64(6, 'UTC')}"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a window that was evaluated."""

    stage: Stage
    labels_share: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: a number, what it is held against, and what came of that."""

    part: Slice
    measured: Measured
    base: Baseline | None = None
    verdict: str = ""
    estimated: float | None = None
    past_error: float | None = None
    past_windows: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """What the rows of one evaluation of a window have in common."""

    model: str
    window: Window
    now: datetime
    kind: Kind
    method: str
    stage: Stage
    labels_share: float
    expected_share: float | None = None


@dataclass(frozen=True)
class Memory:
    """Earlier windows by part of the traffic and metric, the latest first: bad ones left out of ``past``.

    ``errors`` are estimate less realised value, of the windows that have both.
    """

    past: Mapping[Key, Sequence[Past]] = field(default_factory=dict)
    errors: Mapping[Key, Sequence[float]] = field(default_factory=dict)

    def error(self, key: Key) -> tuple[float | None, int]:
        """Root mean square error of the last estimates, and of how many."""
        found = self.errors.get(key, ())
        return (sqrt(sum(each**2 for each in found) / len(found)), len(found)) if found else (None, 0)


class Book:
    """Reads and writes ``performance``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def windows(self, model: str, now: datetime, metric: str = LABELS) -> dict[Window, Seen]:
        """Every window of the last 400 days that was evaluated, or whose outcomes were, in order."""
        rows = self._store.rows(WINDOWS, {"model": model, "since": now - HISTORY, "metric": metric})
        return {Window(row["a"], row["b"]): Seen(row["e"][1], row["e"][0]) for row in rows}

    def ends(self, model: str, now: datetime) -> tuple[list[datetime], list[datetime]]:
        """Ends of the windows whose labels are in, and of those that the training rows were cut into."""
        rows = self._store.rows(ENDS, {"model": model, "since": now - HISTORY})
        return [r["b"] for r in rows if not r["training"]], [r["b"] for r in rows if r["training"]]

    def memory(self, model: str, ends: Sequence[datetime], wanted: int) -> Memory:
        """What windows that ended at ``ends`` say, up to ``wanted`` of them for each metric and part."""
        rows = self._store.rows(PAST, {"model": model, "ends": list(ends)}) if ends else []
        past: dict[Key, list[Past]] = defaultdict(list)
        errors: dict[Key, list[float]] = defaultdict(list)
        for row in rows:
            key = Slice(row["dimension"], row["slice"]), row["metric"]
            if row["verdict"] != "drift" and len(past[key]) < wanted:
                error = (row["high"] - row["low"]) / (2 * Z95)
                past[key].append(Past(row["window_end"], row["value"], error, row["n"]))
            if row["estimated"] is not None and len(errors[key]) < wanted:
                errors[key].append(row["estimated"] - row["value"])
        return Memory(past, errors)

    def estimates(self, model: str, window: Window) -> dict[Key, float]:
        """What was estimated of a window."""
        rows = self._store.rows(ESTIMATED, {"model": model, "start": window.start, "end": window.end})
        return {(Slice(row["dimension"], row["slice"]), row["metric"]): row["value"] for row in rows}

    def write(self, page: Page, entries: Sequence[Entry]) -> None:
        """Store one evaluation; a second time does nothing."""
        names = [page.model, page.kind, page.stage, *map(str, (page.window.start, page.window.end, page.labels_share))]
        names += sorted({entry.measured.metric for entry in entries})
        token = hashlib.sha256("\x1f".join(names).encode(errors="surrogatepass")).hexdigest()
        self._store.insert("performance", [_row(page, each) for each in entries], f"performance-{token}")


def _row(page: Page, entry: Entry) -> dict[str, Any]:
    found, base = entry.measured, entry.base
    ends = base.ends if base else (None, None)
    return {
        "evaluated_at": page.now,
        "model": page.model,
        "dimension": entry.part.dimension,
        "slice": entry.part.value,
        "window_start": page.window.start,
        "window_end": page.window.end,
        "metric": found.metric,
        "kind": page.kind,
        "method": page.method,
        "stage": page.stage,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "labels_share": page.labels_share,
        "expected_share": page.expected_share,
        "baseline": base.value if base else None,
        "baseline_low": ends[0],
        "baseline_high": ends[1],
        "baseline_windows": base.windows if base else 0,
        "verdict": entry.verdict,
        "estimated": entry.estimated,
        "past_error": entry.past_error,
        "past_windows": entry.past_windows,
        "note": found.note,
    }
