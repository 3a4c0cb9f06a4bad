"""The table ``sequential_state``: where each stream stands, so that a restart goes on and does not begin anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

import numpy as np

from tidegauge.detectors.sequential.monitor import SHAPE, State
from tidegauge.detectors.sequential.rollups import Stream
from tidegauge.detectors.statistics.arrays import BoolArray, FloatArray
from tidegauge.model import Slice, Window
from tidegauge.store import Store

READ = "SELECT * FROM sequential_state FINAL WHERE subject = {subject:String} AND family = {family:String}"
ARRAYS = ("detector", "chain", "process", "began", "blocks", "moved", "scaled")


@dataclass(frozen=True)
class Standing:
    """What is known of a family of streams after the hour that ended at ``until``."""

    until: datetime
    reference: str
    span: Window
    streams: tuple[Stream, ...]
    state: State
    alarmed: tuple[datetime | None, ...]

    @property
    def since(self) -> datetime | None:
        """Of the longest alarm that is on."""
        return min((each for each in self.alarmed if each), default=None)

    def fitted_to(self, streams: Sequence[Stream]) -> tuple[State, tuple[datetime | None, ...]]:
        """State and alarms of ``streams``; those that are new begin."""
        at = {stream: number for number, stream in enumerate(self.streams)}
        known = np.array([at.get(stream, -1) for stream in streams], dtype=np.intp)
        fresh = State.start(len(streams))
        taken = self.state.take(np.maximum(known, 0)) if self.streams else fresh
        merged = {each.name: _chosen(known >= 0, each.name, taken, fresh) for each in fields(State)}
        return State(**merged), tuple(self.alarmed[number] if number >= 0 else None for number in known)


class Memory:
    """Reads and writes the standing of a model's families."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, subject: str, family: str) -> Standing | None:
        """The last standing, or None. Streams that were dropped since, at an earlier look, are left out."""
        rows = self._store.rows(READ, {"subject": subject, "family": family})
        until = max((row["looked_until"] for row in rows), default=None)
        rows = [row for row in rows if row["looked_until"] == until]
        if not rows or until is None or len(rows[0]["detector"]) != SHAPE[0] * SHAPE[1]:
            return None
        streams = tuple((row["feature"], Slice(row["dimension"], row["slice"])) for row in rows)
        arrays = {name: np.array([row[name] for row in rows]).reshape(-1, *SHAPE) for name in ARRAYS}
        flat = {name: np.array([row[name] for row in rows]) for name in ("looks", "recent")}
        flat["before"] = np.array([row["residual"] for row in rows])
        span = Window(rows[0]["reference_start"], rows[0]["reference_end"])
        alarmed = tuple(row["alarmed_since"] for row in rows)
        return Standing(until, rows[0]["reference"], span, streams, State(**flat, **arrays), alarmed)

    def write(self, subject: str, family: str, standing: Standing, now: datetime) -> None:
        """Replace what was there."""
        shared = {
            "subject": subject,
            "family": family,
            "looked_until": standing.until,
            "reference": standing.reference,
            "reference_start": standing.span.start,
            "reference_end": standing.span.end,
            "written_at": now,
        }
        state = standing.state
        rows = [
            shared
            | {"feature": name, "dimension": part.dimension, "slice": part.value}
            | {"residual": float(state.before[at]), "looks": float(state.looks[at]), "recent": float(state.recent[at])}
            | {each: getattr(state, each)[at].reshape(-1).tolist() for each in ARRAYS}
            | {"alarmed_since": standing.alarmed[at]}
            for at, (name, part) in enumerate(standing.streams)
        ]
        self._store.insert("sequential_state", rows)


def _chosen(known: BoolArray, name: str, taken: State, fresh: State) -> FloatArray:
    old, new = getattr(taken, name), getattr(fresh, name)
    return np.asarray(np.where(known.reshape(-1, *[1] * (new.ndim - 1)), old, new))
